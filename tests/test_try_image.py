"""deploy/try_image.sh, which stands between the build and the push: what it lets pass, and what it stops.

The engine is podman. The images are the one that `make container-test` built, and the same otherwise configured.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from containers import IMAGE, NEEDS_IMAGE, buildah
from serving import ROOT

from deploy.smoke import Table

pytestmark = NEEDS_IMAGE


@pytest.fixture(scope="module")
def variables(podman):
    return os.environ | podman | {"ENGINE": "podman", "PYTHON": sys.executable}


@pytest.fixture
def try_image(variables):
    """Calls the script; sees that it leaves no container behind."""
    tried = []

    def call(image, *arguments, **more):
        tried.append(image)
        command = [ROOT / "deploy/try_image.sh", image, *arguments]
        return subprocess.run(command, env=variables | more, capture_output=True, text=True)

    yield call
    for image in tried:
        left = ["podman", "ps", "--all", "--quiet", "--filter", f"ancestor={image}"]
        assert subprocess.run(left, env=variables, capture_output=True, text=True, check=True).stdout == ""


@pytest.fixture
def image_with():
    """Makes an image that is the built one but for an option of `buildah config`, and returns its name."""
    name = "localhost/seefood102-with-another-configuration"

    def make(option, value):
        container = buildah("from", "--pull-never", IMAGE)
        buildah("config", option, value, container)
        buildah("commit", "--format", "docker", "--rm", container, name)
        return name

    yield make
    buildah("rmi", name)


@pytest.fixture(scope="module")
def table(model_file, tmp_path_factory):
    """A table of one photo."""
    full = Table.of_this_repository(model_file)
    path = tmp_path_factory.mktemp("table") / "table.json"
    path.write_text(json.dumps(asdict(replace(full, photos={"donuts.jpg": full.photos["donuts.jpg"]}))))
    return path


def test_the_image_passes(try_image):
    done = try_image(IMAGE)
    assert done.returncode == 0, done.stderr
    assert "answers as model" in done.stdout


def test_the_image_passes_as_the_user_that_the_hub_gives_a_space(image_with, try_image, table):
    done = try_image(image_with("--user", "1000:1000"), table)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["python", "-m", "http.server", "7860"], ["The last answer: status 404", '"GET /healthz HTTP/1.1" 404']),
        (["python", "nothing.py"], ["can't open file '/app/nothing.py'"]),
    ],
    ids=["it answers something else", "it ends at once"],
)
def test_an_image_that_does_not_answer_healthz_is_stopped_and_its_last_lines_are_shown(
    command, words, image_with, try_image, table
):
    done = try_image(image_with("--cmd", json.dumps(command)), table, WAIT="5")
    assert done.returncode == 1
    assert "Its last lines:" in done.stderr
    for each in words:
        assert each in done.stderr


def test_an_image_whose_answers_are_not_the_models_is_stopped(try_image, table, tmp_path):
    other = json.loads(table.read_text())
    other["photos"]["donuts.jpg"][0][0] = "Waffles"
    path = tmp_path / "other.json"
    path.write_text(json.dumps(other))
    done = try_image(IMAGE, path)
    assert done.returncode == 1
    assert "'Donuts' is best, expected 'Waffles'" in done.stderr


def test_an_image_that_ends_with_another_status_than_0_is_stopped(image_with, try_image, table):
    command = ["sh", "-c", "trap 'exit 3' TERM; python app.py & wait"]
    done = try_image(image_with("--cmd", json.dumps(command)), table)
    assert done.returncode == 1
    assert "ended with 3 after SIGTERM, not with 0" in done.stderr
