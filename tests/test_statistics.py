"""Three numbers of a photo: what they are of photos whose answer is known, and what they follow."""

import numpy as np
import pytest
from PIL import ImageEnhance, ImageFilter
from serving import EXAMPLES

from seefood.photo import read_photo, square
from seefood.statistics import image_statistics


def statistics_of(photo):
    return image_statistics(np.asarray(square(photo, 120)))


@pytest.mark.parametrize(
    ("color", "brightness"),
    [((0, 0, 0), 0), ((255, 255, 255), 1), ((255, 0, 0), 0.299), ((0, 255, 0), 0.587), ((0, 0, 255), 0.114)],
)
def test_a_photo_of_one_color_has_its_luma_no_contrast_and_no_sharpness(color, brightness):
    found = image_statistics(np.full((8, 8, 3), color, np.uint8))
    assert found == pytest.approx({"brightness": brightness, "contrast": 0, "sharpness": 0}, abs=1e-6)


def test_a_chessboard_has_all_the_contrast_and_sharpness_that_there_is():
    board = np.uint8(255) * (np.indices((8, 8)).sum(axis=0) % 2).astype(np.uint8)
    found = image_statistics(np.stack([board] * 3, axis=-1))
    assert found == pytest.approx({"brightness": 0.5, "contrast": 0.5, "sharpness": 1}, abs=1e-6)


def test_they_are_what_numpy_says_of_the_luma():
    photo = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    luma = photo.astype(np.float64) @ [0.299, 0.587, 0.114] / 255
    neighbours = np.abs(np.diff(luma, axis=0)).mean() / 2 + np.abs(np.diff(luma, axis=1)).mean() / 2
    expected = {"brightness": luma.mean(), "contrast": luma.std(), "sharpness": neighbours}
    assert image_statistics(photo) == pytest.approx(expected, rel=1e-5)


def test_a_blurred_photo_is_less_sharp_a_dark_one_less_bright_and_a_dull_one_has_less_contrast():
    photo = read_photo(EXAMPLES[0])
    given = statistics_of(photo)
    blurred = statistics_of(photo.filter(ImageFilter.GaussianBlur(8)))
    assert blurred["sharpness"] < 0.5 * given["sharpness"]
    assert blurred["brightness"] == pytest.approx(given["brightness"], abs=0.02)
    assert statistics_of(ImageEnhance.Brightness(photo).enhance(0.5))["brightness"] < 0.6 * given["brightness"]
    assert statistics_of(ImageEnhance.Contrast(photo).enhance(0.5))["contrast"] < 0.6 * given["contrast"]
