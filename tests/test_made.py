"""Made pictures of no food: repeatable, of every kind, in a folder that training reads."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_fixtures import small_process  # noqa: F401

from seefood.training import made
from seefood.training.data import FoodData
from seefood.training.made import KINDS, made_picture
from seefood.training.sources import Source

ROOT = Path(__file__).parent.parent
Kind = Callable[[random.Random, tuple[int, int]], Image.Image]


def test_the_seed_alone_makes_the_picture() -> None:
    random.seed(0)
    first = [np.asarray(made_picture(seed)).tobytes() for seed in range(40)]
    random.seed(1)
    np.random.seed(1)
    assert [np.asarray(made_picture(seed)).tobytes() for seed in range(40)] == first
    assert len(set(first)) == 40


def test_pictures_are_rgb_with_120_to_320_pixels_on_each_side() -> None:
    pictures = [made_picture(seed) for seed in range(60)]
    assert {picture.mode for picture in pictures} == {"RGB"}
    sides = [side for picture in pictures for side in picture.size]
    assert min(sides) in range(120, 141)
    assert max(sides) in range(300, 321)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("size", [(120, 320), (320, 120)], ids=str)
def test_a_kind_fills_its_size_and_shows_something(kind: Kind, size: tuple[int, int]) -> None:
    pictures = [kind(random.Random(seed), size) for seed in range(9)]
    assert {(picture.mode, picture.size) for picture in pictures} == {("RGB", size)}
    assert len({picture.tobytes() for picture in pictures}) >= 7
    is_flat = [not np.ptp(np.asarray(picture), axis=(0, 1)).any() for picture in pictures]
    assert sum(is_flat) == 9 if kind is made._flat else sum(is_flat) <= 2, "white may happen to be drawn on white"


def test_every_kind_is_made_about_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def counting(kind: Kind) -> Kind:
        def make(draw: random.Random, size: tuple[int, int]) -> Image.Image:
            calls[kind.__name__] += 1
            return Image.new("RGB", size)

        return make

    monkeypatch.setattr(made, "KINDS", tuple(map(counting, KINDS)))
    for seed in range(90 * len(KINDS)):
        made_picture(seed)
    assert set(calls) == {kind.__name__ for kind in KINDS}
    assert all(60 < count < 120 for count in calls.values())


def test_the_command_writes_a_folder_that_training_reads_as_not_food(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "made"
    subprocess.run(
        [sys.executable, "-m", "seefood.training.made", str(folder), "6"], cwd=ROOT, check=True, capture_output=True
    )
    files = sorted(folder.rglob("*.*"))
    assert len(files) == 6
    for seed, file in enumerate(files):
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(made_picture(seed)))

    data = FoodData(sources=[Source(path=str(folder))], image_size=16, num_workers=0)
    data.setup("fit")
    assert data.labels == ["not_food"]
    assert (len(data.train), len(data.validation)) == (5, 1)
