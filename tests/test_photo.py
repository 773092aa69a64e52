"""Untrusted bytes become an upright RGB square, or an error that a person understands."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from seefood.errors import PhotoError
from seefood.photo import read_photo, square

RED, GREEN, BLUE, YELLOW = (200, 40, 40), (40, 200, 40), (40, 40, 200), (220, 200, 40)


def quadrants():
    """uint8 [40, 60, 3]: red and green above, blue and yellow below, so that every turn and mirror shows."""
    pixels = np.empty((40, 60, 3), dtype=np.uint8)
    pixels[:20, :30], pixels[:20, 30:], pixels[20:, :30], pixels[20:, 30:] = RED, GREEN, BLUE, YELLOW
    return pixels


def encoded(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png(width, height):
    """A PNG file of black pixels: correct, but its data ends after the first of them when it is large."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = bytes(min((3 * width + 1) * height, 1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def ico(content, side=16):
    """A Windows icon that declares `side` x `side` pixels and holds `content`, a PNG of perhaps another size."""
    entry = struct.pack("<BBBBHHII", side, side, 0, 0, 1, 24, len(content), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + content


def test_a_photo_is_the_same_from_a_path_from_bytes_and_from_pillow(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(quadrants()), "JPEG", exif=exif)
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    photos = [np.asarray(read_photo(source)) for source in (path, str(path), content, Image.open(path))]
    assert photos[0].shape == (60, 40, 3)
    for photo in photos[1:]:
        np.testing.assert_array_equal(photo, photos[0])


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


@pytest.mark.parametrize("orientation", AS_STORED)
def test_a_photo_comes_out_upright_however_the_camera_was_held(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(AS_STORED[orientation](quadrants())))
    photo = read_photo(encoded(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(photo), quadrants())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode):
    opacity = np.zeros((40, 60), dtype=np.uint8)
    opacity[:, 30:] = 255
    if mode == "P":
        pixels = np.where(opacity > 0, 1, 0).astype(np.uint8)
        image = Image.fromarray(pixels)
        image.putpalette([*RED, *GREEN])
        content = encoded(image, "PNG", transparency=0)
    else:
        image = Image.fromarray(quadrants())
        image.putalpha(Image.fromarray(opacity))
        content = encoded(image.convert(mode), "PNG")
    photo = np.asarray(read_photo(content))
    assert (photo[:, :30] == 255).all()
    assert (photo[:, 30:] < 255).any(axis=2).all()


GRAY = np.asarray(Image.fromarray(quadrants()).convert("L"))


@pytest.mark.parametrize(
    ("image", "file_format", "expected"),
    [
        pytest.param(Image.fromarray(GRAY), "JPEG", GRAY, id="gray JPEG"),
        pytest.param(Image.fromarray(quadrants()).convert("CMYK"), "JPEG", quadrants(), id="CMYK JPEG"),
        pytest.param(Image.fromarray(quadrants()).quantize(4), "PNG", quadrants(), id="palette PNG"),
        pytest.param(Image.fromarray(GRAY > 100), "PNG", 255 * (GRAY > 100), id="1-bit PNG"),
        pytest.param(Image.fromarray(GRAY * np.uint16(257)), "PNG", GRAY, id="16-bit PNG"),
        pytest.param(Image.fromarray(GRAY * np.uint16(257)), "TIFF", GRAY, id="16-bit TIFF"),
    ],
)
def test_every_kind_of_pixels_becomes_rgb_of_the_same_look(image, file_format, expected):
    photo = read_photo(encoded(image, file_format, **({"quality": 95} if file_format == "JPEG" else {})))
    assert photo.mode == "RGB"
    if expected.ndim == 2:
        expected = np.stack([expected] * 3, axis=2)
    difference = np.abs(np.asarray(photo, dtype=int) - expected)
    # JPEG may ring along the borders of the quadrants.
    assert np.median(difference) <= 2
    assert difference.mean() < 4


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


SMALL_COPY = r"Send a smaller copy\."
UNREADABLE = {
    "note.txt": (b"no photo at all", r"not an image .*\. Send a JPEG, PNG or WebP photo\."),
    "empty.jpg": (b"", r"the file is empty\. Choose another photo\."),
    "header.png": (png(8, 8)[:20], r"damaged, .*\. Save it again and retry\."),
    "half.jpg": (encoded(Image.fromarray(quadrants()), "JPEG")[:-200], r"damaged, .*\. Save it again and retry\."),
    "missing.jpg": (None, r"cannot be opened .*\. Check the path\."),
    "heavy.jpg": (bytes(3_000_000), r"3\.0 MB is over the limit of 2\.0 MB \(SEEFOOD_MAX_BYTES\)\. " + SMALL_COPY),
    "huge.png": (png(20_000, 20_000), r"400 megapixels is over the limit of 5 \(SEEFOOD_MAX_PIXELS\)\. " + SMALL_COPY),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_photo_that_cannot_be_read_is_refused_with_its_name_the_reason_and_the_remedy(name, tmp_path, environment):
    environment(SEEFOOD_MAX_BYTES=2_000_000, SEEFOOD_MAX_PIXELS=5_000_000)
    content, sentence = UNREADABLE[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PhotoError, match=f"^{name}: {sentence}$") as refusal:
        read_photo(path)
    assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize("content", [png(300, 300), ico(png(300, 300))], ids=["PNG", "PNG within an icon"])
def test_nothing_over_the_limit_is_decoded_whatever_its_header_declares(content, environment, monkeypatch):
    environment(SEEFOOD_MAX_PIXELS=10_000)
    decoded = []
    prepare = ImageFile.ImageFile.load_prepare
    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", lambda image: (decoded.append(image.size), prepare(image)))
    with pytest.raises(PhotoError):
        read_photo(content)
    assert not decoded


def test_a_photo_at_the_limits_is_read(environment):
    content = png(100, 100)
    environment(SEEFOOD_MAX_BYTES=len(content), SEEFOOD_MAX_PIXELS=10_000)
    assert read_photo(content).size == (100, 100)
