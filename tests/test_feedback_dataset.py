"""Feedback becomes a source: what a reviewer accepted, pixels and nothing else, each photo once."""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from answers import answer, telltale_jpeg
from made_photos import kind_of, made_photo
from PIL import Image
from training_fixtures import small_process  # noqa: F401

from seefood.answers import NOTHING_ELSE, bare_jpeg, decide
from seefood.errors import FeedbackError
from seefood.photo import read_photo
from seefood.stores import FolderStore, open_store
from seefood.training import feedback
from seefood.training.data import FoodData
from seefood.training.feedback import build
from seefood.training.sources import Source, label_names

LABELS = ["apple_pie", "ramen", "tea", "not_food"]
SIZE = (320, 240)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Both kinds of places where feedback is kept, empty."""
    if request.param == "folder":
        return folder_store(tmp_path)
    s3 = request.getfixturevalue("s3")
    s3.create_bucket(Bucket="answers", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return "s3://answers/some/prefix"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return folder_store(tmp_path)


def folder_store(tmp_path: Path) -> str:
    FolderStore(tmp_path / "answers").make()
    return str(tmp_path / "answers")


def photo(kind: int, seed: int) -> bytes:
    return bare_jpeg(made_photo(kind, seed, SIZE))


def test_what_was_accepted_or_corrected_is_taken_and_the_rest_is_counted(place: str, tmp_path: Path) -> None:
    store = open_store(place)
    accepted = answer(store, photo(0, 1), "apple_pie")
    corrected = answer(store, photo(1, 2), "apple_pie")
    named = answer(store, photo(2, 3), NOTHING_ELSE)
    dropped = answer(store, photo(3, 4), "ramen")
    no_photo = answer(store, b"<svg>a drawing</svg>", "ramen")
    gone = "f" * 64
    answer(store, photo(0, 5), "ramen")  # waits for a review
    answer(store, photo(0, 6), "ramen", kept=False)
    line = {"time": "2026-01-01T00:00:00Z", "model": "a", "prediction": [["ramen", 1]], "right": True, "dish": "ramen"}
    store.add_line("feedback", json.dumps({**line, "photo": gone, "photo_kept": True}))
    store.add_line("feedback", json.dumps({**line, "photo": "../feedback", "photo_kept": True}))
    for hostile in ("{", "[]", '{"photo": null}', "\0\x85\u2028", ""):
        store.add_line("feedback", hostile)
    store.add_line("review", json.dumps({"time": "2026-01-01T00:00:00Z", "photo": "../feedback", "dish": "ramen"}))
    for name, dish in {accepted: "apple_pie", corrected: "ramen", named: "tea", dropped: None}.items():
        decide(store, name, dish)
    for name in (no_photo, gone):
        decide(store, name, "ramen")

    _, left_out = build(place, tmp_path / "source", LABELS)

    photos = Source(path=str(tmp_path / "source")).load()["train"]
    assert label_names(photos) == LABELS
    shown = {LABELS[row["label"]]: kind_of(read_photo(row["image"]["bytes"])) for row in photos}
    assert shown == {"apple_pie": 0, "ramen": 1, "tea": 2}
    assert len(photos) == 3
    assert left_out == Counter(
        {
            "answers without a photo": 1,
            "lines that say nothing": 7,
            "dropped in review": 1,
            "not reviewed yet": 1,
            "gone, or no photo": 2,
        }
    )


def test_the_last_decision_about_a_photo_counts(place: str, tmp_path: Path) -> None:
    store = open_store(place)
    names = [answer(store, photo(0, seed), "apple_pie") for seed in range(6)]
    for name in names:
        for dish in ("ramen", None, "tea", "apple_pie", "tea"):
            decide(store, name, dish)
    photos, _ = build(place, tmp_path / "source", LABELS)
    assert [LABELS[index] for index in photos["label"]] == ["tea"] * 6


def test_in_the_source_are_pixels_and_nothing_else(folder: str, tmp_path: Path) -> None:
    content = telltale_jpeg(made_photo(0, 1, SIZE))
    assert content.count(b"Secret") == 3, "the made photo must put the code to the test"
    decide(open_store(folder), answer(open_store(folder), content, "ramen"), "ramen")
    build(folder, tmp_path / "source", LABELS)

    (row,) = Source(path=str(tmp_path / "source")).load()["train"]
    stored = Image.open(io.BytesIO(row["image"]["bytes"]))
    assert set(stored.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert not stored.getexif()
    assert row["image"]["path"] is None
    assert b"Secret" not in (tmp_path / "source" / feedback.FILE).read_bytes()
    assert np.abs(np.asarray(stored, float) - np.asarray(read_photo(content), float)).mean() < 2


def test_of_copies_of_a_photo_the_newest_alone_is_taken(folder: str, tmp_path: Path) -> None:
    store, large = open_store(folder), made_photo(0, 1, SIZE)
    smaller, coarser = io.BytesIO(), io.BytesIO()
    large.resize((160, 120)).save(smaller, "PNG")
    large.save(coarser, "JPEG", quality=60)
    copies = [telltale_jpeg(large), bare_jpeg(large), smaller.getvalue(), coarser.getvalue()]
    for content, dish in zip([*copies, photo(0, 2)], ["ramen", "ramen", "apple_pie", "tea", "ramen"], strict=True):
        decide(store, answer(store, content, dish), dish)
    photos, left_out = build(folder, tmp_path / "source", LABELS)
    assert Counter(LABELS[index] for index in photos["label"]) == {"tea": 1, "ramen": 1}
    assert left_out == {"copies of another": 3}


def test_unreviewed_takes_the_newest_word_of_a_visitor_unless_a_reviewer_has_decided(
    folder: str, tmp_path: Path
) -> None:
    store = open_store(folder)
    decide(store, answer(store, photo(0, 1), "ramen"), "tea")
    decide(store, answer(store, photo(0, 2), "ramen"), None)
    answer(store, photo(1, 3), "ramen")
    answer(store, photo(1, 3), "not_food")
    answer(store, photo(1, 4), NOTHING_ELSE)
    answer(store, photo(1, 5), "<b>pizza</b>")
    photos, left_out = build(folder, tmp_path / "source", LABELS, unreviewed=True)
    assert sorted(LABELS[index] for index in photos["label"]) == ["not_food", "tea"]
    assert left_out == {
        "dropped in review": 1,
        "something else, no dish named": 1,
        "of a dish that is no label of the model": 1,
    }


def test_a_place_without_feedback_is_named_and_stays_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match="nowhere: no feedback there"):
        build(str(tmp_path / "nowhere"), tmp_path / "source", LABELS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_named() -> None:
    with pytest.raises(FeedbackError, match=r"s3://nobodys: .*NoSuchBucket"):
        build("s3://nobodys/prefix", Path("source"), LABELS)


def test_where_nothing_is_reviewed_it_says_how_to_review(folder: str, tmp_path: Path) -> None:
    answer(open_store(folder), photo(0, 1), "ramen")
    with pytest.raises(FeedbackError, match=f"1 photos wait for a review.*make review FROM={folder}.*--unreviewed"):
        build(folder, tmp_path / "source", LABELS)
    assert not (tmp_path / "source").exists()


def test_where_all_was_dropped_it_says_so(folder: str, tmp_path: Path) -> None:
    decide(open_store(folder), answer(open_store(folder), photo(0, 1), "ramen"), None)
    with pytest.raises(FeedbackError, match="no photo is left to learn from \\(1 dropped in review\\)"):
        build(folder, tmp_path / "source", LABELS)


def test_food_data_trains_on_all_of_it_and_validates_as_it_did_before(folder: str, tmp_path: Path) -> None:
    store = open_store(folder)
    for seed in range(4):
        decide(store, answer(store, photo(1, seed), "ramen"), "ramen")
    build(folder, tmp_path / "source", LABELS)
    for kind, label in enumerate(LABELS):
        for seed in range(4):
            (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
            made_photo(kind, 50 + seed).save(tmp_path / "photos" / label / f"{seed}.jpg")
    old, new = (Source(path=str(tmp_path / "photos")), Source(path=str(tmp_path / "source"), hold_out=False))
    before, after = (FoodData(sources=sources, image_size=16) for sources in ([old], [old, new]))
    before.setup("fit")
    after.setup("fit")
    assert after.labels == LABELS
    assert len(after.train) == len(before.train) + 4
    assert np.array_equal(after.validation[:]["image"], before.validation[:]["image"])
