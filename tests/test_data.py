"""FoodData: what is held out, what a batch holds, how often a photo is drawn."""

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from made_photos import class_folders, kind_of, made_photo
from PIL import Image
from training_fixtures import small_process  # noqa: F401

from seefood.errors import DataError
from seefood.photo import read_photo, square
from seefood.training.augmentation import RandomDownscale
from seefood.training.data import FoodData
from seefood.training.evaluation import photos_of
from seefood.training.holdout import held_out
from seefood.training.sources import Source

KINDS = {"apple_pie": 0, "ramen": 1, "not_food": 2}


def food_data(*folders: Path, **options: object) -> FoodData:
    """FoodData over some folders, small and in this process."""
    sources = [Source(path=str(folder)) for folder in folders]
    options = {"image_size": 16, "batch_size": 4, "num_workers": 0, "validation_fraction": 0.25} | options
    return FoodData(sources=options.pop("sources", sources), **options)


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.99])
def test_every_class_of_two_photos_is_validated_and_trained_on(fraction: float) -> None:
    label_ids = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [1, 2, 3, 200]))
    chosen = held_out(label_ids, fraction, seed=0)
    counts = [int(chosen[label_ids == label].sum()) for label in range(4)]
    assert counts[0] == 0
    assert all(1 <= count < total for count, total in zip(counts[1:], (2, 3, 200), strict=True))
    assert counts[3] == pytest.approx(200 * fraction, abs=1)


def test_the_seed_alone_chooses_what_is_held_out() -> None:
    label_ids = np.repeat([0, 1], 50)
    first, again, other = (held_out(label_ids, 0.2, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_photo_is_both_trained_on_and_validated(tmp_path: Path) -> None:
    data = food_data(class_folders(tmp_path, KINDS, 8))
    data.setup("fit")
    training, validation = (set(photos_of(part)) for part in (data.train, data.validation))
    assert training | validation == {str(file) for file in tmp_path.rglob("*.jpg")}
    assert not training & validation
    assert len(validation) == 6


def test_a_photo_at_another_size_is_not_trained_on_when_its_twin_is_validated(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for label, kind in KINDS.items():
        for folder, side, quality, count in ((small, 64, 75, 12), (large, 160, 90, 17)):
            (folder / label).mkdir(parents=True)
            for seed in range(count):  # from 8 on they have no twin
                photo = made_photo(kind, seed if seed < 8 else side + seed, (320, 240))
                photo.resize((side * 4 // 3, side)).save(folder / label / f"{seed:02}.jpg", quality=quality)
    data = food_data(small, large, seed=3)
    data.setup("fit")

    training, validation = (
        {Path(path).relative_to(tmp_path).parts for path in photos_of(part)} for part in (data.train, data.validation)
    )
    everything = {file.relative_to(tmp_path).parts for file in tmp_path.rglob("*.jpg")}
    other = {"small": "large", "large": "small"}
    has_validated_twin = {
        (folder, label, name)
        for folder, label, name in everything
        if int(name[:2]) < 8 and (other[folder], label, name) in validation
    }
    assert has_validated_twin - validation, "the made data must put the code to the test"
    assert training == everything - validation - has_validated_twin


@pytest.mark.parametrize("more", [0, 5], ids=["the same photos", "and more photos"])
def test_a_photo_is_not_trained_on_when_it_is_validated_shrunk_or_the_other_way_round(
    tmp_path: Path, more: int
) -> None:
    large, both = class_folders(tmp_path / "large", KINDS, 12), tmp_path / "both"
    class_folders(both, KINDS, 12 + more)  # as many photos, so the same are held out; or more, so others are
    data = food_data(sources=[Source(path=str(large)), Source(path=str(both), short_side=24)])
    data.setup("fit")

    everything = sorted(both.rglob("*.jpg"))
    thumbnails = np.stack([_thumbnail(read_photo(file)) for file in everything])

    def shown(part: Dataset) -> list[tuple[int, bool]]:
        """Which photo each one is, and whether it is shrunk."""
        photos = [read_photo(file) for file in photos_of(part)]
        nearest = [int(np.abs(thumbnails - _thumbnail(photo)).sum(axis=1).argmin()) for photo in photos]
        return [(index, min(photo.size) == 24) for index, photo in zip(nearest, photos, strict=True)]

    training, validation = shown(data.train), shown(data.validation)
    held_out_large, held_out_shrunk = (
        {index for index, is_small in validation if is_small == small} for small in (0, 1)
    )
    assert held_out_large
    assert (held_out_large == held_out_shrunk) == (more == 0), "the made data must put the code to the test"
    assert not {index for index, _ in training} & {index for index, _ in validation}
    assert sum(is_small for _, is_small in training) == len(everything) - len(held_out_large | held_out_shrunk)


def test_a_second_source_of_single_photos_is_trained_on(tmp_path: Path) -> None:
    data = food_data(class_folders(tmp_path / "a", KINDS, 4), class_folders(tmp_path / "b", {"tea": 5}, 1, seed=9))
    data.setup("fit")
    assert data.labels == ["apple_pie", "ramen", "tea", "not_food"]
    assert Counter(data.train.with_format(None)["label"]) == {0: 3, 1: 3, 2: 1, 3: 3}


def test_photos_without_one_to_validate_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}.*validat"):
        food_data(class_folders(tmp_path, KINDS, 1)).setup("fit")


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_batches_are_square_uint8_photos_and_int64_labels(tmp_path: Path, part: str) -> None:
    class_folders(tmp_path / "train", KINDS, 6, size=(40, 30))
    class_folders(tmp_path / "test", KINDS, 2, seed=50, size=(20, 50))
    data = food_data(tmp_path, downscale=(12, 24))
    data.setup("fit")
    data.setup("test")
    for batch in getattr(data, f"{part}_dataloader")():
        assert set(batch) == {"image", "label"}
        assert batch["image"].shape == (len(batch["label"]), 16, 16, 3)
        assert (batch["image"].dtype, batch["label"].dtype) == (torch.uint8, torch.int64)
        kinds = [KINDS[data.labels[label]] for label in batch["label"]]
        assert [kind_of(image) for image in batch["image"].numpy()] == kinds


def test_validation_sees_exactly_what_the_app_would_see(tmp_path: Path) -> None:
    data = food_data(class_folders(tmp_path, KINDS, 4, size=(50, 37)), crop=0.9)
    data.setup("fit")
    files = list(photos_of(data.validation))
    for file, image in zip(files, data.validation[:]["image"], strict=True):
        assert np.array_equal(image, square(read_photo(file), 16, 0.9))


@pytest.mark.parametrize("options", [{}, {"color_jitter": 0.0}, {"auto_augment": "rand-m7-mstd0.5"}], ids=str)
def test_a_training_photo_differs_from_draw_to_draw(tmp_path: Path, options: dict[str, object]) -> None:
    data = food_data(class_folders(tmp_path, KINDS, 4), **options)
    data.setup("fit")
    draws = {np.asarray(data.train[0]["image"]).tobytes() for _ in range(8)}
    assert len(draws) == 8


def test_downscale_reaches_both_ends_of_its_range_and_never_enlarges() -> None:
    shrink = RandomDownscale(20, 80)
    wide, small = made_photo(0, 0, (240, 120)), made_photo(0, 0, (30, 45))
    of_wide = [shrink(wide).size for _ in range(400)]
    assert all(width / height == pytest.approx(2, abs=0.05) for width, height in of_wide)
    shortest = [height for _, height in of_wide]
    assert (min(shortest), max(shortest)) == (pytest.approx(20, abs=1), pytest.approx(80, abs=2))
    assert min(shortest) >= 20
    assert max(shortest) <= 80
    assert np.median(shortest) == pytest.approx(40, abs=5), "log-uniform: the geometric mean is in the middle"
    of_small = {shrink(small).size for _ in range(200)}
    assert max(of_small) == small.size
    assert min(of_small)[0] == pytest.approx(20, abs=1)


def test_a_photo_of_a_source_with_weight_4_is_drawn_four_times_as_often(tmp_path: Path) -> None:
    class_folders(tmp_path / "plain", {"a": 0}, 12)
    class_folders(tmp_path / "sharp", {"b": 1}, 12, seed=50)
    sources = [Source(path=str(tmp_path / "plain")), Source(path=str(tmp_path / "sharp"), weight=4.0)]
    drawn = _drawn(food_data(sources=sources))
    assert drawn["b"] / drawn["a"] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_balanced_draws_every_class_equally_often(tmp_path: Path, weight: float) -> None:
    for index, (label, count) in enumerate({"a": 4, "b": 8, "c": 40}.items()):
        class_folders(tmp_path / "one", {label: index}, count)
    class_folders(tmp_path / "two", {"a": 0, "d": 3}, 8, seed=90)
    sources = [Source(path=str(tmp_path / "one")), Source(path=str(tmp_path / "two"), weight=weight)]
    drawn = _drawn(food_data(sources=sources, balanced=True))
    assert _shares(drawn) == pytest.approx(dict.fromkeys("abcd", 0.25), rel=0.1)


def two_sources(folder: Path, **options: object) -> list[Source]:
    """One of 3, 9 and 18 photos to train on of a, b and c, which has the options; one of 6 and 12 of a and d."""
    for index, (label, count) in enumerate({"a": 4, "b": 12, "c": 24}.items()):
        class_folders(folder / "one", {label: index}, count)
    for index, (label, count) in {0: ("a", 8), 3: ("d", 16)}.items():
        class_folders(folder / "two", {label: index}, count, seed=90)
    return [Source(path=str(folder / "one"), **options), Source(path=str(folder / "two"))]


def test_a_balanced_source_draws_its_classes_equally_often_and_keeps_its_share(tmp_path: Path) -> None:
    drawn = _drawn_folders(food_data(sources=two_sources(tmp_path, balanced=True, weight=2.0)))
    photos = {"one/a": 20, "one/b": 20, "one/c": 20, "two/a": 6, "two/d": 12}  # 30 of weight 2, and 18
    assert _shares(drawn) == pytest.approx(_shares(photos), rel=0.1)


def test_balanced_classes_share_their_draws_among_sources_as_the_sources_say(tmp_path: Path) -> None:
    sources = two_sources(tmp_path, balanced=True, weight=2.0)
    drawn = _drawn_folders(food_data(sources=sources, balanced=True))
    photos = {"one/a": 20 / 26, "two/a": 6 / 26, "one/b": 1, "one/c": 1, "two/d": 1}
    assert _shares(drawn) == pytest.approx(_shares(photos), rel=0.1)


def test_a_balanced_source_may_have_lost_all_its_photos_to_twins(tmp_path: Path) -> None:
    one, two = (class_folders(tmp_path / name, {"a": 0}, 2) for name in ("one", "two"))
    (two / "a" / "1.jpg").unlink()  # what is left is one photo, which the other source validates on or trains on
    for seed in range(4):
        data = food_data(
            sources=[Source(path=str(one)), Source(path=str(two), balanced=True)], seed=seed, balanced=True
        )
        data.setup("fit")
        assert len(data.train) in (1, 2)


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_the_share_of_the_photos_that_was_asked_for_is_shrunk(tmp_path: Path, probability: float) -> None:
    options = {"scale": (1.0, 1.0), "color_jitter": 0.0, "image_size": 64}
    folder = class_folders(tmp_path, KINDS, 4)
    data = food_data(folder, downscale=(8, 8), downscale_probability=probability, **options)
    data.setup("fit")
    torch.manual_seed(0)
    random.seed(0)
    roughness = np.array(
        [np.abs(np.diff(np.asarray(data.train[0]["image"], dtype=np.float32), axis=0)).mean() for _ in range(300)]
    )
    assert (roughness < 3).mean() == pytest.approx(probability, abs=0.06 if 0 < probability < 1 else 0)


def test_testing_without_a_test_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}: no source has a test split. Set test_split"):
        food_data(class_folders(tmp_path, KINDS, 2)).setup("test")


def test_no_source_is_refused() -> None:
    with pytest.raises(DataError, match=r"Set data\.sources"):
        food_data()


def _thumbnail(photo: Image.Image) -> np.ndarray:
    return np.asarray(square(photo, 8), dtype=np.float32).ravel()


def _drawn_folders(data: FoodData, epochs: int = 300) -> Counter[str]:
    """How often a photo of each folder of a source is drawn: "one/a"."""
    data.setup("fit")
    folders = ["/".join(Path(path).parts[-3:-1]) for path in photos_of(data.train)]
    sampler = data.train_dataloader().sampler
    drawn: Counter[str] = Counter()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        drawn.update(folders[index] for index in sampler)
    return drawn


def _drawn(data: FoodData) -> Counter[str]:
    """How often each label is drawn."""
    drawn: Counter[str] = Counter()
    for folder, count in _drawn_folders(data).items():
        drawn[folder.split("/")[1]] += count
    return drawn


def _shares(counts: Mapping[str, float]) -> dict[str, float]:
    return {name: count / sum(counts.values()) for name, count in counts.items()}
