"""What the running app tells of each request, in its log and at /metrics, and what it keeps to itself."""

import json
import logging
import sys
import time

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import EXAMPLES, call, classify, color_model, send_photo, started_app

from seefood.errors import SettingsError
from seefood.photo import read_photo
from seefood.predictor import Predictor
from seefood.serving import telemetry
from seefood.serving.logs import configure_logs
from seefood.serving.metrics import EmbeddedMetrics
from seefood.serving.server import create_app
from seefood.statistics import image_statistics

PHOTO = EXAMPLES[2]
NAME = "grandmas-birthday.jpg"
OF_THE_FILE = ("bytes", "pixels", "format")
OF_THE_ANSWER = ("brightness", "contrast", "sharpness", "top", "confidence", "not_food", "low_confidence")


@pytest.fixture(scope="module")
def app(model_file, tmp_path_factory):
    with started_app(model_file, tmp_path_factory.mktemp("app"), SEEFOOD_COMMIT="c0ffee") as app:
        yield app


@pytest.fixture(scope="module")
def client(app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("downloads")
    return Client(app.url, verbose=False, analytics_enabled=False, download_files=folder)


@pytest.fixture(scope="module")
def strict_app(tmp_path_factory):
    """An app that has ten places, and takes small photos, four at once and then one a minute."""
    folder = tmp_path_factory.mktemp("strict")
    limits = {"SEEFOOD_QUEUE_LENGTH": "8", "SEEFOOD_RATE_LIMIT": "1", "SEEFOOD_MAX_BYTES": "100000"}
    with started_app(color_model(folder / "color.onnx"), folder, FORWARDED_ALLOW_IPS="127.0.0.1", **limits) as app:
        yield app


@pytest.fixture
def named_photo(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(PHOTO.read_bytes())
    return path


@pytest.fixture
def note(tmp_path):
    path = tmp_path / "note.txt"
    path.write_bytes(b"no photo")
    return path


def upload(app, path):
    """A photo as Gradio describes one that was uploaded."""
    (stored,) = httpx.post(f"{app.url}/gradio_api/upload", files={"files": (path.name, path.read_bytes())}).json()
    return {"path": stored, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def told(app, ask, count=1):
    """The lines about what `ask` asks, of which there are `count`, and no more within half a second."""
    before = len(app.requests())
    ask()
    deadline = time.monotonic() + 10
    while len(app.requests()) < before + count and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    lines = app.requests()[before:]
    assert len(lines) == count
    return lines


ASKS = {
    "/classify": lambda app, client, path: classify(app.url, path.read_bytes(), name=path.name),
    "/predict": lambda app, client, path: client.predict(handle_file(path), api_name="/predict"),
    "/explain": lambda app, client, path: client.predict(handle_file(path), api_name="/explain"),
    "/predict_batch": lambda app, client, path: client.predict([handle_file(path)], api_name="/predict_batch"),
    "page": lambda app, client, path: call(app, "answer", upload(app, path)),
}


@pytest.mark.parametrize("endpoint", ASKS)
def test_each_photo_gives_one_line_with_what_was_promised(endpoint, app, client, predictor, named_photo):
    (line,) = told(app, lambda: ASKS[endpoint](app, client, named_photo))
    assert tuple(line) == telemetry.FIELDS
    assert line["endpoint"] == endpoint
    assert line["error"] is None
    assert (line["model"], line["commit"]) == (predictor.digest, "c0ffee")
    assert time.time() - 60 < np.datetime64(line["time"].rstrip("Z"), "ms").astype(int) / 1000 < time.time()
    width, height = Image.open(PHOTO).size
    assert [line[name] for name in OF_THE_FILE] == [PHOTO.stat().st_size, width * height, "JPEG"]
    parts = [line[f"{part}_seconds"] for part in ("decode", "inference", "rest")]
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(line["seconds"], abs=1e-5)
    best = predictor.predict(PHOTO).top(5)
    assert [guess["label"] for guess in line["top"]] == [label for label, _ in best]
    assert [guess["probability"] for guess in line["top"]] == pytest.approx([share for _, share in best], abs=1e-5)
    assert line["confidence"] == pytest.approx(best[0][1], abs=1e-5)
    assert (line["not_food"], line["low_confidence"]) == (False, False)
    for name, value in image_statistics(predictor.input_of(PHOTO)).items():
        assert line[name] == pytest.approx(value, abs=1e-4)


def test_a_batch_gives_a_line_for_each_photo_under_one_id_and_a_bad_one_has_its_error(app, client, named_photo, note):
    files = [handle_file(path) for path in (named_photo, note, EXAMPLES[0])]
    lines = told(app, lambda: client.predict(files, api_name="/predict_batch"), count=3)
    assert [line["error"] for line in lines] == [None, "PhotoError", None]
    assert len({line["request_id"] for line in lines}) == 1
    assert [line.get("bytes") for line in lines] == [PHOTO.stat().st_size, None, EXAMPLES[0].stat().st_size]


def test_a_photo_of_no_food_and_one_without_a_likely_label_are_told_as_such(tmp_path, environment, caplog):
    labels = ["not_food", "green_salad", "creme_brulee"]  # what is red is no food
    model = color_model(tmp_path / "color.onnx", labels=labels, temperature=100)  # and nothing is likely
    environment(SEEFOOD_RATE_LIMIT=0)
    red = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(red)
    predictor = Predictor(model)
    predictor.metadata.thresholds["unsure"] = 0.34
    with TestClient(create_app(predictor)) as app, caplog.at_level(logging.INFO, telemetry.REQUESTS):
        app.post("/classify", files={"photo": red.read_bytes()})
    (line,) = [record.msg for record in caplog.records if record.name == telemetry.REQUESTS]
    assert line["format"] == "PNG"
    assert line["not_food"]
    assert line["low_confidence"]


def test_the_callers_id_is_kept_if_it_is_one_and_replaced_if_not(app):
    for given, kept in {"a-Caller-5": True, "x" * 64: True, "x" * 65: False, "a b": False, '"}': False}.items():
        (line,) = told(app, lambda given=given: classify(app.url, PHOTO.read_bytes(), X_Request_ID=given))
        assert (line["request_id"] == given) == kept
        assert 1 <= len(line["request_id"]) <= 64
    headers = {"X-Request-ID": "from-gradio"}
    body = {"data": [upload(app, PHOTO)]}
    (line,) = told(app, lambda: httpx.post(f"{app.url}/gradio_api/call/predict", json=body, headers=headers))
    assert line["request_id"] == "from-gradio"


def refused(client, *arguments, **options):
    with pytest.raises(AppError):
        client.predict(*arguments, **options)


ERRORS = {
    "classify-no-photo": ("/classify", "PhotoError", lambda app, client, note: classify(app.url, b"no photo")),
    "predict-no-photo": (
        "/predict",
        "PhotoError",
        lambda app, client, note: refused(client, handle_file(note), api_name="/predict"),
    ),
    "page-no-photo": ("page", "PhotoError", lambda app, client, note: call(app, "answer", upload(app, note))),
    "classify-nothing": (
        "/classify",
        "CallError",
        lambda app, client, note: httpx.post(f"{app.url}/classify", data={"photo": "a name"}),
    ),
    "predict-nothing": ("/predict", "CallError", lambda app, client, note: call(app, "predict", None)),
    "predict-no-upload": (
        "/predict",
        "CallError",
        lambda app, client, note: call(app, "predict", {"path": "/etc/hostname"}),
    ),
    "batch-too-many": (
        "/predict_batch",
        "CallError",
        lambda app, client, note: call(app, "predict_batch", [upload(app, PHOTO)] * 65),
    ),
    "upload-too-large": (
        "page",
        "SizeError",
        lambda app, client, note: httpx.post(
            f"{app.url}/gradio_api/upload", files={"files": ("heavy.jpg", bytes(20_000_001))}, timeout=60
        ),
    ),
    "ours": ("/explain", "TypeError", lambda app, client, note: call(app, "explain", upload(app, PHOTO), ["a"])),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_told_by_its_class(kind, app, client, note):
    endpoint, error, ask = ERRORS[kind]
    (line,) = told(app, lambda: ask(app, client, note))
    assert (line["endpoint"], line["error"]) == (endpoint, error)
    known = {name for name in telemetry.FIELDS if name not in (*OF_THE_FILE, *OF_THE_ANSWER)}
    assert set(line) - known == (set(OF_THE_FILE) | set(OF_THE_ANSWER) if kind == "ours" else set())


def test_an_explanation_of_a_label_that_is_none_is_an_error_of_a_photo_that_was_answered(app, client):
    (line,) = told(app, lambda: refused(client, handle_file(PHOTO), "Stone soup", api_name="/explain"))
    assert line["error"] == "CallError"
    assert tuple(line) == telemetry.FIELDS


def test_whoever_comes_too_often_is_told_as_such(strict_app):
    def ask(path, **request):
        return httpx.post(f"{strict_app.url}{path}", **request)

    photo = {"files": {"photo": b"x"}, "headers": {"X-Forwarded-For": "192.0.2.1"}}
    lines = told(strict_app, lambda: [ask("/classify", **photo) for _ in range(5)], count=5)
    assert [line["error"] for line in lines] == ["PhotoError"] * 4 + ["RateError"]
    (line,) = told(strict_app, lambda: ask("/gradio_api/call/predict", **photo))
    assert (line["endpoint"], line["error"]) == ("/predict", "RateError")
    assert "192.0.2.1" not in strict_app.output.read_text()


def test_a_photo_over_the_limit_of_bytes_and_a_request_over_it_are_told(strict_app):
    for count, error in {100_001: "PhotoError", 200_000: "SizeError"}.items():
        (line,) = told(
            strict_app, lambda count=count: classify(strict_app.url, bytes(count), X_Forwarded_For="192.0.2.2")
        )
        assert line["error"] == error


def test_who_finds_no_place_to_wait_is_told_and_so_is_who_hangs_up(strict_app):
    waiting = [
        send_photo(strict_app.url, b"x" * 100, pause_after=10, X_Forwarded_For=f"192.0.2.{10 + number}")
        for number in range(10)
    ]
    httpx.get(f"{strict_app.url}/healthz", timeout=60)  # now they have arrived
    (line,) = told(strict_app, lambda: classify(strict_app.url, b"x", X_Forwarded_For="192.0.2.3"))
    assert (line["endpoint"], line["error"]) == ("/classify", "BusyError")
    lines = told(strict_app, lambda: [connection.close() for connection in waiting], count=10)
    assert {line["error"] for line in lines} == {"ClientDisconnect"}


def test_neither_the_photo_nor_its_name_nor_an_address_is_in_the_log(app, client, named_photo):
    for ask in ASKS.values():
        ask(app, client, named_photo)
    time.sleep(0.5)
    assert NAME.partition(".")[0] not in app.output.read_text()
    for line in app.requests():
        assert "127.0.0.1" not in json.dumps(line)
        assert set(line) <= set(telemetry.FIELDS)


def test_every_line_that_the_app_prints_is_json_also_those_of_libraries_and_of_tracebacks(app):
    call(app, "explain", upload(app, PHOTO), ["a"])
    lines = [json.loads(line) for line in app.output.read_text().splitlines()]
    assert {"uvicorn.error", "seefood.serving.uploads"} <= {line.get("logger") for line in lines}
    assert any("TypeError" in line.get("exception", "") for line in lines)


def test_telling_cannot_make_a_request_fail(tmp_path, environment, monkeypatch, caplog):
    environment(SEEFOOD_RATE_LIMIT=0)
    monkeypatch.setattr(telemetry, "count", lambda line: 1 / 0)
    with TestClient(create_app(Predictor(color_model(tmp_path / "color.onnx")))) as app:
        assert app.post("/classify", files={"photo": PHOTO.read_bytes()}).status_code == 200
    assert "a request was not told" in caplog.text


@pytest.fixture
def logs(environment, capsys):
    """Configure the logs for one test: `logs("text")`, and then what was printed: `logs()`."""
    root, requests = logging.getLogger(), logging.getLogger(telemetry.REQUESTS)
    before = root.handlers[:], root.level

    def configure(log=None):
        if log:
            environment(SEEFOOD_LOG=log)
            configure_logs()
        return capsys.readouterr().out

    yield configure
    root.handlers[:], root.level = before
    requests.disabled = False
    logging.captureWarnings(False)


@pytest.mark.parametrize("log", ["text", "none"])
def test_people_read_a_short_line_or_none(log, logs, predictor):
    logs(log)
    told = telemetry.Telemetry(predictor)
    with told.observed("/classify", "id"):
        photo = telemetry.read_observed(PHOTO, name="", at_least=predictor.short_side)
        telemetry.predict_observed(predictor, photo)
    with pytest.raises(ZeroDivisionError), told.observed("/predict", "id"):
        1 / 0  # noqa: B018
    logging.getLogger("seefood").warning("the disk is full")
    *lines, warning = logs().splitlines()
    assert warning.endswith("the disk is full [seefood]") or "the disk is full" in warning
    if log == "none":
        assert not lines
    else:
        answer, error = lines
        assert "/classify: donuts 97%, cup_cakes 2%, " in answer
        assert "/predict: ZeroDivisionError, " in error


def test_metrics_for_cloudwatch_without_their_library_are_refused_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "aws_embedded_metrics.logger.metrics_context", None)
    with pytest.raises(SettingsError, match=r"SEEFOOD_METRICS_NAMESPACE=Food: needs .* pip install '\.\[aws\]'"):
        EmbeddedMetrics("Food", "food")


def test_a_photo_turned_by_its_exif_and_scaled_while_it_is_decoded_is_told_as_it_came(app, tmp_path):
    path = tmp_path / "turned.jpg"
    photo = read_photo(PHOTO).resize((3000, 2000))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(path, exif=exif)
    (line,) = told(app, lambda: classify(app.url, path.read_bytes()))
    assert [line[name] for name in OF_THE_FILE] == [path.stat().st_size, 6_000_000, "JPEG"]
