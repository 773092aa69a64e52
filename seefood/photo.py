"""Untrusted bytes -> upright RGB photo -> square: the one definition of pre-processing.

Training evaluates through it, export.py measures through it, and the app answers through it, so that the three agree.
"""

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pi_heif
from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError

from seefood.errors import PhotoError
from seefood.settings import settings

# Ours is the limit that counts (SEEFOOD_MAX_PIXELS, checked before decoding); Pillow's own would raise, or only warn,
# at another one.
Image.MAX_IMAGE_PIXELS = None
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)

# What cameras and web pages make; MPO is a JPEG to Pillow, APNG a PNG. Others of Pillow's formats decode while they are
# opened, before their size can be checked (icons), or run a program (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")

_START_OF_SCAN, _END_OF_JPEG = b"\xff\xda\x00", b"\xff\xd9"
_MOST_SCANS = 100  # of a JPEG; a progressive one has some ten
_ROWS_THERE = 0.5  # share of a cut-off JPEG's rows that is enough

# As the EXIF standard (CIPA DC-008, tag 274) has it. Pillow's ImageOps.exif_transpose would also write the EXIF block
# anew, and refuse the photo when something else in that block is damaged.
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

PhotoSource = str | os.PathLike[str] | bytes | Image.Image


@dataclass(frozen=True)
class PhotoFile:
    """A photo that came as a file.

    Attributes:
        image: as `read_photo` gives it.
        bytes: size of the file.
        pixels: width x height, as the file's header has them.
        format: Pillow's name of the format, such as "JPEG".
    """

    image: Image.Image
    bytes: int
    pixels: int
    format: str


def read_photo(source: PhotoSource, *, name: str = "", at_least: int | None = None) -> Image.Image:
    """Read a photo that may be anything: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF, whatever its name ends in.

    Args:
        source: a path, the bytes of a file, or a PIL image (which is only turned upright and converted).
        name: what error messages call the photo; default: the file's name, or "the photo".
        at_least: pixels that the short side must keep. A JPEG that has more is decoded at 1/2, 1/4 or 1/8 of its size,
            which costs a fraction of the time; other formats, PIL images and smaller photos keep their size.

    Returns:
        An upright RGB image of the photo's own size, unless `at_least` says less. Transparent parts are white; what
        moves is its first frame; a JPEG whose end is missing is the part that is there, if that is half of it.

    Raises:
        PhotoError: the photo is missing, empty, no image, damaged, or over SEEFOOD_MAX_BYTES or SEEFOOD_MAX_PIXELS.
    """
    if not isinstance(source, Image.Image):
        return read_photo_file(source, name=name, at_least=at_least).image
    with _damage_named(name or "the photo"):
        return _upright_rgb(source)


def read_photo_file(
    source: str | os.PathLike[str] | bytes, *, name: str = "", at_least: int | None = None
) -> PhotoFile:
    """The same, of a path or the bytes of a file, with what is known of that file."""
    name = name or ("" if isinstance(source, bytes) else Path(source).name) or "the photo"
    with _damage_named(name):
        content = _content(source, name)
        file = _opened(content, name)
        pixels = file.width * file.height  # before a JPEG is told to decode to less
        image = _upright_rgb(_decoded(file, content, name, at_least))
    return PhotoFile(image, bytes=len(content), pixels=pixels, format=file.format or "")


def square(photo: Image.Image, size: int, crop: float = 1.0) -> Image.Image:
    """Cut out the central square and scale it.

    Args:
        photo: an upright RGB photo, as `read_photo` gives it.
        size: side of the result in pixels.
        crop: side of the square that is cut out, as a share of the photo's short side, in (0, 1].

    Returns:
        An RGB image of `size` x `size` pixels, resampled by a bicubic filter that averages when it shrinks.
    """
    side = crop * min(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    return photo.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def check_bytes(count: int, name: str) -> None:
    """Refuse a file by its size, before it is read.

    Raises:
        PhotoError: it is empty, or over SEEFOOD_MAX_BYTES.
    """
    if count == 0:
        raise PhotoError(f"{name}: the file is empty. Choose another photo.")
    if count > settings().max_bytes:
        limit = settings().max_bytes / 1e6
        raise PhotoError(
            f"{name}: {count / 1e6:.1f} MB is over the limit of {limit:.1f} MB (SEEFOOD_MAX_BYTES). "
            "Send a smaller copy."
        )


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Turn whatever a damaged file raises while it is decoded, which may be nearly anything, into a PhotoError."""
    try:
        yield
    except PhotoError:
        raise
    except Exception as error:
        raise PhotoError(f"{name}: damaged, its pixels cannot be decoded. Save it again and retry.") from error


def _content(source: str | os.PathLike[str] | bytes, name: str) -> bytes:
    if isinstance(source, bytes):
        check_bytes(len(source), name)
        return source
    try:
        check_bytes(os.stat(source).st_size, name)
        return Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PhotoError(f"{name}: cannot be opened ({reason}). Check the path.") from error


def _decoded(file: Image.Image, content: bytes, name: str, at_least: int | None) -> Image.Image:
    try:
        return _loaded(file, at_least)
    except OSError:
        if not isinstance(file, JpegImagePlugin.JpegImageFile):
            raise
        return _beginning(_loaded(_opened(content + _END_OF_JPEG, name), at_least), name)


def _loaded(file: Image.Image, at_least: int | None) -> Image.Image:
    if at_least:
        file.draft(None, (at_least, at_least))  # both sides keep it, so it does not matter which way up the photo is
    file.load()
    return file


def _opened(content: bytes, name: str) -> Image.Image:
    """Read the header, and nothing more, so that what is too large is refused before it is decoded."""
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise PhotoError(f"{name}: {_what_it_is(content)}. Send a JPEG, PNG or WebP photo.") from error
    except Exception as error:  # Pillow's parsers raise many kinds of errors on hostile headers
        raise PhotoError(f"{name}: damaged, its header cannot be read. Save it again and retry.") from error
    pixels = image.width * image.height
    if pixels > settings().max_pixels:
        limit = settings().max_pixels / 1e6
        raise PhotoError(
            f"{name}: {math.ceil(pixels / 1e5) / 10:g} megapixels is over the limit of {limit:g} (SEEFOOD_MAX_PIXELS). "
            "Send a smaller copy."
        )
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        _check_scans(content, name)
    return image


def _check_scans(content: bytes, name: str) -> None:
    """Refuse a JPEG that goes over its pixels time and again: 70 bytes each time, for a few hundredths of a second."""
    if content.count(_START_OF_SCAN) > _MOST_SCANS:
        raise PhotoError(f"{name}: damaged, a JPEG of more than {_MOST_SCANS} scans. Save it again and retry.")


def _beginning(image: Image.Image, name: str) -> Image.Image:
    """The rows that are there of a JPEG that was cut off and then ended.

    libjpeg does not say how many it found. It fills the others with mid-gray (coefficients of zero), so what counts as
    missing is the rows at the bottom that are mid-gray from edge to edge; a row of blocks that is there in part counts
    as there. A progressive JPEG has all its rows, only coarser, once its first pass is there.
    """
    rows = np.asarray(image).reshape(image.height, -1)
    there = np.flatnonzero((rows.min(axis=1) < 127) | (rows.max(axis=1) > 128))  # CMYK is stored inverted: 127
    count = int(there[-1]) + 1 if there.size else 0
    if count < _ROWS_THERE * image.height:
        share = count / image.height
        raise PhotoError(f"{name}: damaged, it ends after {share:.0%} of its rows. Send the whole file.")
    return image.crop((0, 0, image.width, count))


def _what_it_is(content: bytes) -> str:
    beginning = content[:4096].lstrip(b"\xef\xbb\xbf\r\n\t ").lower()
    if beginning.startswith(b"%pdf-"):
        return "a PDF, not a photo"
    if beginning.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in beginning:
        return "an SVG drawing, not a photo"
    return "not an image that can be read"


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()  # TIFF files turn upright by themselves while they load
    turn = _TO_UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I;16"):  # Pillow would clip what is over 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
