"""The smoke test tells the right model from another, and says what is wrong; on the real app."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from serving import EXAMPLES, ROOT, color_model, free_port, started_app

from deploy.smoke import Table, check, compare, open_to_the_public
from seefood.names import display_name

ROW = [("Pizza", 0.6), ("Ramen", 0.2), ("Sushi", 0.199), ("Tacos", 0.001), ("Waffles", 0.0)]


def answer(row):
    return {"label": row[0][0], "confidences": [{"label": name, "confidence": value} for name, value in row]}


@pytest.fixture(scope="module")
def table(model_file):
    return Table.of_this_repository(model_file)


def test_the_table_is_what_the_predictor_says_of_every_example_and_survives_a_file(table, predictor, tmp_path):
    assert list(table.photos) == [path.name for path in EXAMPLES]
    label, probability = predictor.predict(EXAMPLES[0]).top(1)[0]
    assert table.photos[EXAMPLES[0].name][0] == (display_name(label), probability)
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"model": table.model, "photos": table.photos}))
    assert Table.read(path) == table


def test_an_app_with_the_model_passes(server, table):
    assert check(server.url + "/", table, wait=10) == []


def test_each_answer_that_differs_is_named(server, table):
    donuts = [("Waffles", 0.9), *table.photos["donuts.jpg"][1:]]
    other = replace(table, photos={"donuts.jpg": donuts})
    found = "\n".join(check(server.url, other, wait=10))
    assert "/predict of donuts.jpg: 'Donuts' is best, expected 'Waffles'" in found
    assert "/classify of donuts.jpg: 'Donuts' is best, expected 'Waffles'" in found


def test_an_app_with_another_model_fails_and_both_models_are_named(table, tmp_path):
    with started_app(color_model(tmp_path / "color.onnx"), tmp_path) as other:
        one_photo = replace(table, photos={"donuts.jpg": table.photos["donuts.jpg"]})
        found = check(other.url, one_photo, wait=10)
    assert found[0].startswith("/healthz: serves model ")
    assert found[0].endswith(f"expected {table.model}")
    assert any("is best, expected 'Donuts'" in sentence for sentence in found)


def test_where_nothing_answers_the_command_fails_and_says_where_and_why(table, tmp_path):
    port = free_port()
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"model": table.model, "photos": table.photos}))
    command = [sys.executable, "-m", "deploy.smoke", f"http://127.0.0.1:{port}", "--table", path, "--wait", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"http://127.0.0.1:{port}/healthz did not answer 200 within 1 seconds" in done.stderr
    assert "ConnectError" in done.stderr


def test_metrics_that_anyone_can_read_are_named(server):
    plain, encoded = open_to_the_public(server.url)  # which stands behind no proxy
    assert "/metrics answers with status 200" in plain
    assert "/%6detrics answers with status 200" in encoded
    assert list(open_to_the_public(f"{server.url}/elsewhere")) == []


def test_small_differences_pass_and_two_labels_as_good_as_equal_may_change_places():
    swapped = [ROW[0], ROW[2], ROW[1], *ROW[3:]]
    assert list(compare(answer([(name, value + 0.004) for name, value in swapped]), ROW, 0.005)) == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([("Pizza", 0.55), *ROW[1:]], "'Pizza' has probability 0.5500, expected 0.6000"),
        ([("Ramen", 0.6), ("Pizza", 0.2), *ROW[2:]], "'Ramen' is best, expected 'Pizza'"),
        ([("Bibimbap", 0.6), *ROW[1:]], "'Bibimbap' is best, expected 'Pizza'"),
        (ROW[:4], "4 labels, expected 5"),
    ],
)
def test_a_difference_that_counts_is_said(row, words):
    assert words in "\n".join(compare(answer(row), ROW, 0.005))


def test_an_answer_without_probabilities_is_a_difference():
    assert list(compare({"label": None}, ROW, 0.005)) == ["no probabilities in {'label': None}"]
