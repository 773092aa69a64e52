"""Untrusted bytes become an upright RGB square."""

import io

import numpy as np
import pytest
from photo_files import (
    EXACT,
    FILES,
    GREEN,
    LOSSY,
    PHOTO,
    RED,
    encoded,
    exif,
    quadrants,
    recorded_loads,
)
from PIL import Image
from serving import EXAMPLES

from seefood.photo import read_photo, read_photo_file, square


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_becomes_the_rgb_photo_it_shows(kind):
    content, expected = (EXACT | LOSSY)[kind]
    photo = read_photo(content)
    assert photo.mode == "RGB"
    if expected.ndim == 2:
        expected = np.stack([expected] * 3, axis=2)
    difference = np.abs(np.asarray(photo, dtype=int) - expected)
    if kind in EXACT:
        assert not difference.any()
    else:  # what is compressed may ring along the borders of the quadrants
        assert np.median(difference) <= 2
        assert difference.mean() < 4


@pytest.mark.parametrize(
    "name", ["my dinner.jpg", "晚餐 🍕.jpg", "no_extension", "really_a_jpeg.png", "photo.JPG", ".jpg"]
)
def test_a_photo_is_read_whatever_its_name(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(FILES["JPEG"])
    assert read_photo(path) == read_photo(FILES["JPEG"])


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_photo_of_extreme_shape_becomes_a_square_like_any_other(size, file_format):
    photo = read_photo(encoded(Image.new("RGB", size, RED), file_format), at_least=100)
    assert photo.size == size
    assert np.abs(np.asarray(square(photo, 8), dtype=int) - RED).max() <= 3


def test_a_photo_is_the_same_from_a_path_from_bytes_and_from_pillow(tmp_path):
    content = encoded(PHOTO, "JPEG", exif=exif(6))
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    photos = [np.asarray(read_photo(source)) for source in (path, str(path), content, Image.open(path))]
    assert photos[0].shape == (60, 40, 3)
    for photo in photos[1:]:
        np.testing.assert_array_equal(photo, photos[0])


@pytest.mark.parametrize("kind", FILES)
def test_a_files_bytes_pixels_and_format_are_those_it_came_with_however_it_is_decoded(kind):
    file = read_photo_file(FILES[kind], at_least=8)
    with Image.open(io.BytesIO(FILES[kind])) as original:
        assert file.pixels == original.width * original.height
    assert file.bytes == len(FILES[kind])
    assert {"HEIF": "HEIC", "WEBP": "WebP"}.get(file.format, file.format) in kind


# What lies in the file's first row and first column, as the EXIF standard (CIPA DC-008, tag 274) has it.
AS_STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}


def stored(orientation):
    return Image.fromarray(np.ascontiguousarray(AS_STORED[orientation](quadrants())))


@pytest.mark.parametrize("orientation", AS_STORED)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_photo_comes_out_upright_however_the_camera_was_held(file_format, orientation):
    photo = read_photo(encoded(stored(orientation), file_format, exif=exif(orientation).tobytes()))
    assert photo.size == (60, 40)
    assert np.median(np.abs(np.asarray(photo, dtype=int) - quadrants())) <= 5


def test_damage_elsewhere_in_the_exif_block_does_not_matter():
    block = exif(6)
    block[0x8825] = {1: "N"}  # north, of the place where the photo was taken
    text, number = b"\0\1\0\2\0\0\0\2N", b"\0\1\0\3\0\0\0\2N"  # as its type says
    assert text in block.tobytes()
    content = encoded(stored(6), "JPEG", exif=block.tobytes().replace(text, number))
    assert read_photo(content).size == (60, 40)


@pytest.mark.parametrize("value", [0, 9, 60_000])
def test_an_orientation_that_does_not_exist_is_upright(value):
    np.testing.assert_array_equal(np.asarray(read_photo(encoded(PHOTO, "PNG", exif=exif(value)))), quadrants())


@pytest.mark.parametrize(
    ("mode", "file_format"), [("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "WEBP")]
)
def test_what_is_transparent_becomes_white(mode, file_format):
    opacity = np.zeros((40, 60), dtype=np.uint8)
    opacity[:, 30:] = 255
    if mode == "P":
        image = Image.fromarray(np.where(opacity > 0, 1, 0).astype(np.uint8))
        image.putpalette([*RED, *GREEN])
        content = encoded(image, file_format, transparency=0)
    else:
        image = PHOTO.copy()
        image.putalpha(Image.fromarray(opacity))
        content = encoded(image.convert(mode), file_format)
    photo = np.asarray(read_photo(content))
    assert (photo[:, :30] == 255).all()
    assert (photo[:, 30:] < 255).any(axis=2).all()


@pytest.mark.parametrize(
    ("at_least", "scale"), [(None, 1), (600, 1), (301, 1), (300, 2), (151, 2), (150, 4), (75, 8), (1, 8)]
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_at_the_smallest_scale_that_keeps_the_short_side(at_least, scale, orientation):
    content = encoded(stored(orientation).resize((1000, 600)), "JPEG", exif=exif(orientation), quality=95)
    photo = read_photo(content, at_least=at_least)
    full = read_photo(content)
    assert full.size == ((1000, 600) if orientation == 1 else (600, 1000))
    assert photo.size == (full.width // scale, full.height // scale)
    assert np.median(np.abs(np.asarray(photo, dtype=int) - np.asarray(full.resize(photo.size), dtype=int))) <= 2


@pytest.mark.parametrize("kind", FILES)
def test_a_photo_is_never_decoded_below_the_short_side_asked_for(kind):
    assert read_photo(FILES[kind], at_least=21).size == (60, 40)


@pytest.mark.parametrize("path", EXAMPLES[:4], ids=lambda path: path.stem)
def test_a_large_photo_is_decoded_at_reduced_scale_and_gets_the_answer_of_full_decoding(path, predictor, monkeypatch):
    content = encoded(
        Image.open(path).convert("RGB").resize((2800, 2100), Image.Resampling.BICUBIC), "JPEG", quality=92
    )
    expected = predictor.predict(read_photo(content)).probability
    decoded = recorded_loads(monkeypatch, [content])
    probability = predictor.predict(content).probability
    assert set(decoded) == {(700, 525)}
    assert probability.argmax() == expected.argmax()
    assert np.abs(probability - expected).max() < 0.02


@pytest.mark.parametrize("size", [(240, 100), (100, 240), (150, 150), (121, 64)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.5])
def test_square_is_the_central_square_of_the_crop_asked_for(size, crop):
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    photo = Image.fromarray(np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8))  # a pixel is its own place
    result = np.asarray(square(photo, 16, crop), dtype=float)
    assert result.shape == (16, 16, 3)
    side = crop * min(size)
    places = (np.arange(16) + 0.5) * side / 16 - 0.5 - side / 2
    expected_x, expected_y = np.meshgrid(size[0] / 2 + places, size[1] / 2 + places)
    np.testing.assert_allclose(result[..., 0], expected_x, atol=2)
    np.testing.assert_allclose(result[..., 1], expected_y, atol=2)


def test_square_averages_when_it_shrinks():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    result = np.asarray(square(Image.fromarray(stripes), 16), dtype=int)
    assert np.abs(result - 127).max() < 20
