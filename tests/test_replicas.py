"""Two copies of the app behind nginx, as deploy/nginx-two.conf has it: under load, one restarts after the other."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager

import pytest
from gradio_client import Client, handle_file
from nginx import NGINX, started_nginx
from serving import EXAMPLES, ROOT, classify, free_port, started_app

VISITORS = 4  # of tests/locustfile.py
SITE = (ROOT / "deploy/nginx-two.conf").read_text()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed (.ci/run does it)"),
]


class Replica:
    """A copy of the app. Of what it was it keeps the port when it is restarted, and no upload, as a new task would."""

    def __init__(self, model, folders):
        self._model, self._folders, self.port = model, folders, free_port()
        self._running = ExitStack()
        self.start()

    def start(self):
        limits = {"SEEFOOD_RATE_LIMIT": "0", "SEEFOOD_THREADS": "1"}
        app = started_app(self._model, self._folders.mktemp("replica"), port=self.port, **limits)
        self.app = self._running.enter_context(app)

    def restart(self):
        self.app.process.send_signal(signal.SIGTERM)
        assert self.app.process.wait(timeout=60) == 0
        self.start()

    def close(self):
        self._running.close()


@pytest.fixture(scope="module")
def replicas(model_file, tmp_path_factory):
    with ExitStack() as running:
        replicas = [Replica(model_file, tmp_path_factory) for _ in range(2)]
        for replica in replicas:
            running.callback(replica.close)
        yield replicas


@pytest.fixture(scope="module")
def answers(replicas):
    """What one copy says of each example by itself."""
    return {path.name: classify(replicas[0].app.url, path.read_bytes())[2] for path in EXAMPLES}


@contextmanager
def balanced(replicas, folder, site=SITE):
    """The address of nginx before the two."""
    port = free_port()
    for said, replica in zip(("7860", "7861"), replicas, strict=True):
        site = site.replace(f":{said}", f":{replica.port}")
    with started_nginx(folder, port, site.replace("listen 80;", f"listen 127.0.0.1:{port};")):
        yield f"http://127.0.0.1:{port}"


class Load:
    """What callers and visitors have written down, while they are at it."""

    def __init__(self, log, process):
        self._log, self._process = log, process

    def lines(self, name, since=0.0, until=float("inf")):
        whole = self._log.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if line["name"] == name and since <= line["time"] < until]

    def visitors(self, name, *span):
        """How often each visitor has written a line of that name."""
        return Counter(line["visitor"] for line in self.lines(name, *span))

    def wait(self, reached):
        deadline = time.monotonic() + 60
        while not reached():
            assert self._process.poll() is None
            assert time.monotonic() < deadline, self.lines("lost")
            time.sleep(0.1)

    def wait_for_visitors(self):
        """Until each has seen another heat map."""
        since = time.time()
        self.wait(lambda: len(self.visitors("seen", since)) == VISITORS)


@contextmanager
def started_load(url, answers, folder):
    (folder / "answers.json").write_text(json.dumps(answers))
    log = folder / "log.jsonl"
    log.touch()
    options = f"--headless --users 8 --spawn-rate 8 --only-summary --loglevel WARNING --host {url}".split()
    files = ["--locustfile", ROOT / "tests/locustfile.py", "--answers", folder / "answers.json", "--log", log]
    with (folder / "locust.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "locust", *options, *files], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Load(log, process)
    finally:
        process.terminate()
        process.wait()
    assert "Traceback" not in (folder / "locust.txt").read_text()


def test_while_one_after_the_other_restarts_no_call_fails_and_a_visitor_opens_the_page_anew_once_at_most(
    replicas, answers, tmp_path
):
    restarts = []
    with balanced(replicas, tmp_path) as url, started_load(url, answers, tmp_path) as load:
        load.wait_for_visitors()
        for replica in replicas:
            start = time.time()
            replica.restart()
            restarts.append((start, time.time()))
            load.wait_for_visitors()
    assert sum(len(load.lines("/classify", *restart)) for restart in restarts) >= 200
    assert [line for line in load.lines("/classify") if line["error"]] == []
    (first, _), (second, _) = restarts
    assert not load.lines("lost", 0, first)
    for span in ((first, second), (second, float("inf"))):
        assert max(load.visitors("connection", *span).values(), default=0) <= 1, load.lines("lost", *span)


def test_gradio_client_stays_with_one_copy_by_the_cookie_of_its_first_answer(replicas, answers, tmp_path):
    with balanced(replicas, tmp_path) as url:
        for _ in range(2):  # one for each
            client = Client(url, verbose=False, analytics_enabled=False, download_files=tmp_path)
            for photo in EXAMPLES[:3]:
                assert client.predict(handle_file(photo), api_name="/predict") == answers[photo.name]
            assert client.predict(handle_file(photo), api_name="/explain")


def test_without_stickiness_visitors_are_lost_again_and_again_and_classify_is_not(replicas, answers, tmp_path):
    site = SITE.replace("proxy_pass http://$seefood;", "proxy_pass http://seefood_any;")
    assert site != SITE
    with balanced(replicas, tmp_path, site) as url, started_load(url, answers, tmp_path) as load:
        load.wait(lambda: len(load.lines("lost")) >= 30 and len(load.lines("/classify")) >= 20)
    reasons = str(load.lines("lost"))
    assert "'session_not_found': True" in reasons
    assert "The photo: not an upload." in reasons
    assert [line for line in load.lines("/classify") if line["error"]] == []


def test_both_files_for_nginx_pass_on_the_same():
    passed = ("proxy_set_header", "proxy_http_version", "proxy_buffering", "proxy_read_timeout", "client_max_body_size")

    def settings(text):
        return {line.partition(";")[0].strip() for line in text.splitlines() if line.strip().startswith(passed)}

    assert len(settings(SITE)) == 7
    assert settings(SITE) == settings((ROOT / "deploy/nginx.conf").read_text())
