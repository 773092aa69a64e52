"""Turn what visitors said of their photos into a source of FoodData, once it is reviewed.

    python -m seefood.training.feedback answers/ runs/feedback                  what was accepted in `make review`
    python -m seefood.training.feedback s3://bucket/prefix runs/feedback        the same, from a bucket
    python -m seefood.training.feedback answers/ runs/feedback --unreviewed     and the visitors' word for the rest

It writes one parquet file, whose labels are all those of the current model, so that its head keeps its shape. In it are
pixels and nothing else: what EXIF and other metadata tell is left behind.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image

from seefood.answers import NOTHING_ELSE, KeptPhoto, bare_jpeg, read_answers, read_kept_photo
from seefood.errors import FeedbackError, PhotoError, SeeFoodError
from seefood.predictor import Predictor
from seefood.stores import open_store
from seefood.training.holdout import is_copy

FILE = "train-00000-of-00001.parquet"  # as `datasets` names the only part of a split
NOT_REVIEWED = "not reviewed yet"


def build(place: str, folder: Path, labels: list[str], *, unreviewed: bool = False) -> tuple[Dataset, Counter[str]]:
    """Write the source.

    Args:
        place: where the feedback is: a folder, or s3://bucket/prefix.
        folder: where the parquet file goes; it is made, and an earlier file replaced.
        labels: those of the model, all of which become the labels of the source.
        unreviewed: take the newest answer about a photo where no reviewer has decided.

    Returns:
        The photos with the columns `image` and `label`, and how many others were left out for which reason.

    Raises:
        FeedbackError: there is no feedback, or nothing in it to learn from.
    """
    store = open_store(place)
    answers = read_answers(store, place)
    left_out = Counter({"answers without a photo": answers.without_photo, "lines that say nothing": answers.unreadable})
    taken: list[tuple[bytes, str]] = []
    for photo in reversed(answers.photos):  # the newest first, since it is the one that stays of copies
        dish = photo.decision.dish if photo.decision else photo.said
        if reason := _objection(photo, dish, labels, unreviewed):
            left_out[reason] += 1
            continue
        try:
            taken.append((bare_jpeg(read_kept_photo(store, photo)), str(dish)))
        except PhotoError:
            left_out["gone, or no photo"] += 1
    photos = _dataset(taken, labels)
    copies = is_copy(photos.cast_column("image", Image(decode=False)))
    left_out["copies of another"] = int(copies.sum())
    photos = photos.select(np.flatnonzero(~copies))
    left_out = +left_out  # without what counts 0
    if not len(photos):
        raise FeedbackError(_nothing(place, left_out))
    folder.mkdir(parents=True, exist_ok=True)
    photos.to_parquet(folder / FILE)
    return photos, left_out


def _objection(photo: KeptPhoto, dish: str | None, labels: list[str], unreviewed: bool) -> str:
    """Why not to learn that a photo shows a dish; empty if nothing is against it."""
    if photo.decision is None and not unreviewed:
        return NOT_REVIEWED
    if dish is None:
        return "dropped in review"
    if dish == NOTHING_ELSE:
        return "something else, no dish named"
    return "" if dish in labels else "of a dish that is no label of the model"


def _dataset(photos: list[tuple[bytes, str]], labels: list[str]) -> Dataset:
    columns = {
        "image": [{"bytes": content, "path": None} for content, _ in photos],
        "label": [labels.index(dish) for _, dish in photos],
    }
    return Dataset.from_dict(columns, features=Features(image=Image(), label=ClassLabel(names=labels)))


def _nothing(place: str, left_out: Counter[str]) -> str:
    if waiting := left_out[NOT_REVIEWED]:
        return (
            f"{place}: {waiting} photos wait for a review, and there is no other to learn from. Run make review "
            f"FROM={place}, or take the visitors' word: OPTIONS=--unreviewed."
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return f"{place}: no photo is left to learn from ({reasons}). Wait for more answers."


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m seefood.training.feedback",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("place", help="a folder or s3://bucket/prefix, as SEEFOOD_FEEDBACK named it")
    parser.add_argument("folder", type=Path, help="folder to write; a source of train.py")
    parser.add_argument("--unreviewed", action="store_true", help="where nobody reviewed it, believe the visitor")
    chosen = parser.parse_args(arguments)
    labels = Predictor().labels
    photos, left_out = build(chosen.place, chosen.folder, labels, unreviewed=chosen.unreviewed)
    of_dish = Counter(labels[index] for index in photos["label"])
    for title, counts in ((f"{len(photos)} photos in {chosen.folder / FILE}", of_dish), ("left out", left_out)):
        print(title)
        for name, count in counts.most_common():
            print(f"  {count:5}  {name}")


if __name__ == "__main__":
    try:
        main()
    except SeeFoodError as error:
        sys.exit(f"feedback: {error}")
