"""`seefood.bulk` beside a loop over `Predictor` in one process, both with one thread of ONNX Runtime for each process.

    python benchmarks/bulk.py                                         # 5,000 photos of 512 x 512 pixels, two workers
    python benchmarks/bulk.py --photos 20000 --workers 8 --folder /data/photos

The photos are small ones, of SEEFOOD_DATA or else of examples/, enlarged, with grain laid over them so that a file
weighs what one of that size does. The loop takes the first half of them before the run and the second half after it,
so that both meet the same load of the machine. Its rate is without the loading of the model; that of the run is from
its first photo to its last answer, and what goes before is reported apart.
"""

import argparse
import itertools
import os
import time
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from photo import small_photos
from PIL import Image, ImageOps

from seefood.bulk.run import classify
from seefood.predictor import Predictor

SIZE, GRAIN, QUALITY = 512, 6.0, 90
WARM_UP = 20


def make(folder: Path, numbers: range) -> None:
    """Write the photos of these numbers, but for those that are there."""
    random = np.random.default_rng(numbers.start)
    noise = random.normal(0, GRAIN, (SIZE, SIZE, 3)).astype(np.int16)
    for number, photo in zip(numbers, small_photos(seed=numbers.start), strict=False):
        file = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.asarray(ImageOps.fit(photo, (SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.int16)
            pixels = pixels + np.roll(noise, random.integers(SIZE), axis=0)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=QUALITY)


def loop(predictor: Predictor, files: list[Path]) -> float:
    """Seconds that the loop takes."""
    for file in files[:WARM_UP]:
        predictor.predict(file)
    start = time.perf_counter()
    for file in files:
        predictor.predict(file).top(5)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the photos are kept for the next time")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary, "photos")
        parts = [range(start, min(start + 500, arguments.photos)) for start in range(0, arguments.photos, 500)]
        with get_context("spawn").Pool() as pool:
            pool.starmap(make, zip(itertools.repeat(folder), parts))
        files = sorted(folder.glob("**/*.jpg"))
        weight = sum(file.stat().st_size for file in files) / len(files) / 1000
        print(
            f"{len(files):,} JPEGs of {SIZE} x {SIZE}, {weight:.0f} kB each; load {os.getloadavg()[0]:.1f}", flush=True
        )
        predictor, half = Predictor(threads=1), len(files) // 2
        before = loop(predictor, files[:half])
        start = time.time()
        report = classify(str(folder), f"{temporary}/answers", workers=arguments.workers)
        whole = time.time() - start
        after = loop(predictor, files[half:])
    rate, plain = sum(report.photos.values()) / report.work, len(files) / (before + after)
    print(
        f"  {'a loop over Predictor':<24}{plain:8.1f} a second ({half / before:.1f} before, {half / after:.1f} after)"
    )
    print(f"  {f'bulk, {arguments.workers} workers':<24}{rate:8.1f} a second, errors: {report.errors}")
    print(f"  {'times as fast':<24}{rate / plain:8.2f}")
    print(f"  start {report.start:.1f} s, work {report.work:.1f} s, end {whole - report.start - report.work:.1f} s")


if __name__ == "__main__":
    main()
