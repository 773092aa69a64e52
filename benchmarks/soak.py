"""Whether memory grows, file descriptors are left over, or temporary files pile up, prediction after prediction.

python benchmarks/soak.py
python benchmarks/soak.py --in-process 1000 --http 200
"""

import argparse
import os
from pathlib import Path

from servers import APP, Server, classify, gradio_call, measure, photo_of_50_kb, serving

from seefood.predictor import Predictor


def report(name: str, memory: list[float], files: list[int]) -> None:
    """`memory` and `files` after each tenth."""
    growth = memory[-1] / memory[0] - 1
    print(f"  {name:<34}{memory[0]:>10.1f}{memory[-1]:>10.1f}{growth:>9.1%}{files[0]:>8}{files[-1]:>8}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-process", type=int, default=10_000, help="predictions in Predictor")
    parser.add_argument("--http", type=int, default=2_000, help="predictions over HTTP, by each of the two ways")
    arguments = parser.parse_args()
    content = photo_of_50_kb()
    print(f"  {'MB and open files after the':<34}{'1st tenth':>10}{'last':>10}{'':>9}{'1st':>8}{'last':>8}")
    predictor, here = Predictor(), Server(0, os.getpid(), 0.0)
    memory, files = [], []
    for _ in range(10):
        for _ in range(arguments.in_process // 10):
            predictor.predict(content)
        memory.append(here.resident_mb())
        files.append(here.open_files())
    report(f"Predictor, {arguments.in_process} photos", memory, files)
    for name, call in {"/classify": classify, "Gradio's API": gradio_call}.items():
        with serving(APP) as server:
            memory, files = [], []
            for _ in range(10):
                measure(server, call, content, callers=4, calls=arguments.http // 10)
                memory.append(server.resident_mb())
                files.append(server.open_files())
            left = [link for link in Path(f"/proc/{server.pid}/fd").iterdir() if "(deleted)" in os.readlink(link)]
        report(f"{name}, {arguments.http} photos", memory, files)
        print(f"    temporary files still open: {len(left)}")


if __name__ == "__main__":
    main()
