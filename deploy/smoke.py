"""Does an address answer as this repository's model does? Asked of an image before the push, and of a service after it.

    python -m deploy.smoke http://127.0.0.1:7860               compare with what models/seefood.onnx says here
    python -m deploy.smoke --write table.json                  write down what it says
    python -m deploy.smoke URL --table table.json --public     compare with that; /metrics must be shut to the public

Every photo in examples/ goes through /predict and /classify. Each difference is a line, and the exit code is then 1.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

EXAMPLES = Path(__file__).parents[1] / "examples"
BARS = 5
TOLERANCE = 0.005  # another processor sums in another order, and the task may have ARM's


@dataclass(frozen=True)
class Table:
    """What a model says of the example photos.

    Attributes:
        model: the first 12 hexadecimal digits of the model file's SHA-256, as /healthz gives them.
        photos: for each file's name the five most probable labels, as people read them, best first, with probabilities.
    """

    model: str
    photos: dict[str, list[tuple[str, float]]]

    @classmethod
    def read(cls, path: Path) -> "Table":
        content = json.loads(path.read_text())
        return cls(content["model"], {name: [(a, b) for a, b in top] for name, top in content["photos"].items()})

    @classmethod
    def of_this_repository(cls, model: Path | None = None) -> "Table":
        """What the model file says in this process, outside of any container."""
        from seefood.names import display_name
        from seefood.predictor import Predictor

        predictor = Predictor(model)
        tops = {path.name: predictor.predict(path).top(BARS) for path in sorted(EXAMPLES.glob("*.jpg"))}
        return cls(
            predictor.digest,
            {name: [(display_name(label), probability) for label, probability in top] for name, top in tops.items()},
        )


def wait_until_healthy(url: str, seconds: float) -> dict[str, Any]:
    """What /healthz says once it answers 200; raises TimeoutError that names the last answer."""
    deadline, last = time.monotonic() + seconds, "not asked"
    while True:
        try:
            response = httpx.get(f"{url}/healthz", timeout=10)
            if response.status_code == 200:
                return dict(response.json())
            last = f"status {response.status_code}"
        except (httpx.HTTPError, ValueError) as error:
            last = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{url}/healthz did not answer 200 within {seconds:.0f} seconds. The last answer: {last}"
            )
        time.sleep(1)


def differences(url: str, table: Table, *, tolerance: float = TOLERANCE) -> Iterator[str]:
    """A sentence for each way in which the answers of /predict and /classify differ from the table."""
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False, analytics_enabled=False)
    for name, expected in table.photos.items():
        path = EXAMPLES / name
        try:
            answer = client.predict(handle_file(path), api_name="/predict")
            yield from (f"/predict of {name}: {text}" for text in compare(answer, expected, tolerance))
        except Exception as error:  # whatever the client raises, the other photos are to be asked about, too
            yield f"/predict of {name}: {type(error).__name__}: {error}"
        try:
            response = httpx.post(f"{url}/classify", files={"photo": (name, path.read_bytes())}, timeout=60)
            response.raise_for_status()
            yield from (f"/classify of {name}: {text}" for text in compare(response.json(), expected, tolerance))
        except (httpx.HTTPError, ValueError) as error:
            yield f"/classify of {name}: {type(error).__name__}: {error}"


def compare(answer: dict[str, Any], expected: list[tuple[str, float]], tolerance: float) -> Iterator[str]:
    """A sentence for each difference between a Label value and the table's row.

    Two labels whose probabilities are within the tolerance of each other may change places.
    """
    bars = answer.get("confidences")
    if not bars:
        yield f"no probabilities in {answer}"
        return
    probability_of, best = dict(expected), expected[0]
    if probability_of.get(bars[0]["label"], 0.0) < best[1] - tolerance:
        yield f"{bars[0]['label']!r} is best, expected {best[0]!r}"
    for (_, wanted), bar in zip(expected, bars, strict=False):
        if abs(bar["confidence"] - probability_of.get(bar["label"], wanted)) > tolerance:
            wanted = probability_of.get(bar["label"], wanted)
            yield f"{bar['label']!r} has probability {bar['confidence']:.4f}, expected {wanted:.4f}"
    if len(bars) != len(expected):
        yield f"{len(bars)} labels, expected {len(expected)}"


def open_to_the_public(url: str) -> Iterator[str]:
    """A sentence if /metrics, which is for the operator, can be had at a public address, however it is spelt."""
    for path in ("/metrics", "/%6detrics"):
        status = httpx.get(f"{url}{path}", timeout=30).status_code
        if status not in (401, 403, 404):
            yield f"{path} answers with status {status}: it must not be reachable at a public address"


def check(url: str, table: Table, *, wait: float = 120, public: bool = False) -> list[str]:
    """Every way in which the address does not do what it should, as sentences; none if all is well."""
    url = url.rstrip("/")
    try:
        health = wait_until_healthy(url, wait)
    except TimeoutError as error:
        return [str(error)]
    found = []
    if health.get("model") != table.model:
        found.append(f"/healthz: serves model {health.get('model')}, expected {table.model}")
    try:
        found += differences(url, table)
        found += open_to_the_public(url) if public else ()
    except (httpx.HTTPError, ValueError) as error:  # it was healthy, and is gone
        found.append(f"{type(error).__name__}: {error}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--table", type=Path, help="a file that --write wrote; default: ask models/seefood.onnx")
    parser.add_argument("--write", type=Path, metavar="TABLE", help="write what models/seefood.onnx says, and end")
    parser.add_argument("--wait", type=float, default=120, help="seconds to wait for /healthz (default: %(default)s)")
    parser.add_argument("--public", action="store_true", help="/metrics must not be reachable")
    arguments = parser.parse_args()
    if arguments.write:
        arguments.write.write_text(json.dumps(asdict(Table.of_this_repository())))
        return 0
    if not arguments.url:
        parser.error("an address, or --write")
    table = Table.read(arguments.table) if arguments.table else Table.of_this_repository()
    found = check(arguments.url, table, wait=arguments.wait, public=arguments.public)
    for sentence in found:
        print(sentence, file=sys.stderr)
    if not found:
        print(f"{arguments.url} answers as model {table.model} does, on {len(table.photos)} photos.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
