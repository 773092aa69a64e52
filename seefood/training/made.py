"""Made pictures of no food: what people send that no camera took. Flat colours, noise, text, drawings, screens.

Photos of things teach a network what is no food; nothing in them teaches it that an empty page is none.

    python -m seefood.training.made runs/made 1500
"""

import argparse
import random
import string
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from seefood.names import NOT_FOOD

# about as often as in a text
LETTERS = 2 * string.ascii_lowercase + "eaionst" + 5 * " " + string.ascii_uppercase + string.digits + ".,:;-()"
Color = tuple[int, int, int]


def made_picture(seed: int) -> Image.Image:
    """A picture without food, RGB, 120 to 320 pixels on each side; the same for the same seed."""
    draw = random.Random(seed)
    size = draw.randint(120, 320), draw.randint(120, 320)
    picture = draw.choice(KINDS)(draw, size)
    if draw.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 6)))
    return picture.convert("L").convert("RGB") if draw.random() < 0.15 else picture


def _color(draw: random.Random) -> Color:
    if draw.random() < 0.4:  # white, black, or a grey between
        return (draw.choice((0, 255, draw.randint(0, 255))),) * 3
    return draw.randint(0, 255), draw.randint(0, 255), draw.randint(0, 255)


def _place(draw: random.Random, size: tuple[int, int]) -> tuple[int, int]:
    return draw.randint(0, size[0]), draw.randint(0, size[1])


def _box(draw: random.Random, size: tuple[int, int]) -> tuple[int, int, int, int]:
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(_place(draw, size), _place(draw, size), strict=True))
    return left, top, right + 1, bottom + 1


def _flat(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, _color(draw))


def _gradient(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    corners = Image.new("RGB", (2, 2))
    corners.putdata([_color(draw) for _ in range(4)])
    return corners.resize(size, Image.Resampling.BICUBIC)


def _noise(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    """Noise with grains of 1 to 40 pixels, of any contrast, in grey or in colour, about any colour."""
    grain, contrast = 2 ** draw.uniform(0, 5.3), draw.uniform(5, 120)
    shape = max(2, round(size[1] / grain)), max(2, round(size[0] / grain)), draw.choice((1, 3))
    noise = np.random.default_rng(draw.getrandbits(32)).normal(0, contrast, shape) + np.array(_color(draw))
    pixels = np.clip(noise, 0, 255).astype(np.uint8)
    resampling = draw.choice((Image.Resampling.NEAREST, Image.Resampling.BICUBIC))
    return Image.fromarray(pixels).resize(size, resampling)


def _stripes(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    """Stripes or checks of two colours, turned by any angle."""
    y, x = np.mgrid[: size[1], : size[0]] / draw.uniform(3, 60)
    angle = draw.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    is_first = (np.floor(along) + draw.choice((0, 1)) * np.floor(across)) % 2 == 0
    return Image.fromarray(np.where(is_first[..., None], _color(draw), _color(draw)).astype(np.uint8))


def _text(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    """A page of letters, large or small."""
    page = _flat(draw, size)
    height, ink = draw.randint(7, 60), _color(draw)
    font = ImageFont.load_default(height)
    for top in range(draw.randint(0, height), size[1], round(height * draw.uniform(1.1, 1.8))):
        line = "".join(draw.choices(LETTERS, k=draw.randint(0, 2 + 2 * size[0] // height)))
        ImageDraw.Draw(page).text((draw.randint(0, height), top), line, ink, font)
    return page


def _shapes(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    """Filled shapes and outlines, as in a drawing, a logo or a diagram."""
    page = _flat(draw, size)
    pen = ImageDraw.Draw(page)
    shapes: tuple[Callable[..., None], ...] = (pen.ellipse, pen.rectangle, partial(pen.rounded_rectangle, radius=9))
    for _ in range(draw.randint(1, 15)):
        fill, outline, width = draw.choice((None, _color(draw))), _color(draw), draw.randint(1, 6)
        draw.choice(shapes)(_box(draw, size), fill=fill, outline=outline, width=width)
    return page


def _lines(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    """Strokes of a pen, straight or curling: a sketch, handwriting, a map."""
    page, ink = _flat(draw, size), _color(draw)
    pen = ImageDraw.Draw(page)
    for _ in range(draw.randint(2, 25)):
        x, y = _place(draw, size)
        angle, bend, stride = draw.uniform(0, 6.3), draw.gauss(0, 0.4), draw.uniform(3, 25)
        points = [(float(x), float(y))]
        for _ in range(draw.randint(1, 25)):
            points.append((points[-1][0] + stride * np.cos(angle), points[-1][1] + stride * np.sin(angle)))
            angle += bend + draw.gauss(0, 0.2)
        pen.line(points, ink if draw.random() < 0.8 else _color(draw), draw.randint(1, 5))
    return page


def _chart(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    """Bars on axes with a caption."""
    page = _flat(draw, size)
    pen, count, ink = ImageDraw.Draw(page), draw.randint(3, 12), _color(draw)
    colors = [_color(draw) for _ in range(draw.randint(1, 3))]
    for bar in range(count):
        left, width = 20 + bar * (size[0] - 30) // count, (size[0] - 30) // count
        top = draw.randint(15, size[1] - 20)
        pen.rectangle((left, top, left + max(1, width - 3), size[1] - 18), draw.choice(colors))
    pen.line((18, 10, 18, size[1] - 16, size[0] - 6, size[1] - 16), ink, 2)
    pen.text((30, 2), "".join(draw.choices(LETTERS, k=16)), ink, ImageFont.load_default(12))
    return page


def _screen(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    """A window with a bar, panels, buttons and lines of text."""
    page, ink = _flat(draw, size), _color(draw)
    pen = ImageDraw.Draw(page)
    bar = draw.randint(10, 40)
    pen.rectangle((0, 0, size[0], bar), _color(draw))
    pen.text((6, 2), "".join(draw.choices(LETTERS, k=12)), ink, ImageFont.load_default(bar * 0.6))
    font = ImageFont.load_default(9)
    for _ in range(draw.randint(1, 6)):
        left, top, right, bottom = _box(draw, size)
        pen.rounded_rectangle((left, bar + top, right, bar + bottom), 5, _color(draw), ink)
        for line in range(bar + top + 4, bar + bottom - 8, 13):
            letters = "".join(draw.choices(LETTERS, k=max(0, (right - left) // 7)))
            pen.text((left + 4, line), letters, ink, font)
    return page


KINDS: tuple[Callable[[random.Random, tuple[int, int]], Image.Image], ...] = (
    _flat,
    _gradient,
    _noise,
    _stripes,
    _text,
    _shapes,
    _lines,
    _chart,
    _screen,
)


def make(folder: Path, count: int) -> None:
    """Write `count` pictures into a folder of class folders, as `FoodData` reads them."""
    (folder / NOT_FOOD).mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        made_picture(seed).save(folder / NOT_FOOD / f"{seed:05}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write; a source of train.py")
    parser.add_argument("count", type=int, help="how many pictures")
    arguments = parser.parse_args()
    make(arguments.folder, arguments.count)


if __name__ == "__main__":
    main()
