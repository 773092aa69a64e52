"""The app over HTTP, as docs and README.md promise it; the process is the real app.py under tests/guarded_app.py."""

import json
import re
import subprocess
import sys

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import EXAMPLES, ROOT, call, color_model

from seefood import __version__
from seefood.errors import PhotoError
from seefood.names import display_name
from seefood.photo import read_photo
from seefood.predictor import Prediction, Predictor
from seefood.serving.server import create_app
from seefood.serving.ui import Page
from seefood.settings import settings


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("downloads")
    return Client(server.url, verbose=False, analytics_enabled=False, download_files=folder)


UNREADABLE = ["note.txt", "empty.jpg", "half.jpg", "huge.png"]


@pytest.fixture
def unreadable(request, tmp_path):
    """A file that is no photo or none we take, of the name that says why."""
    path = tmp_path / request.param
    half = EXAMPLES[0].read_bytes()[:10_000]
    if path.name == "huge.png":
        Image.new("1", (10_000, settings().max_pixels // 10_000 + 100)).save(path)
    else:
        path.write_bytes({"note.txt": b"no photo", "empty.jpg": b"", "half.jpg": half}[path.name])
    return path


def sentence(path):
    """What seefood.photo says of a file that it cannot read."""
    with pytest.raises(PhotoError) as refusal:
        read_photo(path)
    return str(refusal.value)


def classify(server, path):
    with path.open("rb") as photo:
        return httpx.post(f"{server.url}/classify", files={"photo": (path.name, photo)}, timeout=60)


def test_healthz_says_which_model_answers(server, predictor):
    response = httpx.get(f"{server.url}/healthz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "model": predictor.digest, "version": __version__}


def test_the_api_is_predict_explain_and_predict_batch(client):
    api = client.view_api(return_format="dict", print_info=False)
    assert set(api["named_endpoints"]) == {"/predict", "/explain", "/predict_batch"}
    assert not api["unnamed_endpoints"]


@pytest.mark.parametrize("path", EXAMPLES[:3], ids=lambda path: path.stem)
def test_predict_and_classify_give_the_five_best_guesses_of_the_predictor(path, server, client, predictor):
    expected = predictor.predict(path).top(5)
    for answer in (client.predict(handle_file(path), api_name="/predict"), classify(server, path).json()):
        assert set(answer) == {"label", "confidences"}
        assert answer["label"] == display_name(expected[0][0])
        assert [guess["label"] for guess in answer["confidences"]] == [display_name(label) for label, _ in expected]
        confidences = [guess["confidence"] for guess in answer["confidences"]]
        assert confidences == pytest.approx([probability for _, probability in expected], rel=1e-4)


def test_explain_paints_the_label_asked_for_and_without_one_the_best(client, predictor):
    path = EXAMPLES[0]
    best, second = (display_name(label) for label, _ in predictor.predict(path).top(2))

    def picture(*label):
        return Image.open(client.predict(handle_file(path), *label, api_name="/explain")).convert("RGB")

    default = picture()
    photo = read_photo(path)
    assert default.width / default.height == pytest.approx(photo.width / photo.height, rel=0.01)
    assert np.array_equal(picture(best), default)
    assert not np.array_equal(picture(second), default)


def test_explain_refuses_a_label_that_the_model_does_not_know(client):
    with pytest.raises(AppError, match=r"'Stone soup' is no label of this model\. Use one of /predict's\."):
        client.predict(handle_file(EXAMPLES[0]), "Stone soup", api_name="/explain")


def test_predict_batch_gives_a_row_for_each_file_and_a_bad_one_spoils_only_its_own(client, predictor, tmp_path):
    bad = tmp_path / "note.txt"
    bad.write_bytes(b"no photo")
    table = client.predict([handle_file(path) for path in (EXAMPLES[0], bad, EXAMPLES[1])], api_name="/predict_batch")
    assert table["headers"] == ["file", "label", "confidence", "second label", "second confidence", "error"]
    first, spoilt, last = table["data"]
    assert spoilt == ["note.txt", None, None, None, None, sentence(bad)]
    for path, row in ((EXAMPLES[0], first), (EXAMPLES[1], last)):
        (label, confidence), (second, its) = predictor.predict(path).top(2)
        assert row[:2] == [path.name, display_name(label)]
        assert row[3] == display_name(second)
        assert [row[2], row[4]] == pytest.approx([confidence, its], rel=1e-4)
        assert row[5] is None


def test_predict_batch_takes_64_files_and_refuses_65_in_a_sentence(client, tmp_path):
    small = tmp_path / "small.png"
    Image.new("RGB", (8, 8)).save(small)
    assert len(client.predict([handle_file(small)] * 64, api_name="/predict_batch")["data"]) == 64
    with pytest.raises(AppError, match=r"65 photos are over the limit of 64\. Send them in several calls\."):
        client.predict([handle_file(small)] * 65, api_name="/predict_batch")


@pytest.mark.parametrize("data", [["predict", None], ["explain", None, None], ["predict_batch", None]])
def test_a_call_without_a_photo_is_an_error_that_says_so(data, server):
    event, answer = call(server, *data)
    assert event == "error"
    assert re.match(r"The photos?: missing\.", answer["error"])


def test_the_generated_page_describes_each_parameter_with_an_example_that_can_be_sent(client):
    api = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for endpoint in api.values():
        assert endpoint["description"]
        for parameter in endpoint["parameters"]:
            assert parameter["python_type"]["description"]
            assert "http" not in json.dumps(parameter["example_input"])


@pytest.mark.parametrize("unreadable", UNREADABLE, indirect=True)
def test_classify_refuses_a_photo_that_cannot_be_read_and_says_why(unreadable, server):
    response = classify(server, unreadable)
    assert response.status_code == 422
    assert response.json() == {"error": sentence(unreadable)}
    assert classify(server, EXAMPLES[0]).status_code == 200


@pytest.mark.parametrize("endpoint", ["/predict", "/explain"])
@pytest.mark.parametrize("unreadable", UNREADABLE, indirect=True)
def test_the_api_refuses_a_photo_that_cannot_be_read_and_says_why(endpoint, unreadable, server, client):
    with pytest.raises(AppError) as refusal:
        client.predict(handle_file(unreadable), api_name=endpoint)
    assert str(refusal.value) == sentence(unreadable)
    assert "Traceback" not in server.output.read_text()
    assert client.predict(handle_file(EXAMPLES[0]), api_name=endpoint)


def test_gradio_refuses_an_upload_over_the_limit_of_bytes(server):
    content = bytes(settings().max_bytes + 1)
    response = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("heavy.jpg", content)}, timeout=60)
    assert response.status_code == 413


def test_classify_without_a_photo_is_the_callers_error(server):
    assert httpx.post(f"{server.url}/classify", data={"photo": "not a file"}).status_code == 422


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}], ids=["bare", "as an upload"])
def test_the_api_opens_no_file_of_the_server_that_was_not_uploaded(meta, server, tmp_path):
    private = tmp_path / "private.jpg"
    private.write_bytes(EXAMPLES[0].read_bytes())
    event, answer = call(server, "predict", {"path": str(private), **meta})
    assert event == "error", answer
    # Nor does it tell whether a file is there.
    event, missing = call(server, "predict", {"path": str(tmp_path / "missing.jpg"), **meta})
    assert event == "error"
    assert missing["error"].replace("missing", "private") == answer["error"]


@pytest.mark.parametrize(
    "photo", ["photo.jpg", {"path": None, "url": "x"}, {"url": "x"}], ids=["a name", "no path", "address"]
)
def test_an_upload_without_a_file_is_refused_in_a_sentence(photo, server):
    event, answer = call(server, "predict", photo)
    assert event == "error"
    assert answer["error"].startswith("The photo: ")


def test_a_model_with_three_labels_gives_three_bars(tmp_path):
    red = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(red)
    with TestClient(create_app(Predictor(color_model(tmp_path / "color.onnx")))) as app:
        answer = app.post("/classify", files={"photo": red.read_bytes()}).json()
        about = next(
            component["props"]["value"]
            for component in app.get("/config").json()["components"]
            if component["props"].get("elem_id") == "about"
        )
    assert answer["label"] == "Red curry"
    assert [guess["label"] for guess in answer["confidences"]] == ["Red curry", "Green salad", "Crème brûlée"]
    assert "3 labels" in about


UNKNOWN = "I don't see a dish I know. This is what I considered."


@pytest.mark.parametrize(
    ("probability", "sentence"),
    [
        ([0.9, 0.05, 0.03, 0.01, 0.01, 0.0], "Looks like **pizza**."),
        ([0.4, 0.3, 0.2, 0.1, 0.0, 0.0], "Perhaps **pizza**."),
        ([0.19, 0.18, 0.17, 0.16, 0.15, 0.15], UNKNOWN),
        ([0.3, 0.1, 0.1, 0.1, 0.0, 0.4], UNKNOWN),
    ],
    ids=["sure", "unsure", "nothing likely", "not food"],
)
def test_the_page_names_a_dish_only_when_it_is_likely(probability, sentence, tmp_path):
    labels = ["pizza", "lasagna", "ramen", "sushi", "tacos", "not_food"]
    page = Page(Predictor(color_model(tmp_path / "color.onnx")), None)  # whose file names no thresholds of its own
    said = page.sentence(Prediction(labels, np.float32(probability), np.zeros((6, 4, 4), np.float32)))
    assert said.startswith(sentence)


def test_of_a_photo_of_no_food_the_page_says_so_and_shows_what_it_considered(tmp_path, environment):
    environment(GRADIO_TEMP_DIR=tmp_path)
    labels = ["not_food", "green_salad", "creme_brulee"]  # what is red is no food
    page = Page(Predictor(color_model(tmp_path / "color.onnx", labels=labels)), None)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "photo.png")
    bars, heat, said = page.answer({"path": str(tmp_path / "photo.png")})
    assert said == UNKNOWN
    assert list(bars) == ["Not food", "Green salad", "Crème brûlée"]
    assert heat["value"] is not None


def test_without_a_model_the_app_ends_with_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEFOOD_MODEL", str(tmp_path / "missing.onnx"))
    app = subprocess.run([sys.executable, "app.py"], cwd=ROOT, capture_output=True, text=True)
    assert app.returncode == 1
    assert app.stderr == f"app.py: {tmp_path}/missing.onnx: no such model file. `make model` pulls the embedded one.\n"


def test_start_page_and_prediction_call_no_other_host(server, client):
    assert httpx.get(server.url).status_code == 200
    client.predict(handle_file(EXAMPLES[0]), api_name="/explain")
    classify(server, EXAMPLES[0])
    assert server.outside_calls.read_text() == ""


def test_a_photo_is_uploaded_not_fetched_from_an_address(server):
    before = server.outside_calls.read_text()
    photo = {"path": "http://192.0.2.1/photo.jpg", "meta": {"_type": "gradio.FileData"}}
    event, _ = call(server, "predict", photo)
    assert event == "error"
    assert server.outside_calls.read_text() == before


def test_the_guard_sees_a_call_and_hides_the_training_packages(tmp_path):
    script, log = tmp_path / "script.py", tmp_path / "log.txt"
    script.write_text(
        "import socket\n"
        "for host in ('192.0.2.1', 'a.example'):\n"
        "    try:\n"
        "        socket.create_connection((host, 80))\n"
        "    except PermissionError:\n"
        "        print('refused')\n"
        "import torch\n"
    )
    command = [sys.executable, ROOT / "tests/guarded_app.py", log, script]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout.split() == ["refused"] * 2
    assert "ModuleNotFoundError: import of torch" in run.stderr
    assert {line.split()[-1] for line in log.read_text().splitlines()} == {"192.0.2.1", "a.example"}
