"""Sources of labelled photos: whatever `datasets.load_dataset` reads, brought to one list of labels."""

import glob
import io
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features

from seefood.errors import DataError
from seefood.names import NOT_FOOD
from seefood.photo import read_photo


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set with the splits that are taken from it.

    Attributes:
        path: a name on the Hugging Face hub ("ethz/food101"), a folder of class folders, or a folder of parquet files;
            when it is streamed, a folder in a bucket, too ("s3://bucket/photos").
            Environment variables in it are expanded ("$SEEFOOD_DATA/food101-64").
        train_split: the split to train on; a part of it is held out for validation.
        test_split: the split that only `test` and `export.py --test` read. By default "test" where there is one, else
            "validation": what a data set calls validation is often its official test split (ethz/food101), and it must
            not leak into the selection of a model.
        weight: how often each of its photos is drawn, relative to a photo of a source with weight 1.
        balanced: draw its classes equally often, however many photos each has; all together as often as without.
        hold_out: keep a part of its photos for validation. Without, all are trained on, and validation stays what the
            other sources make it: for photos that are few and dear.
        short_side: shrink its photos to this short side (pixels) first, so that sharpness does not give it away.
    """

    path: str
    train_split: str = "train"
    test_split: str | None = None
    weight: float = 1.0
    balanced: bool = False
    hold_out: bool = True
    short_side: int | None = None

    @property
    def name(self) -> str:
        """What a table calls it: "food101-64", "nonfood-160 at 64 px"."""
        return Path(self.path).name + (f" at {self.short_side} px" if self.short_side else "")

    def load(self) -> DatasetDict:
        """Read the splits.

        Returns:
            "train", and "test" where the source has one; each with the columns `image` (undecoded) and `label`.

        Raises:
            DataError: the source does not exist, or has no such split, no images or no labels.
            PhotoError: a photo to be shrunk cannot be read.
        """
        path = self.expanded_path
        try:
            splits = datasets.load_dataset(**_reader(path))
        except DataError:
            raise
        except Exception as error:  # datasets raises errors of many libraries
            raise DataError(f"{path}: cannot be read as a data set ({first_line(error)}). Check the path.") from error
        taken = DatasetDict(
            {part: image_and_label(splits[split], path) for part, split in self.splits_among(splits).items()}
        )
        if not self.short_side:
            return taken
        return taken.map(partial(_shrink, short_side=self.short_side), desc=f"Shrinking to {self.short_side} px")

    @property
    def expanded_path(self) -> str:
        """The path with the values of its environment variables."""
        path = os.path.expandvars(self.path)
        if "$" in path:
            raise DataError(f"{self.path}: an environment variable in it is not set. Set it to the folder of the data.")
        return path

    def splits_among(self, splits: Collection[str]) -> dict[str, str]:
        """Which split to train on ("train"), and which to test on ("test"), if there is one."""
        path = self.expanded_path
        if self.train_split not in splits:
            raise DataError(f"{path}: has no split {self.train_split!r}, only {', '.join(splits)}. Set train_split.")
        test_split = self.test_split or next((name for name in ("test", "validation") if name in splits), None)
        if test_split is None:
            return {"train": self.train_split}
        if test_split not in splits or test_split == self.train_split:
            raise DataError(f"{path}: {test_split!r} is no split of its own among {', '.join(splits)}.")
        return {"train": self.train_split, "test": test_split}


torch.serialization.add_safe_globals([Source])  # a checkpoint keeps the sources it was trained on


def label_names(dataset: Dataset) -> list[str]:
    """The names of a data set's labels, in the order of their ids."""
    return dataset.features["label"].names


def unite_labels(names: Iterable[list[str]]) -> list[str]:
    """The labels of several sources as one list: alphabetical, `not_food` last.

    Raises:
        DataError: two names differ only in capitals, spaces or punctuation, so that one dish would become two.
    """
    spellings: dict[str, str] = {}
    for name in (name for source in names for name in source):
        key = re.sub(r"[\W_]+", "", name.casefold()) or name
        if spellings.setdefault(key, name) != name:
            raise DataError(f"The labels {spellings[key]!r} and {name!r} clash. Spell them alike in every source.")
    return sorted(spellings.values(), key=lambda name: (name == NOT_FOOD, name))


def with_labels(dataset: Dataset, labels: list[str]) -> Dataset:
    """The same photos, with label ids that count in `labels`."""
    if label_names(dataset) == labels:
        return dataset
    return dataset.align_labels_with_mapping({name: index for index, name in enumerate(labels)}, "label")


def is_hub_name(path: str) -> bool:
    """Whether a path that is no folder may be a data set's name on the Hugging Face hub."""
    return bool(re.fullmatch(r"[\w-]+(/[\w.-]+)?", path))


def _reader(path: str) -> dict[str, Any]:
    """The arguments with which `load_dataset` reads a source."""
    folder = Path(path)
    if not folder.exists():
        if is_hub_name(path):
            return {"path": path}
        if "://" in path:
            raise DataError(f"{path}: is no folder on this machine. Set data.streaming to true, or copy it here.")
        raise DataError(f"{path}: no such folder. Check the path.")
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        return _class_folders(folder)
    # datasets gives the labels of the first file to all of them
    numberings = {tuple(_labels_of_parquet(file)) for file in files}
    if len(numberings) > 1:
        raise DataError(f"{path}: its files have different labels, or number them differently. Write them alike.")
    return {"path": "parquet", "data_dir": path}


def _labels_of_parquet(file: Path) -> list[str]:
    features = Features.from_arrow_schema(pyarrow.parquet.read_schema(file))
    return next((feature.names for feature in features.values() if isinstance(feature, ClassLabel)), [])


def _class_folders(folder: Path) -> dict[str, Any]:
    """Name the files of each split: left to itself, datasets takes a photo called test_1.jpg for a split."""
    splits = {name: folder / name for name in ("train", "validation", "test") if (folder / name).is_dir()}
    splits = splits or {"train": folder}
    for root in splits.values():
        if not any(child.is_dir() for child in root.iterdir()):
            raise DataError(f"{root}: has no labels. Put the photos into one folder for each class.")
    files = {name: f"{glob.escape(str(root))}/*/*" for name, root in splits.items()}
    return {"path": "imagefolder", "data_files": files, "drop_labels": False}


def image_and_label_columns(features: Features, path: str) -> tuple[str, str]:
    """Find the columns of the images and of the labels by their types.

    Raises:
        DataError: one of them is missing.
    """
    columns: dict[type, str] = {}
    for name, feature in features.items():
        columns.setdefault(type(feature), name)
    if datasets.Image not in columns:
        raise DataError(f"{path}: has no column of images, only {', '.join(features)}.")
    if ClassLabel not in columns:
        raise DataError(f"{path}: has no labels. Put the photos into one folder for each class.")
    return columns[datasets.Image], columns[ClassLabel]


def image_and_label(dataset: Dataset, path: str) -> Dataset:
    """The columns `image` and `label` alone; the images undecoded, for `seefood.photo` to read."""
    image, label = image_and_label_columns(dataset.features, path)
    dataset = dataset.select_columns([image, label]).rename_columns({image: "image", label: "label"})
    return dataset.cast_column("image", datasets.Image(decode=False))


def _shrink(row: dict[str, Any], short_side: int) -> dict[str, Any]:
    """Shrink one photo; as PNG, lest a second JPEG compression gives it away."""
    image = row["image"]
    photo = read_photo(image["bytes"] or image["path"], name=str(image["path"] or ""))
    width, height = (round(short_side * side / min(photo.size)) for side in photo.size)
    photo.thumbnail((width, height))  # it never enlarges
    shrunk = io.BytesIO()
    photo.save(shrunk, "PNG")
    return {"image": {"bytes": shrunk.getvalue(), "path": None}}


def first_line(error: Exception) -> str:
    """What an error says, without what follows."""
    return (str(error).splitlines() or [type(error).__name__])[0]
