"""Untrusted bytes -> upright RGB photo -> square: the one definition of pre-processing.

Training evaluates through it, export.py measures through it, and the app answers through it, so that the three agree.
"""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from seefood.errors import PhotoError
from seefood.settings import settings

# Ours is the limit that counts (SEEFOOD_MAX_PIXELS, checked before decoding); Pillow's own would raise, or only warn,
# at another one.
Image.MAX_IMAGE_PIXELS = None

# What cameras and web pages make. Others of Pillow's formats decode while they are opened, before their size can be
# checked (icons), or run a program (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

PhotoSource = str | os.PathLike[str] | bytes | Image.Image


def read_photo(source: PhotoSource, *, name: str = "") -> Image.Image:
    """Read a photo that may be anything.

    Args:
        source: a path, the bytes of a file, or a PIL image (which is only turned upright and converted).
        name: what error messages call the photo; default: the file's name, or "the photo".

    Returns:
        An upright RGB image of the photo's own size. Transparent parts are white.

    Raises:
        PhotoError: the photo is missing, empty, no image, damaged, or over SEEFOOD_MAX_BYTES or SEEFOOD_MAX_PIXELS.
    """
    if isinstance(source, Image.Image):
        return _upright_rgb(source, name or "the photo")
    if isinstance(source, bytes):
        name = name or "the photo"
        check_bytes(len(source), name)
        file = io.BytesIO(source)
    else:
        name = name or Path(source).name
        try:
            check_bytes(os.stat(source).st_size, name)
            file = io.BytesIO(Path(source).read_bytes())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PhotoError(f"{name}: cannot be opened ({reason}). Check the path.") from error
    try:
        image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise PhotoError(f"{name}: not an image that can be read. Send a JPEG, PNG or WebP photo.") from error
    except Exception as error:  # Pillow's parsers raise many kinds of errors on hostile headers
        raise PhotoError(f"{name}: damaged, its header cannot be read. Save it again and retry.") from error
    _check_pixels(image, name)
    return _upright_rgb(image, name)


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


def _check_pixels(image: Image.Image, name: str) -> None:
    pixels = image.width * image.height
    if pixels > settings().max_pixels:
        limit = settings().max_pixels / 1e6
        raise PhotoError(
            f"{name}: {pixels / 1e6:.0f} megapixels is over the limit of {limit:.0f} (SEEFOOD_MAX_PIXELS). "
            "Send a smaller copy."
        )


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):  # Pillow would clip what is over 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
    except Exception as error:  # as above: a damaged file may raise nearly anything while it is decoded
        raise PhotoError(f"{name}: damaged, its pixels cannot be decoded. Save it again and retry.") from error
