"""The log: our own lines and those of the libraries, one way, on standard output; SEEFOOD_LOG says which."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from seefood.serving.metrics import EmbeddedMetrics
from seefood.settings import settings

REQUESTS = "seefood.requests"  # the logger whose lines tell of requests


def configure_logs() -> None:
    """Send all that is logged in this process to standard output: in "json" a line of JSON each, in "text" for people.

    Raises:
        SettingsError: SEEFOOD_METRICS_NAMESPACE is set and the extra [aws] is not installed.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name],
            processors=[ProcessorFormatter.remove_processors_meta, _timed, *_rendered()],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("seefood", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger(REQUESTS).disabled = settings().log == "none"
    logging.captureWarnings(True)
    # What no line says need not be looked up for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _rendered() -> list[Processor]:
    if settings().log != "json":
        colors = sys.stdout.isatty()
        plain = structlog.dev.plain_traceback
        return [_for_people, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain, pad_event_to=0)]
    namespace = settings().metrics_namespace
    metrics: list[Processor] = [EmbeddedMetrics(namespace, settings().service)] if namespace else []
    return [structlog.processors.format_exc_info, *metrics, structlog.processors.JSONRenderer()]


def _timed(_: Any, __: str, line: EventDict) -> EventDict:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": now, "event": line.pop("event"), **line}


def _for_people(_: Any, __: str, line: EventDict) -> EventDict:
    """Of a request what fits into a line."""
    line["timestamp"] = line.pop("time")  # as ConsoleRenderer calls it
    if line["event"] != "request":
        return line
    answer = line["error"] or ", ".join(f"{guess['label']} {guess['probability']:.0%}" for guess in line["top"][:2])
    return {"timestamp": line["timestamp"], "event": f"{line['endpoint']}: {answer}, {line['seconds'] * 1000:.0f} ms"}
