"""Sources of photos: one list of labels, whatever the files look like, and errors that say what to do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_photos import class_folders, kind_of, made_photo, parquet
from PIL import Image
from training_fixtures import small_process  # noqa: F401

from seefood.errors import DataError
from seefood.photo import read_photo
from seefood.training.data import FoodData
from seefood.training.sources import Source, label_names, unite_labels

KINDS = {"apple_pie": 0, "not_food": 1, "ramen": 2}


def test_labels_are_united_alphabetically_with_not_food_last() -> None:
    assert unite_labels([["ramen", "not_food"], ["zucchini", "apple_pie", "ramen"]]) == [
        "apple_pie",
        "ramen",
        "zucchini",
        "not_food",
    ]


@pytest.mark.parametrize(
    "names",
    [[["Apple pie"], ["apple_pie"]], [["pizza", "Pizza"]], [["ice-cream"], ["soup"], ["ice_cream"]]],
    ids=lambda names: " ".join(name for source in names for name in source),
)
def test_spellings_of_one_dish_that_clash_are_named(names: list[list[str]]) -> None:
    with pytest.raises(DataError, match=f"{names[0][0]}.*{names[-1][-1]}.*Spell them alike"):
        unite_labels(names)


def test_class_folders_and_parquet_give_the_same_photos_and_labels(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "folder", KINDS, 3)
    files = sorted(folder.rglob("*.jpg"))
    photos = [(file.parent.name, Image.open(file)) for file in files]
    table = parquet(tmp_path / "table" / "train-00000-of-00001.parquet", ["ramen", "apple_pie", "not_food"], photos)

    of_folder, of_table = (_photos(Source(path=str(path)), "train") for path in (folder, table))

    assert [label for label, _ in of_folder] == [file.parent.name for file in files]
    assert [label for label, _ in of_table] == [label for label, _ in of_folder]
    for (_, expected), (_, pixels) in zip(of_folder, of_table, strict=True):
        assert np.array_equal(pixels, expected)


def test_label_ids_follow_the_photos_when_sources_list_their_labels_differently(tmp_path: Path) -> None:
    kinds = {"banana": 0, "apple": 1, "cola": 2, "not_food": 3}
    lists = (["not_food", "cola", "apple"], ["banana", "apple", "cola"], ["apple"])
    for index, labels in enumerate(lists):
        photos = [(label, made_photo(kinds[label], 10 * index + seed)) for label in labels for seed in range(4)]
        parquet(tmp_path / str(index) / "train.parquet", labels, photos)
    data = FoodData(
        sources=[Source(path=str(tmp_path / str(index))) for index in range(len(lists))],
        image_size=32,
        validation_fraction=0.5,
        color_jitter=0.0,
    )
    data.setup("fit")

    assert data.labels == ["apple", "banana", "cola", "not_food"]
    for photos in (data.train, data.validation):
        rows = photos[:]
        assert len(rows["label"]) == 14
        assert [kind_of(image) for image in rows["image"]] == [kinds[data.labels[label]] for label in rows["label"]]


@pytest.mark.parametrize(
    ("folders", "options", "expected"),
    [
        (["train", "test"], {}, "test"),
        (["train", "validation"], {}, "validation"),
        (["train", "validation", "test"], {}, "test"),
        (["train", "validation", "test"], {"test_split": "validation"}, "validation"),
        (["train"], {}, None),
        (["train", "validation"], {"train_split": "validation", "test_split": "train"}, "train"),
    ],
)
def test_a_split_that_is_not_for_training_is_the_test_split_and_nothing_else(
    tmp_path: Path, folders: list[str], options: dict[str, str], expected: str | None
) -> None:
    kinds_of = {"train": {"a": 0, "b": 1}, "validation": {"a": 2, "b": 3}, "test": {"a": 4, "b": 5}}
    for folder in folders:
        class_folders(tmp_path / folder, kinds_of[folder], 4)
    source = Source(path=str(tmp_path), **options)
    data = FoodData(sources=[source], image_size=16, validation_fraction=0.5)
    data.setup("fit")

    for_training = {kind_of(image) for part in (data.train, data.validation) for image in part[:]["image"]}
    assert for_training == set(kinds_of[source.train_split].values())
    if expected is None:
        assert set(source.load()) == {"train"}
    else:
        data.setup("test")
        assert {kind_of(image) for image in data.test[:]["image"]} == set(kinds_of[expected].values())


def test_files_of_one_source_that_number_their_labels_differently_are_refused(tmp_path: Path) -> None:
    parquet(
        tmp_path / "train.parquet", ["apple", "banana"], [("apple", made_photo(0, 0)), ("banana", made_photo(1, 0))]
    )
    parquet(tmp_path / "test.parquet", ["banana", "apple"], [("apple", made_photo(0, 1)), ("banana", made_photo(1, 1))])
    with pytest.raises(DataError, match=f"{tmp_path}.*different labels"):
        Source(path=str(tmp_path)).load()


def test_a_photo_may_have_the_name_of_a_split_and_a_folder_may_hold_one_class(tmp_path: Path) -> None:
    class_folders(tmp_path, {"pizza": 0}, 2)
    for seed, name in enumerate(("test_1.jpg", "train.jpg", "val 2.jpg"), start=5):
        made_photo(0, seed).save(tmp_path / "pizza" / name)
    assert [label for label, _ in _photos(Source(path=str(tmp_path)), "train")] == ["pizza"] * 5


def _flat(folder: Path) -> None:
    folder.mkdir()
    made_photo(0, 0).save(folder / "0.jpg")
    made_photo(1, 0).save(folder / "1.jpg")


def _splits_of_other_names(folder: Path) -> None:
    for split in ("training", "testing"):
        class_folders(folder / split, KINDS, 1)


def _without_photos(folder: Path) -> None:
    (folder / "apple").mkdir(parents=True)
    (folder / "apple" / "recipe.txt").write_text("An apple.")


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (lambda folder: None, {}, "no such folder.*Check the path"),
        (lambda folder: folder.mkdir(), {}, "no labels. Put the photos into one folder for each class"),
        (_without_photos, {}, "cannot be read as a data set.*Check the path"),
        (_splits_of_other_names, {}, "cannot be read as a data set.*Check the path"),
        (_flat, {}, "Put the photos into one folder for each class|cannot be read as a data set.*Check the path"),
        (lambda folder: class_folders(folder, KINDS, 1), {"train_split": "training"}, "'training', only train. Set"),
        (lambda folder: class_folders(folder, KINDS, 1), {"test_split": "exam"}, "'exam' is no split of its own"),
        (lambda folder: class_folders(folder, KINDS, 1), {"test_split": "train"}, "'train' is no split of its own"),
    ],
    ids=["missing", "empty", "no photos", "other splits", "no labels", "train split", "test split", "test on train"],
)
def test_a_source_that_cannot_be_used_is_named_with_a_remedy(
    tmp_path: Path, prepare: Callable[[Path], object], options: dict[str, str], message: str
) -> None:
    folder = tmp_path / "photos"
    prepare(folder)
    with pytest.raises(DataError, match=f"{folder}.*{message}"):
        Source(path=str(folder), **options).load()


def test_an_environment_variable_is_expanded_or_missed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "photos", KINDS, 1)
    source = Source(path="$SEEFOOD_PHOTOS_OF_A_TEST/photos")
    with pytest.raises(DataError, match=r"\$SEEFOOD_PHOTOS_OF_A_TEST.* is not set"):
        source.load()
    monkeypatch.setenv("SEEFOOD_PHOTOS_OF_A_TEST", str(tmp_path))
    assert len(source.load()["train"]) == 3


@pytest.mark.parametrize("kind", ["folders", "parquet"])
def test_photos_are_shrunk_to_a_short_side_in_every_split_and_never_enlarged(tmp_path: Path, kind: str) -> None:
    shapes = {(200, 120): (107, 64), (64, 300): (64, 300), (90, 90): (64, 64), (70, 333): (64, 304), (50, 40): (50, 40)}
    for split in ("train", "test"):
        photos = [(label, made_photo(KINDS[label], 0, size)) for label in KINDS for size in shapes]
        if kind == "parquet":
            parquet(tmp_path / f"{split}.parquet", list(KINDS), photos)
        for index, (label, photo) in enumerate(photos if kind == "folders" else []):
            (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
            photo.save(tmp_path / split / label / f"{index:02}.png")
    plain, shrunk = Source(path=str(tmp_path)), Source(path=str(tmp_path), short_side=64)

    for split in ("train", "test"):
        assert shrunk.load()[split].features == plain.load()[split].features, "or they could not be united"
        for (label, original), (label_of_shrunk, photo) in zip(
            _photos(plain, split), _photos(shrunk, split), strict=True
        ):
            (height, width), (shrunk_height, shrunk_width) = original.shape[:2], photo.shape[:2]
            assert (shrunk_width, shrunk_height) == shapes[width, height]
            assert label_of_shrunk == label
            assert kind_of(photo) == KINDS[label]


def _photos(source: Source, split: str) -> list[tuple[str, np.ndarray]]:
    """The label and the pixels of every photo, sorted by label."""
    photos = source.load()[split]
    names = label_names(photos)
    files = [row["image"]["bytes"] or row["image"]["path"] for row in photos]
    pairs = zip(
        (names[label] for label in photos["label"]), (np.asarray(read_photo(file)) for file in files), strict=True
    )
    return sorted(pairs, key=lambda pair: pair[0])
