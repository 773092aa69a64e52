"""The metrics of the running app: what a real Prometheus reads at /metrics, and what CloudWatch reads from its log."""

import json
import re
import shutil
import subprocess
import time
from collections import Counter

import httpx
import jsonschema
import pytest
from serving import EXAMPLES, classify, free_port, started_app

from seefood.serving.metrics import METRICS

PROMETHEUS = shutil.which("prometheus")
CONFIGURATION = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: seefood102
    static_configs: [targets: ["{target}"]]
"""
SENT = {"answered": 3, "broken": 2}

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html,
# its schema; that the root has each target member, of the right type, is `check_targets`.
UNITS = ["Seconds", "Milliseconds", "Microseconds", "Bytes", "Percent", "Count", "None"]  # and more like these
METRIC = {
    "type": "object",
    "required": ["Name"],
    "properties": {"Name": {"type": "string", "minLength": 1, "maxLength": 1024}, "Unit": {"enum": UNITS}},
    "additionalProperties": False,
}
DIMENSION_SET = {
    "type": "array",
    "minItems": 1,
    "maxItems": 30,
    "items": {"type": "string", "minLength": 1, "maxLength": 250},
}
DIRECTIVE = {
    "type": "object",
    "required": ["Namespace", "Dimensions", "Metrics"],
    "properties": {
        "Namespace": {"type": "string", "minLength": 1, "maxLength": 1024},
        "Dimensions": {"type": "array", "minItems": 1, "items": DIMENSION_SET},
        "Metrics": {"type": "array", "maxItems": 100, "items": METRIC},
    },
    "additionalProperties": False,
}
EMBEDDED_METRIC_FORMAT = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {"type": "array", "minItems": 1, "items": DIRECTIVE},
            },
        }
    },
}


def check_targets(line):
    """A metric's value is a number in the root, a dimension's a string of 1 to 1024 ASCII characters."""
    for directive in line["_aws"]["CloudWatchMetrics"]:
        for metric in directive["Metrics"]:
            assert type(line[metric["Name"]]) in (int, float), metric
        for name in {name for names in directive["Dimensions"] for name in names}:
            assert re.fullmatch(r"[\x21-\x7e]{1,1024}", line[name]), name


@pytest.fixture(scope="module")
def app(model_file, tmp_path_factory):
    """An app that was asked about five photos, of which two were broken."""
    stack = {"SEEFOOD_METRICS_NAMESPACE": "SeeFood102", "SEEFOOD_SERVICE": "my-stack"}
    with started_app(model_file, tmp_path_factory.mktemp("app"), **stack) as app:
        for photo in EXAMPLES[: SENT["answered"]]:
            assert classify(app.url, photo.read_bytes())[0] == 200
        for _ in range(SENT["broken"]):
            assert classify(app.url, b"no photo")[0] == 422
        yield app


@pytest.fixture(scope="module")
def prometheus(app, tmp_path_factory):
    """Asks a Prometheus, which scrapes the app, for the value of an expression."""
    if not PROMETHEUS:
        pytest.skip("prometheus is not installed (.ci/run does it)")
    folder, address = tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text(CONFIGURATION.format(target=app.url.removeprefix("http://")))
    command = [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=output, stderr=output)

    def ask(expression):
        answer = httpx.get(f"http://{address}/api/v1/query", params={"query": expression}, timeout=30).json()
        return {json.dumps(found["metric"]): float(found["value"][1]) for found in answer["data"]["result"]}

    def has_scraped():
        try:
            return set(ask("up").values()) == {1}
        except httpx.TransportError:
            return False

    try:
        deadline = time.monotonic() + 60
        while not has_scraped():
            assert process.poll() is None, (folder / "output.txt").read_text()
            assert time.monotonic() < deadline, (folder / "output.txt").read_text()
            time.sleep(0.2)
        yield ask
    finally:
        process.kill()
        process.wait()


def lines_of(app):
    return [line for line in app.requests() if line["endpoint"] == "/classify"]


def test_prometheus_reads_what_was_sent(app, prometheus):
    sent = SENT["answered"] + SENT["broken"]
    assert list(prometheus('sum(seefood_requests_total{endpoint="/classify"})').values()) == [sent]
    assert prometheus("sum by (error) (seefood_errors_total)") == {'{"error": "PhotoError"}': SENT["broken"]}
    for name, count in {"request": sent, "decode": 3, "inference": 3, "rest": 3}.items():
        assert list(prometheus(f"seefood_{name}_seconds_count").values()) == [count]
    answered = [line for line in lines_of(app) if not line["error"]]
    sums = {
        "seefood_confidence_sum": sum(line["confidence"] for line in answered),
        "seefood_inference_seconds_sum": sum(line["inference_seconds"] for line in answered),
        "seefood_not_food_total": sum(line["not_food"] for line in answered),
        "seefood_low_confidence_total": sum(line["low_confidence"] for line in answered),
    }
    assert sums["seefood_not_food_total"] > 0
    for name, expected in sums.items():
        assert list(prometheus(name).values()) == [pytest.approx(expected, abs=1e-5)]


def test_a_percentile_of_latency_and_the_share_of_errors_can_be_asked_for(prometheus):
    (median,) = prometheus("histogram_quantile(0.5, seefood_request_seconds_bucket)").values()
    assert 0 < median < 10
    (share,) = prometheus("sum(seefood_errors_total) / sum(seefood_requests_total)").values()
    assert share == pytest.approx(SENT["broken"] / (SENT["answered"] + SENT["broken"]))


def test_every_metric_is_there_from_the_start_under_its_one_name(app):
    text = httpx.get(f"{app.url}/metrics").text
    names = {metric.name for metric in METRICS}
    assert len(names) == 9
    found = set(re.findall(r"^(seefood_\w+?)(?:_bucket|_sum|_count)?(?:\{.*\})? ", text, re.MULTILINE))
    assert found == names


@pytest.mark.parametrize("path", ["/metrics", "/%6detrics", "/metrics/"])
def test_metrics_are_not_there_for_who_comes_through_a_proxy(path, app):
    response = httpx.get(f"{app.url}{path}", headers={"X-Forwarded-For": "192.0.2.1"})
    assert response.status_code == 404
    assert "seefood_requests" not in response.text
    assert "seefood_requests_total" in httpx.get(f"{app.url}/%6detrics").text


def test_every_line_of_a_request_is_in_the_embedded_metric_format(app):
    lines = lines_of(app)
    assert Counter(line["error"] for line in lines) == {None: SENT["answered"], "PhotoError": SENT["broken"]}
    for line in lines:
        jsonschema.validate(line, EMBEDDED_METRIC_FORMAT)
        check_targets(line)
        assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 600


def test_cloudwatch_reads_the_same_names_by_service_and_errors_by_their_class_too(app):
    units = {metric.name: metric.unit for metric in METRICS}
    for line in lines_of(app):
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "SeeFood102"
        assert line["service"] == "my-stack"
        named = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
        if line["error"]:
            assert directive["Dimensions"] == [["service"], ["service", "error"]]
            assert set(named) == {"seefood_requests_total", "seefood_errors_total", "seefood_request_seconds"}
            assert line["seefood_errors_total"] == 1
        else:
            assert directive["Dimensions"] == [["service"]]
            assert named == units
            assert line["seefood_errors_total"] == 0
            assert line["seefood_confidence"] == line["confidence"]
            assert line["seefood_not_food_total"] == line["not_food"]
            for part in ("decode", "inference", "rest"):
                assert line[f"seefood_{part}_seconds"] == line[f"{part}_seconds"]


def test_without_a_namespace_the_log_has_no_metrics_in_it(server):
    classify(server.url, EXAMPLES[0].read_bytes())
    assert server.requests()
    assert not [line for line in server.requests() if "_aws" in line]
