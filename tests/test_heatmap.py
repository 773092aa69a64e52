"""The heat map shows where the evidence for a label is."""

import numpy as np
import pytest
from PIL import Image

from seefood.heatmap import LONG_SIDE, heat_map
from seefood.predictor import Prediction

PLACES = {"pizza": (0, 1), "ramen": (3, 2)}  # row and column of the evidence for each label, on 4 x 4 places


@pytest.fixture
def prediction():
    evidence = np.zeros((3, 4, 4), dtype=np.float32)
    for index, place in enumerate(PLACES.values()):
        evidence[index][place] = 5
    evidence += 50 * np.eye(4, dtype=np.float32)  # what speaks for every label alike is no evidence for one
    return Prediction([*PLACES, "not_food"], np.array([0.5, 0.4, 0.1], dtype=np.float32), evidence)


@pytest.mark.parametrize("label", PLACES)
@pytest.mark.parametrize("size", [(400, 400), (600, 300), (240, 500)])
@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_the_picture_is_brightest_where_the_evidence_for_the_label_is(prediction, label, size, crop):
    picture = heat_map(Image.new("RGB", size, "gray"), prediction, label, crop=crop)
    brightness = np.asarray(picture.convert("L"), dtype=float)
    row, column = np.argwhere(brightness > 0.95 * brightness.max()).mean(axis=0)
    side = crop * min(size)
    expected_row, expected_column = (np.array(PLACES[label]) + 0.5) / 4 * side
    assert row == pytest.approx((size[1] - side) / 2 + expected_row, abs=side / 8)
    assert column == pytest.approx((size[0] - side) / 2 + expected_column, abs=side / 8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((300, 500), (300, 500)), ((2000, 1000), (LONG_SIDE, LONG_SIDE // 2)), ((1, 3000), (1, LONG_SIDE))],
)
def test_the_picture_has_the_photos_shape_and_768_px_at_most(prediction, size, expected):
    picture = heat_map(Image.new("RGB", size, "gray"), prediction, "pizza")
    assert picture.mode == "RGB"
    assert picture.size == expected
