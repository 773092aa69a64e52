"""What is told of each request: a line of the log, and the metrics. No photo, no file name, no address of the visitor.

    telemetry = Telemetry(predictor)
    with telemetry.observed("/classify", "a-request-id"):
        photo = read_observed(content, name="pizza.jpg", at_least=predictor.short_side)
        predict_observed(predictor, photo)

Telling never makes a request fail.
"""

import logging
import re
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seefood.predictor import Predictor
from seefood.serving.logs import REQUESTS
from seefood.serving.metrics import ENDPOINTS, METRICS, count
from seefood.serving.observation import Observation, observation, predict_observed, read_observed
from seefood.settings import settings

__all__ = ["FIELDS", "METRICS", "Telemetry", "Watched", "observation", "predict_observed", "read_observed"]

# Of a line, in this order. Those from `bytes` to `format` are there once the photo is read, those from `brightness` to
# `low_confidence` once the model has answered.
FIELDS = (
    *("time", "event", "request_id", "endpoint", "error"),
    *("seconds", "decode_seconds", "inference_seconds", "rest_seconds"),
    *("bytes", "pixels", "format"),
    *("brightness", "contrast", "sharpness", "top", "confidence", "not_food", "low_confidence"),
    *("model", "commit"),
)
_REFUSED = {408: "TimeoutError", 413: "SizeError", 429: "RateError", 503: "BusyError"}  # the others are "CallError"
# By the visitor's own fault: he is told, and no alarm rings (deploy/service.yaml, deploy/prometheus/alerts.yml).
ERRORS_OF_VISITORS = ("PhotoError", "CallError", "RateError", "SizeError", "TimeoutError")
_SANE = re.compile(r"[A-Za-z0-9-]{1,64}")

_requests = structlog.wrap_logger(
    logging.getLogger(REQUESTS),
    processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    cache_logger_on_first_use=True,
)
_log = logging.getLogger(__name__)


class Telemetry:
    """Tells what a model is asked, and answers."""

    def __init__(self, predictor: Predictor):
        self._process = {"model": predictor.digest, "commit": settings().commit}
        self._unsure = predictor.metadata.threshold("unsure")

    def observed(
        self, endpoint: str, request_id: str, *, errors_only: bool = False
    ) -> AbstractContextManager[Observation]:
        """Observe what happens within, as `Observation.observed` says.

        Args:
            endpoint: what was asked, one of `seefood.serving.metrics.ENDPOINTS`.
            request_id: as `request_id_of` gives it.
            errors_only: without an error there is nothing to tell.
        """
        return Observation(endpoint, request_id, self._tell).observed(errors_only=errors_only)

    def _tell(self, observed: Observation) -> None:
        try:
            facts = {"event": "request", **observed.facts(self._unsure), **self._process}
            line = {name: _rounded(facts[name]) for name in FIELDS if name in facts}
            count(line)
            _requests.info(**line)
        except Exception:  # whatever it is, the visitor has nothing to do with it
            _log.exception("a request was not told")


class Watched:
    """ASGI middleware: tells of each request to /classify, and of those to Gradio that were refused, whoever did it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry):
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope.get("method") != "POST" or not (path == "/classify" or path.startswith("/gradio_api/")):
            await self._app(scope, receive, send)
            return
        name, request_id = path.rstrip("/").rpartition("/")[2], request_id_of(Headers(scope=scope))
        endpoint = f"/{name}" if f"/{name}" in ENDPOINTS else "page"  # whose queue may be any client's: its body tells
        with self._telemetry.observed(endpoint, request_id, errors_only=path != "/classify") as observed:

            async def send_noted(message: Message) -> None:
                status = message.get("status", 200)
                if 400 <= status < 500 or status in _REFUSED:  # of other errors the exception comes by
                    observed.failed(_REFUSED.get(status, "CallError"))
                await send(message)

            await self._app(scope, receive, send_noted)


def request_id_of(headers: Mapping[str, str]) -> str:
    """The caller's X-Request-ID, if it is one that a log can have, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _SANE.fullmatch(given) else uuid.uuid4().hex


def _rounded(value: object) -> object:
    return round(value, 6) if type(value) is float else value
