"""The app under load, at its limits and at its end; the process is the real app.py under tests/guarded_app.py."""

import asyncio
import http.client
import io
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import hypothesis
import hypothesis.strategies as st
import pytest
from fastapi.testclient import TestClient
from gradio_client import Client, handle_file
from gradio_client.utils import Status
from photo_files import mutated_files
from PIL import Image
from serving import EXAMPLES, classify, color_model, send_photo, started_app

from seefood.predictor import Predictor
from seefood.serving.lifetime import keep, lifetime, sweep
from seefood.serving.limits import Allowance, BusyError, Desk, client_of
from seefood.serving.server import create_app

PHOTO = EXAMPLES[0].read_bytes()


def slow_photo(megapixels=12):
    """A PNG that takes the better part of a second to read, and weighs little."""
    file = io.BytesIO()
    Image.new("RGB", (4000, megapixels * 250), "red").save(file, "PNG", compress_level=1)
    return file.getvalue()


@pytest.fixture(scope="module")
def small_app(tmp_path_factory):
    """An app with room for one photo at a time, four that wait, and as many requests as one likes."""
    folder = tmp_path_factory.mktemp("small")
    limits = {"SEEFOOD_CONCURRENCY": "1", "SEEFOOD_QUEUE_LENGTH": "4", "SEEFOOD_RATE_LIMIT": "0"}
    model = color_model(folder / "color.onnx")
    with started_app(model, folder, SEEFOOD_MAX_BYTES="3000000", FORWARDED_ALLOW_IPS="127.0.0.1", **limits) as app:
        yield app


def health_seconds(url):
    start = time.monotonic()
    assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
    return time.monotonic() - start


def test_with_64_callers_what_is_accepted_is_answered_the_rest_is_refused_and_healthz_answers_within_a_second(
    small_app,
):
    content, stop, seconds = slow_photo(), threading.Event(), []

    def ask_for_health():
        while not stop.wait(0.05):
            seconds.append(health_seconds(small_app.url))

    def call(caller):
        return [classify(small_app.url, content, X_Forwarded_For=f"192.0.2.{caller}") for _ in range(2)]

    with ThreadPoolExecutor(65) as callers:
        health = callers.submit(ask_for_health)
        answers = [answer for pair in callers.map(call, range(64)) for answer in pair]
        stop.set()
        health.result()
    assert len(seconds) >= 3
    assert max(seconds) < 1
    codes = Counter(code for code, _, _ in answers)
    assert set(codes) == {200, 503}
    assert codes[200] >= 5
    for code, headers, answer in answers:
        if code == 200:
            assert answer["label"] == "Red curry"
        else:
            assert answer == {"error": "All places in the queue are taken. Try again in a second."}
            assert int(headers["Retry-After"]) >= 1


def test_one_address_gets_half_of_the_places_and_leaves_the_others_to_others(small_app):
    content = slow_photo()
    greedy = [send_photo(small_app.url, content, X_Forwarded_For="192.0.2.1") for _ in range(8)]
    assert classify(small_app.url, PHOTO, X_Forwarded_For="192.0.2.2")[0] == 200
    codes = Counter(connection.getresponse().status for connection in greedy)
    assert codes == {200: 2, 429: 6}
    assert classify(small_app.url, PHOTO)[0] == 200


def test_a_client_who_only_claims_to_be_a_proxy_has_its_own_address():
    assert client_of({"client": ("192.0.2.1", 5)}) == "192.0.2.1"
    assert client_of({"client": ("2001:db8:1:2:3::4", 5)}) == client_of({"client": ("2001:db8:1:2::9", 5)})
    assert client_of({"client": ("2001:db8:1:2::4", 5)}) != client_of({"client": ("2001:db8:1:3::4", 5)})
    assert client_of({"client": ("::ffff:192.0.2.1", 5)}) == "192.0.2.1"


def test_an_address_may_come_in_bursts_but_no_oftener_than_the_limit():
    allowance = Allowance(per_minute=60, burst=5)
    assert [allowance.wait("a", now=100) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    assert allowance.wait("b", now=100) == 0
    allowed = sum(allowance.wait("a", now=101 + step / 10) == 0 for step in range(600))
    assert allowed == 60
    assert [allowance.wait("a", now=300) for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_an_allowance_forgets_who_has_not_come_for_long():
    allowance = Allowance(per_minute=60, burst=5)
    for caller in range(30_000):
        allowance.wait(f"caller {caller}", now=float(caller))
    assert len(allowance._due) <= 10_001


def test_the_queue_gives_its_places_back():
    async def run():
        desk = Desk(concurrency=1, queue_length=1)
        for _ in range(3):
            with desk.place("a"), desk.place("b"), pytest.raises(BusyError), desk.place("c"):
                pass
        assert not desk._taken

    asyncio.run(run())


@pytest.fixture
def app_of_a_slow_pace(tmp_path, environment):
    """An app within this process, for callers of any address: `with app_of_a_slow_pace("192.0.2.1") as caller`."""
    environment(SEEFOOD_RATE_LIMIT="30", SEEFOOD_QUEUE_LENGTH="8")
    app = create_app(Predictor(color_model(tmp_path / "color.onnx")))
    return lambda address: TestClient(app, client=(address, 50_000))


def test_a_caller_over_the_rate_is_told_when_to_come_again_and_may_still_see_the_page(app_of_a_slow_pace):
    caller, other = app_of_a_slow_pace("192.0.2.1"), app_of_a_slow_pace("192.0.2.2")
    responses = [caller.post("/classify", files={"photo": PHOTO}) for _ in range(6)]
    assert [response.status_code for response in responses] == [200] * 4 + [429] * 2
    assert responses[-1].headers["Retry-After"] == "2"
    assert responses[-1].json() == {"error": "Over the limit of 30 requests a minute. Try again in 2 s."}
    assert caller.post("/gradio_api/call/predict", json={"data": [None]}).status_code == 429
    assert caller.post("/gradio_api/upload", files={"files": PHOTO}).status_code == 200
    assert caller.get("/").status_code == 200
    assert other.post("/classify", files={"photo": PHOTO}).status_code == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["of declared size", "in chunks"])
def test_a_body_over_the_limit_is_refused_before_it_is_kept(chunked, small_app):
    boundary = "limit"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename="heavy.jpg"\r\n\r\n'.encode()
    pieces = [head, *[bytes(100_000)] * 40, f"\r\n--{boundary}--\r\n".encode()]
    response = httpx.post(
        f"{small_app.url}/classify",
        content=iter(pieces) if chunked else b"".join(pieces),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        timeout=60,
    )
    assert response.status_code == 413
    assert "is over the limit of 3.1 MB" in response.json()["error"]
    assert "Traceback" not in small_app.output.read_text()
    assert classify(small_app.url, PHOTO)[0] == 200


def test_a_photo_over_the_limit_of_bytes_is_refused_by_its_name(small_app):
    code, _, answer = classify(small_app.url, bytes(3_010_000))
    assert code == 413
    assert answer["error"].startswith("photo.jpg: 3.0 MB is over the limit of 3.0 MB (SEEFOOD_MAX_BYTES).")


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        ({"content": PHOTO, "headers": {"Content-Type": "image/jpeg"}}, 422),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": b"nonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400),
        ({"data": {"photo": "a name"}}, 422),
        ({"files": [("photo", ("a.jpg", PHOTO)), ("photo", ("b.jpg", PHOTO))]}, 400),
    ],
    ids=["the photo alone", "no boundary", "nonsense", "a name", "two photos"],
)
def test_a_request_without_one_photo_is_refused_in_a_sentence(request_of, code, small_app):
    response = httpx.post(f"{small_app.url}/classify", **request_of)
    assert response.status_code == code, response.text
    assert "curl -F photo=@pizza.jpg" in response.json()["error"]


def test_a_caller_who_hangs_up_halfway_leaves_nothing_behind(small_app):
    host, port = small_app.url.removeprefix("http://").split(":")
    for _ in range(12):  # more than there are places
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n")
            caller.sendall(b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
    time.sleep(0.5)
    assert classify(small_app.url, PHOTO)[0] == 200
    assert "Traceback" not in small_app.output.read_text()


def test_sigterm_ends_the_app_with_0_as_soon_as_what_is_in_flight_is_answered(model_file, tmp_path):
    with started_app(model_file, tmp_path) as app:
        page = Client(app.url, verbose=False, analytics_enabled=False)  # like a page, it holds a connection open
        callers = [send_photo(app.url, PHOTO, pause_after=len(PHOTO) // 2) for _ in range(3)]
        job = page.submit(handle_file(EXAMPLES[0]), api_name="/predict")
        while job.status().code in (Status.STARTING, Status.JOINING_QUEUE, Status.SENDING_DATA):
            time.sleep(0.01)
        httpx.get(f"{app.url}/healthz", timeout=60)  # now the others have arrived, too
        app.process.send_signal(signal.SIGTERM)
        while app.accepts():
            time.sleep(0.01)
        for caller in callers:
            caller.send_rest()
        assert [caller.getresponse().status for caller in callers] == [200] * 3
        assert job.result(timeout=60)["label"]
        assert app.process.wait(timeout=60) == 0
        assert "timeout graceful shutdown exceeded" not in app.output.read_text()  # the ten seconds were not needed
        assert "Traceback" not in app.output.read_text()


def test_a_connection_stays_open_between_two_requests(small_app):
    connection = http.client.HTTPConnection(small_app.url.removeprefix("http://"))
    for pause in (0, 6):  # uvicorn's own limit is five seconds
        time.sleep(pause)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        connection.auto_open = False


@pytest.mark.slow
def test_of_many_callers_who_come_as_the_app_ends_hardly_one_is_let_in_and_not_answered(tmp_path):
    answered, cut_off, stop = [], [], threading.Event()

    def call(url):
        while not stop.is_set():
            try:
                answered.append(classify(url, PHOTO)[0])
            except ConnectionRefusedError:
                return
            except (ConnectionError, http.client.HTTPException) as error:
                cut_off.append(error)

    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        limits = {"SEEFOOD_RATE_LIMIT": "0", "SEEFOOD_QUEUE_LENGTH": "100"}
        with (
            started_app(color_model(folder / "color.onnx"), folder, **limits) as app,
            ThreadPoolExecutor(12) as callers,
        ):
            calls = [callers.submit(call, app.url) for _ in range(12)]
            time.sleep(1)
            app.process.send_signal(signal.SIGTERM)
            assert app.process.wait(timeout=60) == 0
            stop.set()
            [call.result() for call in calls]
            stop.clear()
    assert set(answered) == {200}
    assert len(answered) > 100
    assert len(cut_off) <= 3, cut_off  # who arrives in the instant in which the kernel shuts the door


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_whatever_the_bytes_the_running_app_answers_with_a_label_or_a_sentence_of_ours(small_app):
    codes = Counter()

    @hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
    @hypothesis.given(st.one_of(st.binary(max_size=100), mutated_files(), mutated_files()))
    def holds(content):
        code, _, answer = classify(small_app.url, content)
        codes[code] += 1
        if code == 200:
            assert answer["label"] in ("Red curry", "Green salad", "Crème brûlée")
        else:
            assert code == 422
            assert set(answer) == {"error"}
            assert answer["error"].startswith("photo.jpg: ")
            assert "/" not in answer["error"]

    holds()
    assert codes.total() >= 100
    assert min(codes[200], codes[422]) >= 10, codes
    assert classify(small_app.url, PHOTO)[0] == 200
    assert "Traceback" not in small_app.output.read_text()


def test_a_refused_upload_is_deleted_at_once_and_another_stays(tmp_path, environment):
    environment(GRADIO_TEMP_DIR=tmp_path / "uploads")
    with TestClient(create_app(Predictor(color_model(tmp_path / "color.onnx")))) as app:
        for content, stays in ((b"no photo", False), (PHOTO, True)):
            (path,) = app.post("/gradio_api/upload", files={"files": ("photo.jpg", content)}).json()
            assert Path(path).read_bytes() == content
            photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
            event = app.post("/gradio_api/call/predict", json={"data": [photo]}).json()["event_id"]
            answer = app.get(f"/gradio_api/call/predict/{event}").text
            assert ("event: complete" in answer) == stays
            assert Path(path).exists() == stays


def test_a_picture_is_whole_while_an_equal_one_is_saved(tmp_path, environment):
    environment(GRADIO_TEMP_DIR=tmp_path)
    picture = Image.effect_noise((600, 600), 50).convert("RGB")
    path = Path(keep(picture))
    sizes = set()
    with ThreadPoolExecutor(1) as other:
        saving = other.submit(lambda: [keep(picture) for _ in range(100)])
        while not saving.done():
            sizes.add(len(path.read_bytes()))
    assert len(sizes) == 1
    assert [file.name for file in path.parent.iterdir()] == ["heat.jpg"]


def test_an_upload_is_deleted_soon_after_its_time_is_up(environment):
    environment(SEEFOOD_UPLOAD_HOURS=2)
    every, age = lifetime()
    assert age == 2 * 3600
    assert age + every <= 2.2 * 3600  # the longest that a file can stay


def test_what_was_never_finished_or_left_behind_is_swept_away_and_nothing_else(tmp_path):
    folder = tmp_path / "uploads"
    old = [folder / ("a" * 64) / "photo.jpg", folder / "tmp12345678", folder / ("b" * 64) / "example.jpg"]
    others = folder / "notes.txt"
    for path in [*old, others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    sweep(folder, 3600)
    assert all(path.exists() for path in [*old, others])
    sweep(folder, -3600, [str(old[2])])  # as it were, in an hour
    assert [path.exists() for path in [*old, others]] == [False, False, True, True]
    assert not old[0].parent.exists()
