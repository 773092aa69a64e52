"""What the benchmarks share: servers as processes, what they cost, and callers that cost little themselves."""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
APP = [sys.executable, "app.py"]
INTERFACE = [sys.executable, "benchmarks/plain.py", "interface"]
FASTAPI = [sys.executable, "benchmarks/plain.py", "fastapi"]
_TICKS = os.sysconf("SC_CLK_TCK")


def photo_of_50_kb() -> bytes:
    """A JPEG of 512 x 512 pixels, as the issue asks for."""
    photo = ImageOps.fit(Image.open(ROOT / "examples/pancakes.jpg").convert("RGB"), (512, 512))
    files = {}
    for quality in range(60, 100, 3):
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=quality)
        files[abs(len(file.getvalue()) - 50_000)] = file.getvalue()
    return files[min(files)]


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        port: of 127.0.0.1, where it answers.
        pid: of its process.
        started: `time.monotonic()` when its process was started.
    """

    port: int
    pid: int
    started: float

    def cpu_seconds(self) -> float:
        """CPU time of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mb(self) -> float:
        """Memory that is its own."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024

    def open_files(self) -> int:
        """How many file descriptors it holds."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@contextmanager
def serving(command: list[str], **environment: str) -> Iterator[Server]:
    """Start a server, wait until it takes connections, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plain = "plain.py" in command[1]
    variables = {
        "SEEFOOD_MODEL": "models/seefood.onnx",
        "SEEFOOD_MCP": "false",  # as without the extra, which development has and serving has not
        "SEEFOOD_RATE_LIMIT": "0",  # all callers have the address of this machine
        "GRADIO_ANALYTICS_ENABLED": "False",  # of the plain one, too: it would wait for a network, or for none
        "GRADIO_SERVER_PORT": str(port),
    }
    started = time.monotonic()
    process = subprocess.Popen(
        [*command, str(port)] if plain else command,
        cwd=ROOT,
        env=os.environ | variables | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with socket.socket() as caller:
            while caller.connect_ex(("127.0.0.1", port)):
                if process.poll() is not None:
                    raise RuntimeError(f"{command} ended with {process.returncode}")
                time.sleep(0.005)
        yield Server(port, process.pid, started)
    finally:
        process.kill()
        process.wait()


def _answer(connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
    connection.request(method, path, body, {"Content-Type": kind} if kind else {})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {content[:200]!r}")
    return content


def _form(field: str, content: bytes) -> tuple[bytes, str]:
    head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="photo.jpg"\r\n\r\n'.encode()
    return head + content + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def classify(connection: http.client.HTTPConnection, content: bytes) -> str:
    """POST /classify; the best label."""
    return str(json.loads(_answer(connection, "POST", "/classify", *_form("photo", content)))["label"])


def gradio_call(connection: http.client.HTTPConnection, content: bytes) -> str:
    """Upload, call, event stream, as Gradio's REST page has it; the best label."""
    (path,) = json.loads(_answer(connection, "POST", "/gradio_api/upload", *_form("files", content)))
    photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [photo]}).encode()
    event = json.loads(_answer(connection, "POST", "/gradio_api/call/predict", body, "application/json"))["event_id"]
    stream = _answer(connection, "GET", f"/gradio_api/call/predict/{event}").decode()
    if "event: complete" not in stream:
        raise RuntimeError(stream)
    return str(json.loads(stream.rpartition("data: ")[2])[0]["label"])


Call = Callable[[http.client.HTTPConnection, bytes], str]


@dataclass(frozen=True)
class Round:
    """What some calls have cost: seconds of the server's CPU for all, seconds of all, and of each."""

    calls: int
    cpu: float
    wall: float
    latencies: list[float]


def measure(server: Server, call: Call, content: bytes, *, callers: int, calls: int) -> Round:
    """`calls` calls by `callers` at once, each over a connection that it keeps."""

    def one_caller(share: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        latencies = []
        for _ in range(share):
            start = time.perf_counter()
            call(connection, content)
            latencies.append(time.perf_counter() - start)
        connection.close()
        return latencies

    shares = [calls // callers + (caller < calls % callers) for caller in range(callers)]
    cpu, start = server.cpu_seconds(), time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        latencies = [each for some in pool.map(one_caller, shares) for each in some]
    return Round(calls, server.cpu_seconds() - cpu, time.perf_counter() - start, latencies)


def row(name: str, rounds: list[Round]) -> tuple[float, float]:
    """Print a line of a table; returns CPU milliseconds a call and calls a second, medians of the rounds."""
    cpu = float(np.median([1000 * each.cpu / each.calls for each in rounds]))
    rate = float(np.median([each.calls / each.wall for each in rounds]))
    p50, p95 = np.percentile([1000 * each for some in rounds for each in some.latencies], [50, 95])
    print(f"  {name:<34}{cpu:>10.1f}{rate:>10.1f}{p50:>10.0f}{p95:>10.0f}", flush=True)
    return cpu, rate


def heading(title: str) -> None:
    """Print what stands above the lines of `row`."""
    print(f"{title}\n  {'':<34}{'CPU ms':>10}{'calls/s':>10}{'p50 ms':>10}{'p95 ms':>10}")
