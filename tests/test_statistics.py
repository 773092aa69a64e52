"""The figures of a photo's looks are those computed by hand, and move with what they are named after."""

import numpy as np
import pytest
from made_photos import made_photo
from PIL import Image, ImageEnhance, ImageFilter

from seefood.statistics import image_statistics


def test_a_chessboard_of_black_and_white():
    board = np.zeros((4, 4, 3), dtype=np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 255
    assert image_statistics(board) == pytest.approx({"brightness": 0.5, "contrast": 0.5, "sharpness": 1.0})


def test_stripes_have_neighbours_of_two_kinds():
    stripes = np.zeros((4, 4, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert image_statistics(stripes)["sharpness"] == pytest.approx(0.5)


@pytest.mark.parametrize(("channel", "share"), enumerate([0.299, 0.587, 0.114]))
def test_green_is_brighter_than_red_and_red_than_blue(channel, share):
    plain = np.zeros((3, 3, 3), dtype=np.uint8)
    plain[..., channel] = 255
    assert image_statistics(plain) == pytest.approx({"brightness": share, "contrast": 0, "sharpness": 0}, abs=1e-9)


def test_each_figure_falls_with_what_it_is_named_after():
    photo = made_photo(0, 0, (64, 64))
    before = image_statistics(np.asarray(photo))
    blurred = image_statistics(np.asarray(photo.filter(ImageFilter.GaussianBlur(3))))
    dark = image_statistics(np.asarray(ImageEnhance.Brightness(photo).enhance(0.3)))
    grey = image_statistics(np.asarray(Image.blend(photo, Image.new("RGB", photo.size, "gray"), 0.7)))
    assert blurred["sharpness"] < 0.6 * before["sharpness"]
    assert blurred["brightness"] == pytest.approx(before["brightness"], abs=0.02)
    assert dark["brightness"] < 0.4 * before["brightness"]
    assert grey["contrast"] < 0.4 * before["contrast"]
