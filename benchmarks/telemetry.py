"""What it costs to tell of a photo, in the log and in the metrics, beside reading it and running the model.

python benchmarks/telemetry.py --runs 1000
"""

import argparse
import os
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median

from seefood.predictor import Predictor
from seefood.serving.logs import configure_logs
from seefood.serving.telemetry import Telemetry, predict_observed, read_observed

PHOTO = Path(__file__).parents[1] / "examples" / "donuts.jpg"


def milliseconds(call: Callable[[], object]) -> float:
    """Of this thread on the CPU, which tells more than the clock where the machine has other work."""
    start = time.thread_time()
    call()
    return 1000 * (time.thread_time() - start)


def measured(runs: int) -> list[tuple[float, float]]:
    """Milliseconds without telling and with it, in turn."""
    configure_logs()
    predictor = Predictor()
    telemetry = Telemetry(predictor)
    content = PHOTO.read_bytes()

    def answer() -> None:
        predict_observed(predictor, read_observed(content, name=PHOTO.name, at_least=predictor.short_side))

    def answer_and_tell() -> None:
        with telemetry.observed("/classify", "a-request-id"):
            answer()

    return [(milliseconds(answer), milliseconds(answer_and_tell)) for _ in range(runs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    arguments = parser.parse_args()
    os.environ |= {"SEEFOOD_LOG": "json", "SEEFOOD_METRICS_NAMESPACE": "SeeFood102", "SEEFOOD_THREADS": "1"}
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        pairs = measured(arguments.runs)
    silent, told = (median(times) for times in zip(*pairs, strict=True))
    print(f"{PHOTO.name}, one thread, ms on the CPU, medians of {arguments.runs} interleaved runs")
    print(f"  {'read and classified':<34}{silent:8.2f}")
    print(f"  {'the same, logged and counted':<34}{told:8.2f}")
    print(f"  {'times':<34}{told / silent:8.2f}")


if __name__ == "__main__":
    main()
