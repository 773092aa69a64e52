"""What the tests share: settings that a test may change, the model, and the app as a process."""

import os
import shutil
import subprocess

import boto3
import httpx
import pytest
from containers import IMAGE, PODMAN
from moto.server import ThreadedMotoServer
from registry import running_registry
from serving import ROOT, started_app

from seefood.errors import ModelError
from seefood.predictor import Predictor
from seefood.settings import settings


@pytest.fixture
def environment(monkeypatch):
    """Change settings for one test: `environment(SEEFOOD_MAX_BYTES=1000)`."""

    def change(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        settings.cache_clear()

    yield change
    settings.cache_clear()


@pytest.fixture(scope="session")
def model_file():
    """The model that the app serves: SEEFOOD_MODEL, else the embedded one, without which the tests fail."""
    path = ROOT / settings().model
    problem = None
    try:
        Predictor(path)
    except ModelError as error:
        problem = str(error)
    if problem:
        pytest.fail(problem, pytrace=False)
    return path


@pytest.fixture(scope="session")
def predictor(model_file):
    return Predictor(model_file)


@pytest.fixture(scope="session")
def server(model_file, tmp_path_factory):
    """The real app.py, in a process that has no training packages and reaches no other host."""
    with started_app(model_file, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def s3(monkeypatch):
    """A client of an S3 protocol server of our own, which boto3's standard chain finds, also in other processes."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"http://{host}:{port}/moto-api/reset")
    yield boto3.client("s3")
    server.stop()


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """The address of a registry, which speaks HTTP."""
    with running_registry(tmp_path_factory.mktemp("registry")) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def podman(tmp_path_factory):
    """The variables with which podman runs a container here; skips where it cannot."""
    settings = tmp_path_factory.mktemp("podman") / "containers.conf"
    settings.write_text(PODMAN)
    variables = {"CONTAINERS_CONF": str(settings)}
    if not shutil.which("podman"):
        pytest.skip("no podman here: apt-get install podman runc")
    tried = subprocess.run(
        ["podman", "run", "--rm", "--read-only", "--cap-drop=ALL", "--publish=127.0.0.1::7860", IMAGE, "python", "-V"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        pytest.skip(f"podman cannot run a container here: {tried.stderr.strip().splitlines()[-1]}")
    return variables
