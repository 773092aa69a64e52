"""Photos and data sets that the tests make themselves: a class is a colour under a random pattern and noise."""

from pathlib import Path

import datasets
import numpy as np
from PIL import Image

COLORS = np.array([[190, 70, 70], [70, 190, 70], [70, 70, 190], [180, 180, 60], [60, 180, 180], [180, 60, 180]])


def made_photo(kind: int, seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """An RGB photo in the colour `kind`, 0 to 5; each seed gives another pattern, large enough to survive a resize."""
    random = np.random.default_rng([kind, seed])
    coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    pattern = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) - 128
    noise = random.normal(0, 6, pattern.shape)
    return Image.fromarray(np.clip(COLORS[kind] + 0.5 * pattern + noise, 0, 255).astype(np.uint8))


def kind_of(photo: Image.Image | np.ndarray) -> int:
    """The kind whose colour a photo has."""
    color = np.asarray(photo, dtype=np.float32).mean(axis=(0, 1))
    return int(np.abs(COLORS - color).sum(axis=1).argmin())


def class_folders(
    root: Path, kinds: dict[str, int], count: int, *, seed: int = 0, size: tuple[int, int] = (64, 64)
) -> Path:
    """Write `count` photos of every label into a folder of its name; `kinds` tells what they show."""
    for label, kind in kinds.items():
        (root / label).mkdir(parents=True)
        for index in range(count):
            made_photo(kind, seed + index, size).save(root / label / f"{index}.jpg", quality=92)
    return root


def parquet(file: Path, labels: list[str], photos: list[tuple[str, Image.Image]]) -> Path:
    """Write labelled photos into one parquet file, their ids counting in `labels`, which may be in any order."""
    features = datasets.Features(label=datasets.ClassLabel(names=labels), image=datasets.Image())
    columns = {"label": [labels.index(label) for label, _ in photos], "image": [photo for _, photo in photos]}
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=features).to_parquet(file)
    return file.parent
