"""The metrics, each counted from a line of the log: for Prometheus, and within the line itself for CloudWatch.

CloudWatch reads a line in its embedded metric format (EMF) as a line of the log and as metrics at once.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import Counter, Histogram, disable_created_metrics, make_asgi_app
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.typing import EventDict

from seefood.errors import SettingsError

Line = Mapping[str, Any]

ENDPOINTS = ("/predict", "/explain", "/predict_batch", "/classify", "page")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SHARES = tuple(step / 10 for step in range(1, 11))

disable_created_metrics()


@dataclass(frozen=True)
class Metric:
    """One metric, in both places.

    Attributes:
        name: its name in Prometheus and in CloudWatch.
        meaning: one sentence without its full stop.
        unit: CloudWatch's; what is a count there is a counter in Prometheus, the others are histograms.
        value: what a line adds to it; None if the line says nothing of it.
        label: the field of the line that Prometheus tells apart.
    """

    name: str
    meaning: str
    unit: Literal["Count", "Seconds", "None"]
    value: Callable[[Line], float | None]
    label: str | None = None


def _if_answered(field: str) -> Callable[[Line], float | None]:
    return lambda line: float(line[field]) if "top" in line else None


METRICS = (
    Metric("seefood_requests_total", "Photos asked about, and requests refused", "Count", lambda _: 1, "endpoint"),
    Metric(
        "seefood_errors_total", "Those with an error", "Count", lambda line: int(line["error"] is not None), "error"
    ),
    Metric("seefood_request_seconds", "Time to answer, or to refuse", "Seconds", lambda line: line["seconds"]),
    Metric("seefood_decode_seconds", "Of it, to read the photo", "Seconds", _if_answered("decode_seconds")),
    Metric("seefood_inference_seconds", "Of it, to run the model", "Seconds", _if_answered("inference_seconds")),
    Metric("seefood_rest_seconds", "Of it, all else", "Seconds", _if_answered("rest_seconds")),
    Metric("seefood_confidence", "Probability of the best label", "None", _if_answered("confidence")),
    Metric("seefood_not_food_total", "Photos of no food", "Count", _if_answered("not_food")),
    Metric("seefood_low_confidence_total", "Photos without a likely label", "Count", _if_answered("low_confidence")),
)


def _collector(metric: Metric) -> Counter | Histogram:
    labels = [metric.label] if metric.label else []
    if metric.unit == "Count":
        return Counter(metric.name, metric.meaning, labels)
    return Histogram(metric.name, metric.meaning, labels, buckets=_SECONDS if metric.unit == "Seconds" else _SHARES)


_COLLECTORS = {metric: _collector(metric) for metric in METRICS}
for _endpoint in ENDPOINTS:  # a series that begins with its first request has no rate for it
    _COLLECTORS[METRICS[0]].labels(_endpoint)


def count(line: Line) -> None:
    """Add a line to what Prometheus sees."""
    for metric, collector in _COLLECTORS.items():
        value = metric.value(line)
        if value is None or (metric.label and line[metric.label] is None):
            continue
        child = collector.labels(line[metric.label]) if metric.label else collector
        if isinstance(child, Counter):
            child.inc(value)
        else:
            child.observe(value)


class Exposition:
    """GET /metrics, for Prometheus: an ASGI application. To a caller who comes through a proxy it is not there."""

    def __init__(self) -> None:
        self._app = make_asgi_app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = PlainTextResponse("Not Found", 404) if "x-forwarded-for" in Headers(scope=scope) else self._app
        await app(scope, receive, send)


class EmbeddedMetrics:
    """A structlog processor: gives the lines of requests what CloudWatch needs to read metrics from them.

    The dimension of all is `service`; a line with an error counts under its class, too.

    Raises:
        SettingsError: the extra [aws] is not installed.
    """

    def __init__(self, namespace: str, service: str):
        try:  # it imports aiohttp, which nobody else needs
            from aws_embedded_metrics.logger.metrics_context import MetricsContext
            from aws_embedded_metrics.serializers.log_serializer import LogSerializer
        except ImportError:
            raise SettingsError(
                f"SEEFOOD_METRICS_NAMESPACE={namespace}: needs aws-embedded-metrics. "
                "Install the extra: pip install '.[aws]'."
            ) from None
        self._context, self._serialize = MetricsContext, LogSerializer.serialize
        self._namespace, self._service = namespace, service
        self._directives: dict[tuple[str, ...], Any] = {}

    def __call__(self, _: Any, __: str, line: EventDict) -> EventDict:
        if line["event"] != "request":
            return line
        said = ((metric, metric.value(line)) for metric in METRICS)
        values = {metric.name: value for metric, value in said if value is not None}
        kind = (*values, *(["error"] if line["error"] else []))
        if kind not in self._directives:  # the library takes its time, and says the same of all lines of a kind
            self._directives[kind] = self._directive(values, line["error"])
        metadata = {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": self._directives[kind]}
        return {**line, "service": self._service, **values, "_aws": metadata}

    def _directive(self, values: dict[str, float], error: str | None) -> Any:
        context = self._context(self._namespace)
        context.put_dimensions({"service": self._service})
        if error:
            context.put_dimensions({"service": self._service, "error": error})
        for metric in METRICS:
            if metric.name in values:
                context.put_metric(metric.name, values[metric.name], metric.unit)
        (line,) = self._serialize(context)
        return json.loads(line)["_aws"]["CloudWatchMetrics"]
