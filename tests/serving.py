"""What the tests of the serving side share: app.py as a process, and a model that is small enough to understand."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import onnx
from onnx import TensorProto, helper

from seefood.metadata import Metadata

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.jpg"))
COLORS = ["red_curry", "green_salad", "creme_brulee"]  # what color_model says of a red, a green and a blue photo


@dataclass(frozen=True)
class Server:
    """A running app.

    Attributes:
        url: where it answers, without a slash at the end.
        model: the model file that it serves.
        output: file of what it prints.
        outside_calls: file with a line for each attempt to reach another host.
        process: the app itself.
    """

    url: str
    model: Path
    output: Path
    outside_calls: Path
    process: subprocess.Popen[bytes]

    def requests(self):
        """The lines of its log that tell of requests, once all of its lines are JSON."""
        lines = [json.loads(line) for line in self.output.read_text().splitlines()]
        return [line for line in lines if line["event"] == "request"]

    def accepts(self):
        """Whether it takes connections."""
        host, port = self.url.removeprefix("http://").split(":")
        with socket.socket() as caller:
            return caller.connect_ex((host, int(port))) == 0


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def started_app(model, folder, *, port=None, **variables):
    """app.py under tests/guarded_app.py, on a free port unless one is given; its uploads go to `folder`."""
    port = port or free_port()
    output_file, outside_calls = folder / "output.txt", folder / "outside_calls.txt"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_", "HF_"))},
        "SEEFOOD_MODEL": str(model),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        **variables,
    }
    command = [sys.executable, ROOT / "tests/guarded_app.py", outside_calls, ROOT / "app.py"]
    with output_file.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}", Path(model), output_file, outside_calls, process)
    try:
        deadline = time.monotonic() + 120
        while not is_healthy(server.url):
            said = server.output.read_text()
            assert process.poll() is None, f"app.py ended before it answered:\n{said}"
            assert time.monotonic() < deadline, f"app.py did not answer in two minutes:\n{said}"
            time.sleep(0.2)
        yield server
    finally:
        process.kill()
        process.wait()


class SentPhoto(http.client.HTTPConnection):
    """A photo on its way to /classify, of which `rest` is still to be sent; `getresponse()` waits for the answer.

    Where many callers share two cores with the app, httpx takes more of them than the app does.
    """

    rest = b""

    def send_rest(self):
        self.send(self.rest)


def send_photo(url, content, *, name="photo.jpg", pause_after=None, **headers):
    """Send a photo, or its first `pause_after` bytes, over a connection of its own, which is returned."""
    head = f'--photo\r\nContent-Disposition: form-data; name="photo"; filename="{name}"\r\n\r\n'.encode()
    body = head + content + b"\r\n--photo--\r\n"
    end = len(body) if pause_after is None else len(head) + pause_after
    connection = SentPhoto(urllib.parse.urlsplit(url).netloc, timeout=120)
    connection.rest = body[end:]
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    headers["Content-Type"] = "multipart/form-data; boundary=photo"
    headers["Content-Length"] = str(len(body))
    connection.request("POST", "/classify", body[:end], headers)
    return connection


def classify(url, content, **options):
    """Status, headers and value of the answer to a photo."""
    connection = send_photo(url, content, **options)
    response = connection.getresponse()
    answer = response.status, response.headers, json.loads(response.read())
    connection.close()
    return answer


def call(server, endpoint, *data):
    """What the API answers to data that gradio_client would not send: "complete" or "error", and what comes with it."""
    url = f"{server.url}/gradio_api/call/{endpoint}"
    accepted = httpx.post(url, json={"data": data}).json()
    events = httpx.get(f"{url}/{accepted['event_id']}", timeout=60).text
    event, answer = re.search(r"event: (complete|error)\ndata: (.*)", events).groups()
    return event, json.loads(answer)


def is_healthy(url):
    """Whether the app at an address says that it is well."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as response:  # noqa: S310  (our own server)
            return response.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def color_model(path, *, labels=COLORS, metadata=True, size=8, temperature=0.25):
    """Write a model whose evidence for its three labels is how red, green and blue a photo is in each of 4 x 4 places.

    With `metadata=False` it is an ONNX file that is none of ours.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["channels_last"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["channels_last"], ["color"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["color", "unit"], ["brightness"]),
        helper.make_node("AveragePool", ["brightness"], ["evidence"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("ReduceMean", ["evidence", "places"], ["logits"], keepdims=0),
        helper.make_node("Div", ["logits", "temperature"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probability"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "color",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", size, size, 3])],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["n", 3, size // 2, size // 2]),
        ],
        [
            helper.make_tensor("unit", TensorProto.FLOAT, [1], [1 / 255]),
            helper.make_tensor("places", TensorProto.INT64, [2], [2, 3]),
            helper.make_tensor("temperature", TensorProto.FLOAT, [1], [temperature]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if metadata:
        facts = Metadata(
            labels=labels,
            image_size=size,
            crop=1.0,
            temperature=temperature,
            architecture="color",
            training_commit="none",
            created="2000-01-01",
        )
        helper.set_model_props(model, facts.to_properties())
    onnx.save(model, path)
    return path
