"""Untrusted bytes become an upright RGB square, or an error that a person understands."""

import io
import struct
import zlib
from collections import Counter

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageFile
from serving import EXAMPLES

from seefood.errors import PhotoError
from seefood.photo import read_photo, read_photo_file, square

RED, GREEN, BLUE, YELLOW = (200, 40, 40), (40, 200, 40), (40, 40, 200), (220, 200, 40)


def quadrants():
    """uint8 [40, 60, 3]: red and green above, blue and yellow below, so that every turn and mirror shows."""
    pixels = np.empty((40, 60, 3), dtype=np.uint8)
    pixels[:20, :30], pixels[:20, 30:], pixels[20:, :30], pixels[20:, 30:] = RED, GREEN, BLUE, YELLOW
    return pixels


def encoded(image, file_format, **options):
    file = io.BytesIO()
    if file_format == "HEIF":  # the app's library for HEIC only decodes
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, file_format, **options)
    return file.getvalue()


def moving(file_format, **options):
    """The quadrants, and after them a frame that is red all over."""
    second = Image.new("RGB", (60, 40), RED)
    return encoded(PHOTO, file_format, save_all=True, append_images=[second], **options)


def png(width, height, depth=8, rows=None):
    """A PNG file, of black pixels by default: correct, but its data ends after the first of them when it is large."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    rows = rows or bytes(min((3 * width + 1) * height, 1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_of_16_bits():
    """The quadrants at 16 bits a colour, which Pillow reads and does not write."""
    pixels = (quadrants() * np.uint16(257)).astype(">u2")
    return png(60, 40, 16, b"".join(b"\0" + row.tobytes() for row in pixels))


def ico(content, side=16):
    """A Windows icon that declares `side` x `side` pixels and holds `content`, a PNG of perhaps another size."""
    entry = struct.pack("<BBBBHHII", side, side, 0, 0, 1, 24, len(content), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + content


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


PHOTO = Image.fromarray(quadrants())
GRAY = np.asarray(PHOTO.convert("L"))
HEIC = encoded(PHOTO, "HEIF", quality=95)
AVIF = encoded(PHOTO, "AVIF", quality=95)

# A file of each kind, and the pixels it must give.
EXACT = {
    "PNG": (encoded(PHOTO, "PNG"), quadrants()),
    "palette PNG": (encoded(PHOTO.quantize(4), "PNG"), quadrants()),
    "gray PNG": (encoded(Image.fromarray(GRAY), "PNG"), GRAY),
    "1-bit PNG": (encoded(Image.fromarray(GRAY > 100), "PNG"), 255 * (GRAY > 100)),
    "16-bit gray PNG": (encoded(Image.fromarray(GRAY * np.uint16(257)), "PNG"), GRAY),
    "16-bit PNG": (png_of_16_bits(), quadrants()),
    "APNG": (moving("PNG"), quadrants()),
    "GIF": (encoded(PHOTO, "GIF"), quadrants()),
    "moving GIF": (moving("GIF"), quadrants()),
    "lossless WebP": (encoded(PHOTO, "WEBP", lossless=True), quadrants()),
    "BMP": (encoded(PHOTO, "BMP"), quadrants()),
    "palette BMP": (encoded(PHOTO.quantize(4), "BMP"), quadrants()),
    "TIFF": (encoded(PHOTO, "TIFF"), quadrants()),
    "compressed TIFF": (encoded(PHOTO, "TIFF", compression="tiff_lzw"), quadrants()),
    "16-bit gray TIFF": (encoded(Image.fromarray(GRAY * np.uint16(257)), "TIFF"), GRAY),
    "TIFF of two pages": (moving("TIFF"), quadrants()),
}
LOSSY = {
    "JPEG": (encoded(PHOTO, "JPEG", quality=95), quadrants()),
    "progressive JPEG": (encoded(PHOTO, "JPEG", quality=95, progressive=True), quadrants()),
    "gray JPEG": (encoded(Image.fromarray(GRAY), "JPEG", quality=95), GRAY),
    "CMYK JPEG": (encoded(PHOTO.convert("CMYK"), "JPEG", quality=95), quadrants()),
    "MPO": (moving("MPO", quality=95), quadrants()),
    "WebP": (encoded(PHOTO, "WEBP", quality=95), quadrants()),
    "moving WebP": (moving("WEBP", quality=95), quadrants()),
    "AVIF": (AVIF, quadrants()),
    "moving AVIF": (moving("AVIF", quality=95), quadrants()),
    "HEIC": (HEIC, quadrants()),
    "gray HEIC": (encoded(Image.fromarray(GRAY), "HEIF", quality=95), GRAY),
    # Some programs write only the brand of the container, which does not tell the two apart.
    "HEIC of brand mif1": (HEIC.replace(b"ftypheic", b"ftypmif1"), quadrants()),
    "AVIF of brand mif1": (AVIF.replace(b"ftypavif", b"ftypmif1"), quadrants()),
}
FILES = {kind: content for kind, (content, _) in (EXACT | LOSSY).items()}


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


def cut_off(share, *, mode="RGB", size=(320, 240), **options):
    """A JPEG of noise, so that its rows weigh the same, that ends after about `share` of them; and the whole one."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise).convert(mode), "JPEG", quality=80, **options)
    beginning = content.index(b"\xff\xda") + 20  # the first scan, behind its header
    return content[: beginning + round(share * (len(content) - beginning))], content


@pytest.mark.parametrize("at_least", [None, 60])
@pytest.mark.parametrize(
    "options", [{}, {"mode": "L"}, {"mode": "CMYK"}, {"restart_marker_rows": 1}, {"exif": exif(3)}], ids=str
)
def test_a_jpeg_of_which_half_the_rows_are_there_gives_those(options, at_least):
    content, whole = cut_off(0.6, **options)
    photo, full = read_photo(content, at_least=at_least), read_photo(whole, at_least=at_least)
    assert photo.width == full.width
    assert 0.5 * full.height <= photo.height <= 0.6 * full.height + 16
    sound = photo.height - 17  # the last row of blocks is there in part
    upside_down = "exif" in options
    there = slice(-sound, None) if upside_down else slice(0, sound)
    np.testing.assert_array_equal(np.asarray(photo)[there], np.asarray(full)[there])


def test_a_progressive_jpeg_that_is_cut_off_after_its_first_pass_has_all_its_rows():
    content, whole = cut_off(0.6, progressive=True)
    assert read_photo(content).size == read_photo(whole).size


def jpeg_of_scans(count):
    """A gray progressive JPEG whose last scan is repeated."""
    content = encoded(Image.new("L", (640, 480)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + content[-2:]


def test_a_jpeg_may_be_followed_by_a_video():
    video = np.random.default_rng(0).bytes(10_000_000)
    assert video.count(b"\xff\xda") > 100  # it looks like that many scans, to one who counts only the two bytes
    assert read_photo(FILES["JPEG"] + video) == read_photo(FILES["JPEG"])


def test_a_photo_that_lacks_its_last_bytes_keeps_its_white_lower_half():
    photo = Image.new("RGB", (320, 240), "white")
    photo.paste(PHOTO)
    assert read_photo(encoded(photo, "JPEG")[:-3]).size == (320, 240)


SMALL_COPY = r"Send a smaller copy\."
SAVE_AGAIN = r"Save it again and retry\."
SEND_A_PHOTO = r"Send a JPEG, PNG or WebP photo\."
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
UNREADABLE = {
    "note.txt": (b"no photo at all", r"not an image that can be read\. " + SEND_A_PHOTO),
    "page.html": (b"<!DOCTYPE html><html>" + SVG + b"</html>", r"not an image that can be read\. " + SEND_A_PHOTO),
    "menu.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", r"a PDF, not a photo\. " + SEND_A_PHOTO),
    "logo.svg": (SVG, r"an SVG drawing, not a photo\. " + SEND_A_PHOTO),
    "bom.svg": (b"\xef\xbb\xbf<?xml version='1.0'?>\n" + SVG, r"an SVG drawing, not a photo\. " + SEND_A_PHOTO),
    "empty.jpg": (b"", r"the file is empty\. Choose another photo\."),
    "header.png": (png(8, 8)[:20], r"damaged, .*\. " + SAVE_AGAIN),
    "half.png": (encoded(PHOTO, "PNG")[:-40], r"damaged, .*\. " + SAVE_AGAIN),
    "half.heic": (HEIC[:-40], r"damaged, .*\. " + SAVE_AGAIN),
    "half.avif": (AVIF[:-40], r"damaged, .*\. " + SAVE_AGAIN),
    "third.jpg": (cut_off(0.33)[0], r"damaged, it ends after [34]\d% of its rows\. Send the whole file\."),
    "start.jpg": (cut_off(0)[0], r"damaged, it ends after [0-7]% of its rows\. Send the whole file\."),
    "scans.jpg": (jpeg_of_scans(500), r"damaged, a JPEG of more than 100 scans\. " + SAVE_AGAIN),
    "missing.jpg": (None, r"cannot be opened .*\. Check the path\."),
    "heavy.jpg": (bytes(3_000_000), r"3\.0 MB is over the limit of 2\.0 MB \(SEEFOOD_MAX_BYTES\)\. " + SMALL_COPY),
    "bomb.png": (png(20_000, 20_000), r"400 megapixels is over the limit of 5 \(SEEFOOD_MAX_PIXELS\)\. " + SMALL_COPY),
    "large.png": (png(2000, 2600), r"5\.2 megapixels is over the limit of 5 \(SEEFOOD_MAX_PIXELS\)\. " + SMALL_COPY),
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


@pytest.mark.parametrize("source", ["", "a\0b.jpg"])
def test_a_path_that_cannot_be_one_is_refused_like_a_missing_file(source):
    with pytest.raises(PhotoError, match=r"cannot be opened .*\. Check the path\."):
        read_photo(source)


def recorded_loads(monkeypatch, contents):
    """The sizes at which Pillow decodes from here on what is of the kinds of `contents`."""
    sizes = []
    classes = {type(Image.open(io.BytesIO(content))) for content in contents}
    for kind in {ImageFile.ImageFile, *classes}:
        monkeypatch.setattr(kind, "load", lambda image, load=kind.load: (sizes.append(image.size), load(image))[1])
    return sizes


LARGE = Image.new("RGB", (300, 300))
LARGE_FILES = {kind: encoded(LARGE, kind) for kind in ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"]}
LARGE_FILES["PNG within an icon"] = ico(png(300, 300))


@pytest.mark.filterwarnings("ignore:Image was not the expected size")
@pytest.mark.parametrize("kind", LARGE_FILES)
def test_nothing_over_the_limit_is_decoded_whatever_its_header_declares(kind, environment, monkeypatch):
    content = LARGE_FILES[kind]
    decoded = recorded_loads(monkeypatch, [content])
    if "icon" not in kind:
        read_photo(content)
        assert decoded.pop() == (300, 300)  # so that it would show
    decoded.clear()
    environment(SEEFOOD_MAX_PIXELS=10_000)
    with pytest.raises(PhotoError, match="is over the limit" if "icon" not in kind else "not an image"):
        read_photo(content, at_least=10)
    assert not decoded


def test_a_heic_that_decodes_to_more_than_its_header_declares_is_refused():
    content = bytearray(encoded(Image.new("RGB", (400, 300)), "HEIF"))
    place = content.index(b"ispe") + 8
    assert content[place : place + 8] == struct.pack(">II", 400, 300)
    content[place : place + 8] = struct.pack(">II", 16, 16)
    with pytest.raises(PhotoError, match="damaged"):
        read_photo(bytes(content))


def test_a_photo_at_the_limits_is_read(environment):
    content = png(100, 100)
    environment(SEEFOOD_MAX_BYTES=len(content), SEEFOOD_MAX_PIXELS=10_000)
    assert read_photo(content).size == (100, 100)


def test_the_limits_let_a_photo_of_twelve_megapixels_pass():
    assert read_photo(encoded(Image.new("RGB", (4032, 3024), RED), "JPEG"), at_least=512).size == (1008, 756)


@st.composite
def mutated_files(draw):
    """A file of any kind with some bytes changed, cut off, left out or put in."""
    content = bytearray(FILES[draw(st.sampled_from(sorted(FILES)))])
    for _ in range(draw(st.integers(1, 4))):
        place, end = sorted(draw(st.tuples(st.integers(0, len(content)), st.integers(0, len(content)))))
        few = draw(st.binary(max_size=8))
        match draw(st.sampled_from(["change", "cut off", "leave out", "put in"])):
            case "change":
                content[place : place + len(few)] = few
            case "cut off":
                del content[max(place, end) :]
            case "leave out":
                del content[place : min(end, place + 8)]
            case "put in":
                content[place:place] = few
    return bytes(content)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damage that Pillow can live with
def test_whatever_the_bytes_they_give_a_photo_or_an_error_of_ours(environment):
    environment(SEEFOOD_MAX_PIXELS=100_000)  # a changed header may declare any size
    outcomes = Counter()

    @hypothesis.settings(max_examples=1000, deadline=None, derandomize=True, database=None)
    @hypothesis.given(st.one_of(st.binary(max_size=100), mutated_files(), mutated_files()), st.sampled_from([None, 8]))
    def holds(content, at_least):
        try:
            photo = read_photo(content, at_least=at_least)
        except PhotoError as error:
            sentence = str(error)
            outcomes["refused"] += 1
        else:
            sentence = ""
            assert photo.mode == "RGB"
            assert 0 < photo.width * photo.height <= 100_000
            outcomes["read"] += 1
        assert not sentence or sentence.startswith("the photo: ")
        assert "/" not in sentence

    holds()
    assert outcomes.total() >= 500
    assert min(outcomes["read"], outcomes["refused"]) >= 100, outcomes


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
