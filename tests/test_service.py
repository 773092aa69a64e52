"""The app under load, at its limits and at its end; the process is the real app.py under tests/guarded_app.py."""

import asyncio
import io
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from serving import EXAMPLES, color_model, started_app

from seefood.serving.limits import Allowance, BusyError, Desk, client_of

PHOTO = EXAMPLES[0].read_bytes()


def slow_photo(megapixels=12):
    """A PNG that takes the better part of a second to read, and weighs little."""
    file = io.BytesIO()
    Image.new("RGB", (4000, megapixels * 250), "red").save(file, "PNG", compress_level=1)
    return file.getvalue()


def classify(url, content, **options):
    return httpx.post(f"{url}/classify", files={"photo": ("photo.jpg", content)}, timeout=60, **options)


@pytest.fixture(scope="module")
def small_app(tmp_path_factory):
    """An app with room for one photo at a time, four that wait, and as many requests as one likes."""
    folder = tmp_path_factory.mktemp("small")
    limits = {"SEEFOOD_CONCURRENCY": "1", "SEEFOOD_QUEUE_LENGTH": "4", "SEEFOOD_RATE_LIMIT": "0"}
    model = color_model(folder / "color.onnx")
    with started_app(model, folder, SEEFOOD_MAX_BYTES="3000000", FORWARDED_ALLOW_IPS="127.0.0.1", **limits) as app:
        yield app


def test_with_64_callers_what_is_accepted_is_answered_the_rest_is_refused_and_healthz_answers_within_a_second(
    small_app,
):
    content, stop, seconds = slow_photo(), threading.Event(), []

    def ask_for_health():
        while not stop.is_set():
            start = time.monotonic()
            assert httpx.get(f"{small_app.url}/healthz", timeout=30).status_code == 200
            seconds.append(time.monotonic() - start)
            time.sleep(0.05)

    def call(caller):
        headers = {"X-Forwarded-For": f"192.0.2.{caller}"}
        return [classify(small_app.url, content, headers=headers) for _ in range(2)]

    health = ThreadPoolExecutor(1).submit(ask_for_health)
    with ThreadPoolExecutor(64) as callers:
        responses = [response for pair in callers.map(call, range(64)) for response in pair]
    stop.set()
    health.result()
    assert len(seconds) >= 5
    assert max(seconds) < 1
    codes = [response.status_code for response in responses]
    assert set(codes) == {200, 503}, codes
    assert codes.count(200) >= 5
    for response in responses:
        if response.status_code == 200:
            assert response.json()["label"] == "Red curry"
        else:
            assert response.json() == {"error": "All places in the queue are taken. Try again in a second."}
            assert int(response.headers["Retry-After"]) >= 1


def test_one_address_gets_half_of_the_places_and_leaves_the_others_to_others(small_app):
    content = slow_photo()

    def call(address):
        return classify(small_app.url, content, headers={"X-Forwarded-For": address}).status_code

    with ThreadPoolExecutor(13) as callers:
        greedy = [callers.submit(call, "192.0.2.1") for _ in range(12)]
        time.sleep(0.2)
        assert callers.submit(call, "192.0.2.2").result() == 200
        codes = [each.result() for each in greedy]
    assert set(codes) == {200, 429}
    assert classify(small_app.url, PHOTO).status_code == 200


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


def test_a_caller_over_the_rate_is_told_when_to_come_again_and_the_page_stays_open_to_him(tmp_path):
    model = color_model(tmp_path / "color.onnx")
    limits = {"SEEFOOD_RATE_LIMIT": "30", "SEEFOOD_QUEUE_LENGTH": "8"}
    with started_app(model, tmp_path, **limits) as app:
        responses = [classify(app.url, PHOTO) for _ in range(8)]
        codes = [response.status_code for response in responses]
        assert codes[:4] == [200] * 4
        assert codes[-1] == 429
        assert 1 <= int(responses[-1].headers["Retry-After"]) <= 3
        sentence = responses[-1].json()["error"]
        assert sentence.startswith("Over the limit of 30 requests a minute. Try again in ")
        call = httpx.post(f"{app.url}/gradio_api/call/predict", json={"data": [None]})
        assert call.status_code == 429
        assert httpx.get(app.url).status_code == 200
        # A header that an untrusted peer could send changes nothing.
    with started_app(model, tmp_path, FORWARDED_ALLOW_IPS="192.0.2.9", **limits) as app:
        codes = [classify(app.url, PHOTO, headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code for n in range(8)]
        assert 429 in codes


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
    assert classify(small_app.url, PHOTO).status_code == 200


def test_a_photo_over_the_limit_of_bytes_is_refused_by_its_name(small_app):
    response = classify(small_app.url, bytes(3_010_000))
    assert response.status_code == 413
    assert response.json()["error"].startswith("photo.jpg: 3.0 MB is over the limit of 3.0 MB (SEEFOOD_MAX_BYTES).")


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
    assert classify(small_app.url, PHOTO).status_code == 200
    assert "Traceback" not in small_app.output.read_text()


def test_sigterm_ends_the_app_with_0_when_what_is_in_flight_is_answered(model_file, tmp_path):
    with started_app(model_file, tmp_path, SEEFOOD_CONCURRENCY="1") as app, ThreadPoolExecutor(4) as callers:
        page = Client(app.url, verbose=False, analytics_enabled=False)  # like a page, it holds a connection open
        content = slow_photo(48)
        in_flight = [callers.submit(classify, app.url, content) for _ in range(3)]
        path = tmp_path / "slow.png"
        path.write_bytes(content)
        job = page.submit(handle_file(path), api_name="/predict")
        time.sleep(1)
        start = time.monotonic()
        app.process.send_signal(signal.SIGTERM)
        assert [each.result().status_code for each in in_flight] == [200] * 3
        assert job.result(timeout=20)["label"]
        assert app.process.wait(timeout=20) == 0
        assert time.monotonic() - start < 10
        with pytest.raises(httpx.ConnectError):
            httpx.get(app.url)
        assert "Traceback" not in app.output.read_text()
