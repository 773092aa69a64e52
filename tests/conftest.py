"""What the tests share: settings that a test may change, the model, and the app as a process."""

import pytest
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
