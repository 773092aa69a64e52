"""Settings come from the environment."""

import sys
from pathlib import Path

import pytest

from seefood.errors import SettingsError
from seefood.settings import Settings, settings


@pytest.fixture
def empty_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEEFOOD_{name.upper()}", raising=False)
    for name in ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "PORT", "GRADIO_ROOT_PATH", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("empty_environment")
def test_without_an_environment_the_embedded_model_is_served_on_7860_with_limits():
    defaults = Settings()
    assert defaults.model == Path("models/seefood.onnx")
    assert defaults.port == 7860
    assert defaults.max_bytes == 20_000_000
    assert defaults.max_pixels == 50_000_000


@pytest.mark.usefixtures("empty_environment")
@pytest.mark.parametrize(
    ("variables", "field", "value"),
    [
        ({"SEEFOOD_MODEL": "runs/mine.onnx"}, "model", Path("runs/mine.onnx")),
        ({"SEEFOOD_MAX_PIXELS": "1000"}, "max_pixels", 1000),
        ({"GRADIO_SERVER_NAME": "::1"}, "host", "::1"),
        ({"PORT": "8080"}, "port", 8080),
        ({"GRADIO_SERVER_PORT": "8081"}, "port", 8081),
        ({"GRADIO_SERVER_PORT": "8081", "PORT": "8080"}, "port", 8081),
        ({"GRADIO_ROOT_PATH": "/food"}, "root_path", "/food"),
        ({"SEEFOOD_LOG": "text"}, "log", "text"),
    ],
)
def test_a_setting_is_read_from_its_variable(variables, field, value, environment):
    environment(**variables)
    assert getattr(settings(), field) == value


@pytest.mark.usefixtures("empty_environment")
@pytest.mark.parametrize(("terminal", "log"), [(True, "text"), (False, "json")])
def test_the_log_is_for_people_on_a_terminal_and_for_programs_elsewhere(terminal, log, environment, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    environment()
    assert settings().log == log


@pytest.mark.usefixtures("empty_environment")
@pytest.mark.parametrize(
    ("variable", "value"),
    [("SEEFOOD_MAX_BYTES", "0"), ("SEEFOOD_THREADS", "many"), ("GRADIO_SERVER_PORT", "http"), ("SEEFOOD_LOG", "loud")],
)
def test_a_value_that_cannot_be_is_refused_by_the_name_of_its_variable(variable, value, environment):
    environment(**{variable: value})
    with pytest.raises(SettingsError, match=f"{variable}={value}: "):
        settings()
