"""Feedback that the tests make: a visitor's answer, with a photo that says where it was taken."""

import hashlib
import io
from datetime import UTC, datetime

from PIL import ExifTags, Image, ImageCms

from seefood.answers import Answer, add_answer

DIGEST = "0123456789ab"


def telltale_jpeg(photo: Image.Image) -> bytes:
    """A JPEG file that tells a place, a camera, a profile and a comment, all of which hold the word "Secret"."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Secret camera"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 51.0, 30.0), 29: "Secret"})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=95, exif=exif, icc_profile=profile, comment=b"Secret")
    return content.getvalue()


def answer(store, content: bytes, dish: str, *, guess: str = "apple_pie", kept: bool = True) -> str:
    """Put a visitor's answer into a store, with the photo as it is, and return the photo's name."""
    name = hashlib.sha256(content).hexdigest()
    if kept:
        store.add_photo(f"{name}.jpg", content)
    said = Answer(
        time=datetime.now(UTC),
        model=DIGEST,
        photo=name,
        prediction=[(guess, 0.6), ("ramen", 0.3)],
        right=dish == guess,
        dish=dish,
        photo_kept=kept,
    )
    add_answer(store, said)
    return name
