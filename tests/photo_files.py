"""Files that the tests of photos read: of every kind, upright or turned, whole or damaged."""

import io
import struct
import zlib

import hypothesis.strategies as st
import numpy as np
import pillow_heif
from PIL import Image, ImageFile

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


def cut_off(share, *, mode="RGB", size=(320, 240), **options):
    """A JPEG of noise, so that its rows weigh the same, that ends after about `share` of them; and the whole one."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise).convert(mode), "JPEG", quality=80, **options)
    beginning = content.index(b"\xff\xda") + 20  # the first scan, behind its header
    return content[: beginning + round(share * (len(content) - beginning))], content


def jpeg_of_scans(count):
    """A gray progressive JPEG whose last scan is repeated."""
    content = encoded(Image.new("L", (640, 480)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + content[-2:]


def recorded_loads(monkeypatch, contents):
    """The sizes at which Pillow decodes from here on what is of the kinds of `contents`."""
    sizes = []
    classes = {type(Image.open(io.BytesIO(content))) for content in contents}
    for kind in {ImageFile.ImageFile, *classes}:
        monkeypatch.setattr(kind, "load", lambda image, load=kind.load: (sizes.append(image.size), load(image))[1])
    return sizes


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
