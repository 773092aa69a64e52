"""Callers of /classify and visitors of the page, who say when an answer is not the one they expect.

    python -m locust -f tests/locustfile.py --headless -u 8 -r 8 -H http://... --answers answers.json --log log.jsonl

`answers.json` has what /classify says of each photo in examples/, by its name. The log has a line for each request, and
one named "connection" for each time that a visitor opens the page. gevent patches all of a process, which is why these
have one of their own.
"""

import itertools
import json
import random
import time
import uuid
from pathlib import Path

import gevent
from locust import HttpUser, constant, constant_pacing, events, task

PHOTOS = {path.name: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "examples").glob("*.jpg"))}
SECONDS = 20  # for one answer
NUMBERS = itertools.count()  # of the visitors


@events.init_command_line_parser.add_listener
def add_options(parser):
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--log", type=Path)


@events.init.add_listener
def open_log(environment, **_):
    options = environment.parsed_options
    environment.answers = json.loads(options.answers.read_text())
    log = options.log.open("a", buffering=1)

    @events.request.add_listener
    def note(name, exception, context, **_):
        line = {"time": time.time(), "name": name, "error": exception and str(exception), **context}
        log.write(json.dumps(line) + "\n")


class Caller(HttpUser):
    """A program: one request for each photo, and no cookies."""

    fixed_count = 4
    wait_time = constant_pacing(0.15)

    @task
    def classify(self):
        name = random.choice(list(PHOTOS))
        self.client.cookies.clear()
        files = {"photo": (name, PHOTOS[name])}
        with self.client.post("/classify", files=files, timeout=SECONDS, catch_response=True) as response:
            if response.ok and response.json() != self.environment.answers[name]:
                response.failure(f"another answer: {response.text}")


class LostError(Exception):
    """The app does not know the visitor, or his photo."""


class Visitor(HttpUser):
    """The page in a browser: asks several times about a photo, and is opened anew when the app has lost it."""

    fixed_count = 4
    wait_time = constant(0.1)

    def on_start(self):
        self.number = next(NUMBERS)
        self.connect()

    def connect(self):
        self.note("connection")
        self.session = uuid.uuid4().hex
        config = self.request("get", "/config").json()
        self.events = {event["api_name"]: event["id"] for event in config["dependencies"]}

    @task
    def look_at_a_photo(self):
        name = random.choice(list(PHOTOS))
        try:
            (path,) = self.request("post", "/gradio_api/upload", files={"files": (name, PHOTOS[name])}).json()
            photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
            for _ in range(4):
                answer = self.ask("predict", photo)
                if answer != self.environment.answers[name]:
                    raise LostError(f"another answer: {answer}")
                heat_map = self.ask("explain", photo, None)
                self.request("get", f"/gradio_api/file={heat_map['path']}", name="heat map")
                self.note("seen")
                self.wait()
        except (LostError, OSError) as error:
            self.note("lost", error)
            self.connect()

    def ask(self, event, *data):
        """What an event answers, by the queue, as the page asks."""
        call = {"data": data, "fn_index": self.events[event], "session_hash": self.session}
        self.request("post", "/gradio_api/queue/join", json=call)
        params, name = {"session_hash": self.session}, "/gradio_api/queue/data"
        answer = None
        # A copy that knows the session and not the event would have us wait for ever.
        with gevent.Timeout(SECONDS, LostError("no answer")):
            for line in self.request("get", name, params=params, name=name, stream=True).iter_lines():
                message = json.loads(line.removeprefix(b"data:") or "{}")
                if message.get("msg") == "unexpected_error":
                    raise LostError(message)
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise LostError(message["output"]["error"])
                    (answer,) = message["output"]["data"]
        if answer is None:
            raise LostError("the stream ended without an answer")
        return answer

    def request(self, method, path, **options):
        """A response of 200; otherwise OSError, as requests has it."""
        response = self.client.request(method, path, timeout=SECONDS, context={"visitor": self.number}, **options)
        response.raise_for_status()
        return response

    def note(self, name, error=None):
        facts = {"request_type": "page", "response_time": 0, "response_length": 0, "context": {"visitor": self.number}}
        self.environment.events.request.fire(name=name, exception=error, **facts)
