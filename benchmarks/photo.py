"""What it costs to classify a 12-megapixel JPEG, and that decoding it at reduced scale gives the same answer.

    python benchmarks/photo.py                       # photos made from examples/
    SEEFOOD_DATA=folder python benchmarks/photo.py   # photos made from folder/food101-160
    python benchmarks/photo.py --photos 150 --runs 30

There are no photos of 12 megapixels here that may be passed on: small ones are enlarged to 4000 x 3000 and grain is
laid over them, so that the file weighs what a phone's does. Photos made from examples/ are, from the tenth on, crops
and mirror images of the same nine.
"""

import argparse
import io
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet
from PIL import Image, ImageOps

from seefood.photo import read_photo
from seefood.predictor import Predictor

SIZE = (4000, 3000)
QUALITY = 92
GRAIN = 5.0  # standard deviation, of 255: files of 2.6 MB; 3 gives 1.7 MB, 7 gives 3.4 MB
EXAMPLES = Path(__file__).parents[1] / "examples"


def small_photos(seed: int) -> Iterator[Image.Image]:
    """RGB photos without end, in random order."""
    random = np.random.default_rng(seed)
    if os.environ.get("SEEFOOD_DATA"):
        files = sorted(Path(os.environ["SEEFOOD_DATA"], "food101-160").glob("**/*.parquet"))
        contents = [row["bytes"] for file in files for row in pyarrow.parquet.read_table(file)["image"].to_pylist()]
        while True:
            yield Image.open(io.BytesIO(contents[random.integers(len(contents))])).convert("RGB")
    examples = [Image.open(file).convert("RGB") for file in sorted(EXAMPLES.glob("*.jpg"))]
    yield from examples
    while True:
        photo = examples[random.integers(len(examples))]
        share = random.uniform(0.6, 0.95)
        width, height = (round(share * side) for side in photo.size)
        left, top = int(random.integers(photo.width - width)), int(random.integers(photo.height - height))
        crop = photo.crop((left, top, left + width, top + height))
        yield ImageOps.mirror(crop) if random.random() < 0.5 else crop


def large_jpegs(grain: float, seed: int = 0) -> Iterator[bytes]:
    """JPEG files of 12 megapixels, without end."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, grain, (SIZE[1], SIZE[0], 3)).astype(np.int16)
    for photo in small_photos(seed):
        pixels = np.asarray(ImageOps.fit(photo, SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = pixels + np.roll(noise, random.integers(SIZE[1]), axis=0)
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
        yield file.getvalue()


def plain(predictor: Predictor, content: bytes) -> object:
    """What one writes with Pillow and ONNX Runtime alone: open, convert, resize, run."""
    side = predictor.metadata.image_size
    photo = Image.open(io.BytesIO(content)).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return predictor._session.run(["probability", "evidence"], {"image": np.asarray(photo)[None]})


def milliseconds(call: Callable[[bytes], object], content: bytes) -> tuple[float, float]:
    """By the clock, and of this process on the CPU, which tells more where the machine has other work."""
    wall, cpu = time.perf_counter(), time.process_time()
    call(content)
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def compare_speed(predictor: Predictor, contents: list[bytes], runs: int) -> None:
    """Interleaved, in one process, so that all meet the same load of the machine."""
    small = io.BytesIO()
    Image.open(io.BytesIO(contents[0])).resize((640, 480)).save(small, "JPEG", quality=QUALITY)
    ways: dict[str, Callable[[bytes], object]] = {
        "plain Pillow and a session": lambda content: plain(predictor, content),
        "Predictor.predict": predictor.predict,
        "  of it, read_photo": lambda content: read_photo(content, at_least=predictor.short_side),
        "Predictor.predict, 640 x 480": lambda _: predictor.predict(small.getvalue()),
    }
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for run in range(-1, runs):
        for way, call in ways.items():
            elapsed = milliseconds(call, contents[run % len(contents)])
            if run >= 0:  # the first is to warm up
                times[way].append(elapsed)
    middle = {way: np.median(each, axis=0) for way, each in times.items()}
    weight = median(len(content) for content in contents) / 1e6
    print(f"{SIZE[0]} x {SIZE[1]} JPEG, quality {QUALITY}, {weight:.1f} MB; medians of {runs} interleaved runs")
    print(f"  {'ms':<30}{'clock':>8}{'CPU':>8}")
    for way, (wall, cpu) in middle.items():
        print(f"  {way:<30}{wall:8.1f}{cpu:8.1f}")
    wall, cpu = middle["plain Pillow and a session"] / middle["Predictor.predict"]
    print(f"  {'times as fast':<30}{wall:8.1f}{cpu:8.1f}")


def compare_answers(predictor: Predictor, contents: Iterator[bytes], photos: int) -> None:
    """Full decoding against what the predictor decodes, both through the same `square`."""
    differences, agree = [], 0
    for content in islice(contents, photos):
        full = predictor.predict(read_photo(content)).probability
        reduced = predictor.predict(content).probability
        differences.append(float(np.abs(full - reduced).max()))
        agree += int(full.argmax() == reduced.argmax() and differences[-1] <= 0.02)
    print(f"{photos} photos, at full and at reduced scale (short side at least {predictor.short_side} px)")
    print(f"  same top-1 and all probabilities within 0.02: {agree} of {photos}")
    print(f"  largest difference of a probability: median {median(differences):.4f}, worst {max(differences):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100, help="photos whose answers are compared")
    parser.add_argument("--runs", type=int, default=15, help="runs of each way that is timed")
    parser.add_argument("--grain", type=float, default=GRAIN, help="how much of it, which makes the files heavier")
    parser.add_argument("--threads", type=int, help="threads of ONNX Runtime; default: SEEFOOD_THREADS")
    arguments = parser.parse_args()
    predictor = Predictor(threads=arguments.threads)
    compare_speed(predictor, list(islice(large_jpegs(arguments.grain), 5)), arguments.runs)
    compare_answers(predictor, large_jpegs(arguments.grain, seed=1), arguments.photos)


if __name__ == "__main__":
    main()
