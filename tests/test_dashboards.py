"""Dashboards and alarms name what the app tells, and the alarms ring when they should and not else.

That CloudWatch and Grafana show them, only they can prove: neither is here. Prometheus's own promtool reads each
expression, and tries the alarms on made series.
"""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from serving import ROOT
from test_templates import GIVEN, SERVICE

from deploy.doctor.templates import Template
from deploy.drift.verdict import DRIFT_SHARE, METRIC
from seefood.serving import metrics, telemetry

METRICS = {metric.name for metric in metrics.METRICS} | {METRIC}
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
GRAFANA = {path.stem: path for path in sorted((ROOT / "deploy/grafana").glob("*.json"))}
APP = "SeeFood102"  # the namespace


@pytest.fixture(scope="module")
def service():
    return Template(SERVICE, GIVEN)


@pytest.fixture(scope="module")
def alerts():
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def promtool(*arguments):
    if not shutil.which("promtool"):
        pytest.skip("no promtool here: apt-get install prometheus")
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)


def metrics_in(text):
    """Whose names a text has; of a histogram, Prometheus's three series are one metric."""
    return {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"seefood_\w+", text)}


def threshold(expression):
    return float(re.search(r">=? ([\d.]+)$", expression)[1])


# --- Names


@pytest.mark.parametrize("name", GRAFANA)
def test_a_dashboard_of_grafana_shows_every_metric_that_the_app_tells_and_no_other(name):
    assert metrics_in(GRAFANA[name].read_text()) == METRICS


def test_so_does_cloudwatchs_and_of_this_stack_only(service):
    body = service.only("CloudWatch::Dashboard")["DashboardBody"]
    assert metrics_in(body) == METRICS
    rows = [row for widget in json.loads(body)["widgets"] for row in widget["properties"].get("metrics", [])]
    of_the_app = [row for row in rows if row[0] == APP]
    assert len(of_the_app) == 5  # the first of each widget; the others refer to it
    assert all(row[2:4] == ["service", "seefood102"] for row in of_the_app)


def test_the_alarms_watch_what_the_app_tells_of_this_stack(service, alerts):
    assert set().union(*map(metrics_in, alerts.values())) <= METRICS
    watched = [alarm for _, alarm in service.of_type("Alarm") if alarm.get("Namespace") == APP]
    assert {alarm["MetricName"] for alarm in watched} == {"seefood_request_seconds", "seefood_drift"}
    assert all(alarm["Dimensions"] == [{"Name": "service", "Value": "seefood102"}] for alarm in watched)
    assert all(alarm["TreatMissingData"] == "notBreaching" for alarm in watched)


def test_the_app_tells_cloudwatch_in_the_namespace_and_by_the_dimension_that_the_alarms_watch(service):
    (container,) = service.only("ECS::TaskDefinition")["ContainerDefinitions"]
    environment = {variable["Name"]: variable["Value"] for variable in container["Environment"]}
    assert environment["SEEFOOD_METRICS_NAMESPACE"] == APP
    assert environment["SEEFOOD_SERVICE"] == "seefood102"


def test_the_alarm_of_drift_rings_from_the_share_that_is_called_drift(service, alerts):
    assert service.resources["Drifted"]["Properties"]["Threshold"] == DRIFT_SHARE
    assert alerts["Drift"] == f"max({METRIC}) >= {DRIFT_SHARE}"


def test_the_template_is_small_enough_for_a_request():
    from deploy.stack import LARGEST

    assert SERVICE.stat().st_size < LARGEST


# --- Alarms


def test_errors_ring_by_their_share_and_those_of_visitors_do_not(service, alerts):
    alarm = service.resources["Errors"]["Properties"]
    share, *metrics = alarm["Metrics"]
    assert [metric["ReturnData"] for metric in metrics] == [False] * len(metrics)
    metric_of = {metric["Id"]: metric["MetricStat"]["Metric"] for metric in metrics}
    assert {metric["Namespace"] for metric in metric_of.values()} == {APP}
    assert metric_of["requests"]["MetricName"] == "seefood_requests_total"
    error_of = {
        name: dimension["Value"]
        for name, metric in metric_of.items()
        for dimension in metric["Dimensions"]
        if dimension["Name"] == "error"
    }
    assert {metric_of[name]["MetricName"] for name in ("errors", *error_of)} == {"seefood_errors_total"}
    of_visitors = set(telemetry.ERRORS_OF_VISITORS)
    assert set(error_of.values()) == of_visitors
    assert set(re.search(r'error!~"([^"]+)"', alerts["Errors"])[1].split("|")) == of_visitors
    (explained,) = re.findall(r"^\| `error` .*", (ROOT / "docs/watch.md").read_text(), re.M)
    assert of_visitors | {"BusyError"} <= set(re.findall(r"`(\w+)`", explained))
    assert set(telemetry._REFUSED.values()) - of_visitors == {"BusyError"}

    def percent(**counts):
        formula = re.sub(r"FILL\((\w+), 0\)", r"\1", share["Expression"])
        return eval(formula, {}, dict.fromkeys(metric_of, 0) | counts)  # noqa: S307

    visitors = dict.fromkeys(error_of, 10)
    assert percent(requests=200, errors=sum(visitors.values()), **visitors) == 0
    assert percent(requests=200, errors=sum(visitors.values()) + 12, **visitors) == 6 > alarm["Threshold"]


def test_prometheus_and_cloudwatch_ring_at_the_same_thresholds(service, alerts):
    of = {name: alarm["Threshold"] for name, alarm in service.of_type("Alarm")}
    assert threshold(alerts["Errors"]) == of["Errors"] / 100
    assert threshold(alerts["SlowPhotos"]) == of["SlowPhotos"]
    assert threshold(alerts["Drift"]) == of["Drifted"]
    assert set(alerts) == {"NoHealthyTask", "Errors", "SlowPhotos", "Drift"}


def test_promtool_finds_the_rules_sound():
    done = promtool("check", "rules", ALERTS)
    assert done.returncode == 0, done.stderr
    assert "4 rules found" in done.stdout


def test_each_alarm_of_prometheus_rings_when_it_should_and_only_then():
    done = promtool("test", "rules", ROOT / "tests/alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "change", ["} == 1)/} >= 0)", "> 0.05/> 0.5", "|RateError/", "> 2\n/> 5\n", ">= 0.25/> 0.25", "for: 5m/for: 0m"]
)
def test_an_alarm_that_would_ring_otherwise_is_found(change, tmp_path):
    """The made series can tell: that the last test passes is no accident."""
    there, instead = change.split("/")
    text = ALERTS.read_text()
    assert there in text
    (tmp_path / "deploy/prometheus").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    changed = tmp_path / "deploy/prometheus/alerts.yml"
    changed.write_text(text.replace(there, instead, 1))
    assert promtool("check", "rules", changed).returncode == 0
    shutil.copy(ROOT / "tests/alerts.yml", tmp_path / "tests")
    assert promtool("test", "rules", tmp_path / "tests/alerts.yml").returncode == 1


# --- Grafana


def targets(name):
    return [target for panel in json.loads(GRAFANA[name].read_text())["panels"] for target in panel["targets"]]


def test_promtool_reads_every_expression_of_the_dashboard(tmp_path):
    expressions = [
        target["expr"].replace("$__rate_interval", "5m").replace("$job", "x") for target in targets("prometheus")
    ]
    assert not any("$" in expression for expression in expressions)
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


@pytest.mark.parametrize("name", GRAFANA)
def test_the_source_is_chosen_in_grafana_and_panels_do_not_cover_each_other(name):
    dashboard = json.loads(GRAFANA[name].read_text())
    (source,) = [v for v in dashboard["templating"]["list"] if v["type"] == "datasource"]
    assert source["query"] == name
    assert {target["datasource"]["uid"] for target in targets(name)} == {"${datasource}"}
    declared = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__all", "__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)(?!\w|\()", GRAFANA[name].read_text())) <= declared
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_on_cloudwatch_each_metric_is_asked_for_by_namespace_and_service():
    asked = [target for target in targets("cloudwatch") if target.get("metricName", "").startswith("seefood_")]
    assert {(target["namespace"], *target["dimensions"].items()) for target in asked} == {
        (APP, ("service", "$service"))
    }
