"""The log stream to search: the stack in moto, its function and its set-up against a stand-in, its files.

moto passes over OpenSearchService::Domain and Logs::SubscriptionFilter, holds nobody to IAM, and runs no function: so
those are asserted on the template, and the function's code is run here as it stands in it.
"""

import base64
import fnmatch
import gzip
import json
import re

import boto3
import pytest
from moto import mock_aws
from search_domain import KEY, REGION, SECRET, search_domain
from serving import ROOT
from test_templates import FOUNDATION

from deploy.doctor.roles import listed
from deploy.doctor.templates import Template, target
from deploy.search.__main__ import main
from deploy.search.domain import Domain, SearchError
from seefood.serving.telemetry import FIELDS

SEARCH, FILES = ROOT / "deploy/search.yaml", ROOT / "deploy/search"
ADMIN = {"AdminArn": "arn:aws:iam::123456789012:role/ada"}
WRITER = "arn:aws:iam::123456789012:role/seefood102-search"
DOMAIN_ARN = "arn:aws:es:eu-central-1:123456789012:domain/seefood102"
INDEX = "seefood102-2026.11.24"


@pytest.fixture(scope="module")
def stack():
    return Template(SEARCH, ADMIN)


@pytest.fixture
def domain(monkeypatch):
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with search_domain() as there:
        monkeypatch.setenv("ENDPOINT", there.url)
        yield there


def session(secret=SECRET):
    return boto3.Session(KEY, secret, region_name=REGION)


def read(name):
    return json.loads((FILES / name).read_text())


def saved_objects():
    return [json.loads(line) for line in (FILES / "dashboard.ndjson").read_text().splitlines()]


def saved(kind):
    return [saved_object for saved_object in saved_objects() if saved_object["type"] == kind]


# --- Fields


def test_the_fields_are_exactly_those_that_the_app_tells():
    mappings = read("index-template.json")["template"]["mappings"]
    assert tuple(mappings["properties"]) == FIELDS
    assert mappings["dynamic"] is False  # _aws, and the metrics of a line, are kept and make no field
    (pattern,) = saved("index-pattern")
    shown = [field["name"].partition(".")[0] for field in json.loads(pattern["attributes"]["fields"])]
    assert tuple(dict.fromkeys(shown)) == FIELDS


def test_the_dashboard_asks_for_fields_that_there_are_and_refers_to_objects_that_are_in_it():
    (pattern,) = saved("index-pattern")
    kind_of = {field["name"]: field["type"] for field in json.loads(pattern["attributes"]["fields"])}
    for visualization in saved("visualization"):
        state = json.loads(visualization["attributes"]["visState"])
        for aggregation in state["aggs"]:
            if aggregation["type"] != "count":
                kind = kind_of[aggregation["params"]["field"]]
                wanted = {"date_histogram": {"date"}, "histogram": {"number"}, "percentiles": {"number"}}
                assert kind in wanted.get(aggregation["type"], {"string", "boolean"})
        query = json.loads(visualization["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"]
        assert set(re.findall(r"(\w+):", query)) <= set(kind_of)
    (search,) = saved("search")
    assert set(search["attributes"]["columns"]) <= set(kind_of)
    there = {(saved_object["type"], saved_object["id"]) for saved_object in saved_objects()}
    for saved_object in saved_objects():
        assert {(reference["type"], reference["id"]) for reference in saved_object["references"]} <= there
    (dashboard,) = saved("dashboard")
    panels = {panel["panelRefName"] for panel in json.loads(dashboard["attributes"]["panelsJSON"])}
    assert panels == {reference["name"] for reference in dashboard["references"]}
    assert len(panels) == len(saved("visualization")) + 1


def test_fields_retention_rights_and_dashboard_are_those_of_the_indices_that_are_written(domain, stack):
    handler(stack)(event(message()), None)
    (written,) = (json.loads(line)["index"]["_index"] for line in domain.asked[0][4].splitlines()[::2])
    policy, (role,) = read("retention.json")["policy"], read("writer.json")["index_permissions"]
    (pattern,) = saved("index-pattern")
    for patterns in (
        read("index-template.json")["index_patterns"],
        policy["ism_template"][0]["index_patterns"],
        role["index_patterns"],
        [pattern["attributes"]["title"]],
    ):
        assert any(fnmatch.fnmatch(written, pattern) for pattern in patterns)


def test_an_index_goes_when_the_log_groups_lines_do():
    days = Template(FOUNDATION, {}).parameters["LogRetentionDays"]
    (transition,) = read("retention.json")["policy"]["states"][0]["transitions"]
    assert transition["conditions"]["min_index_age"] == f"{days}d"
    log_group = Template(FOUNDATION, {"LogRetentionDays": "90"}).only("LogGroup")
    assert log_group["RetentionInDays"] == "90"  # a setting


# --- The stack


def test_the_domain_is_encrypted_speaks_tls_and_lets_in_its_administrator_by_his_signature(stack):
    domain = stack.only("OpenSearchService::Domain")
    assert domain["EncryptionAtRestOptions"] == domain["NodeToNodeEncryptionOptions"] == {"Enabled": True}
    assert domain["DomainEndpointOptions"]["EnforceHTTPS"] is True
    security = domain["AdvancedSecurityOptions"]
    assert (security["Enabled"], security["InternalUserDatabaseEnabled"]) == (True, False)
    assert security["MasterUserOptions"] == {"MasterUserARN": ADMIN["AdminArn"]}
    (statement,) = domain["AccessPolicies"]["Statement"]
    assert statement["Principal"] == {"AWS": ADMIN["AdminArn"]}
    assert statement["Resource"] == f"{DOMAIN_ARN}/*"


def test_lines_about_requests_and_no_others_reach_the_function(stack):
    subscription, permission = stack.only("SubscriptionFilter"), stack.only("Lambda::Permission")
    assert subscription["FilterPattern"] == '{ $.event = "request" }'
    assert target(subscription["DestinationArn"]) == target(permission["FunctionName"]) == "Writer"
    assert stack.resources["Subscription"]["DependsOn"] == "LogMayCall"
    assert permission["Principal"] == "logs.amazonaws.com"
    assert permission["SourceArn"].endswith(f":log-group:{subscription['LogGroupName']}:*")
    assert permission["SourceAccount"] == "123456789012"


def test_the_function_may_write_to_the_domain_and_to_its_log_and_nothing_else(stack):
    (policy,) = stack.only("IAM::Role")["Policies"]
    rights = [(listed(s["Action"]), s["Resource"]) for s in policy["PolicyDocument"]["Statement"]]
    assert rights[0] == (["es:ESHttpPost"], f"{DOMAIN_ARN}/_bulk")
    assert rights[1][0] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert target(rights[1][1]) == "WriterLogGroup"
    assert len(rights) == 2
    assert read("writer.json")["cluster_permissions"] == ["indices:data/write/bulk"]
    assert read("writer.json")["index_permissions"][0]["allowed_actions"] == ["index", "create_index"]


@pytest.mark.filterwarnings("ignore:.*not supported by moto:UserWarning")
def test_the_stack_is_created_set_up_updated_and_deleted(domain, monkeypatch):
    monkeypatch.setattr("sys.argv", ["search"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws(config={"core": {"mock_credentials": False}}):
        client = session().client
        stacks, functions = client("cloudformation"), client("lambda")
        assert main() == 1  # there is none
        # moto makes no domain, so it cannot know its address.
        text = SEARCH.read_text().replace("https://${Domain.DomainEndpoint}", domain.url)
        given = {"StackName": "seefood102-search", "TemplateBody": text, "Capabilities": ["CAPABILITY_NAMED_IAM"]}

        def parameters(values):
            return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]

        stacks.create_stack(**given, Parameters=parameters(ADMIN))
        (function,) = functions.list_functions()["Functions"]
        assert function["Environment"]["Variables"] == {"ENDPOINT": domain.url}
        assert "logs.amazonaws.com" in functions.get_policy(FunctionName="seefood102-search")["Policy"]
        assert main() == 0
        assert domain.kept["/_plugins/_security/api/rolesmapping/seefood102-writer"] == {"backend_roles": [WRITER]}
        assert function["Role"] == WRITER

        stacks.update_stack(**given, Parameters=parameters(ADMIN | {"VolumeGiB": "20"}))
        (described,) = stacks.describe_stacks(StackName="seefood102-search")["Stacks"]
        assert described["StackStatus"] == "UPDATE_COMPLETE"

        stacks.delete_stack(StackName="seefood102-search")
        assert [stack["StackStatus"] for stack in stacks.list_stacks()["StackSummaries"]] == ["DELETE_COMPLETE"]
        assert functions.list_functions()["Functions"] == []
        assert client("iam").list_roles()["Roles"] == []


# --- The function


def handler(stack):
    names = {}
    exec(compile(stack.only("Lambda::Function")["Code"]["ZipFile"], "index.py", "exec"), names)  # noqa: S102
    return names["handler"]


def message(**more):
    """A line of the log, as CloudWatch reads metrics from it."""
    return json.dumps({"time": "2026-11-24T12:00:00.000Z", "event": "request", "_aws": {"Timestamp": 1}, **more})


def event(*messages, kind="DATA_MESSAGE"):
    """What CloudWatch Logs calls a function with."""
    entries = [
        {"id": f"3700{number}", "timestamp": 1795521600000, "message": text} for number, text in enumerate(messages)
    ]
    batch = {"messageType": kind, "logGroup": "/ecs/seefood102", "logEvents": entries}
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(batch).encode())).decode()}}


def test_each_line_becomes_a_document_of_its_day_and_once_even_if_it_comes_twice(domain, stack):
    lines = [message(endpoint="/classify"), message(endpoint="page") + "\n"]
    for _ in range(2):
        handler(stack)(event(*lines), None)
    first, again = domain.asked
    assert first[:3] == ("POST", "/_bulk", {})
    assert first[3]["Content-Type"] == "application/x-ndjson"
    assert first[4] == again[4]
    assert first[4].endswith(b"\n")
    sent = [json.loads(line) for line in first[4].splitlines()]
    assert sent[::2] == [{"index": {"_index": INDEX, "_id": f"3700{number}"}} for number in range(2)]
    assert sent[1::2] == [json.loads(line) for line in lines]


def test_what_the_domain_does_not_take_fails_so_that_lambda_tries_again(domain, stack):
    why = {"type": "security_exception", "reason": "no permissions"}
    domain.bulk = {"errors": True, "items": [{"index": {"status": 201}}, {"index": {"status": 403, "error": why}}]}
    with pytest.raises(RuntimeError, match="no permissions"):
        handler(stack)(event(message(), message()), None)


def test_a_mere_call_of_cloudwatch_writes_nothing(domain, stack):
    handler(stack)(event("CWL CONTROL MESSAGE: Checking health of destination", kind="CONTROL_MESSAGE"), None)
    assert domain.asked == []


# --- python -m deploy.search


def test_everything_gets_in_signed_and_the_writer_comes_last(domain):
    Domain(domain.url, session()).set_up(WRITER)
    assert domain.kept == {
        "/_index_template/seefood102": read("index-template.json"),
        "/_plugins/_ism/policies/seefood102": read("retention.json"),
        "/_plugins/_security/api/roles/seefood102-writer": read("writer.json"),
        "/_plugins/_security/api/rolesmapping/seefood102-writer": {"backend_roles": [WRITER]},
    }
    assert domain.asked[0][1].startswith("/_index_template")
    assert "rolesmapping" in domain.asked[-1][1]
    (imported,) = [asked for asked in domain.asked if asked[0] == "POST"]
    assert imported[1:3] == ("/_dashboards/api/saved_objects/_import", {"overwrite": "true"})
    assert (imported[3]["osd-xsrf"], imported[3]["securitytenant"]) == ("true", "global")
    assert (FILES / "dashboard.ndjson").read_bytes() in imported[4]


def test_it_can_be_run_again(domain):
    for _ in range(2):
        Domain(domain.url, session()).set_up(WRITER)


def test_whom_the_domain_does_not_know_is_told_so(domain):
    with pytest.raises(SearchError, match=r"PUT /_index_template/seefood102: status 403: .*does not match"):
        Domain(domain.url, session("another-secret")).set_up(WRITER)
    assert domain.kept == {}


def test_a_dashboard_that_is_not_taken_is_an_error(domain):
    domain.imported = {"success": False, "errors": [{"id": "seefood102", "error": {"type": "missing_references"}}]}
    with pytest.raises(SearchError, match="missing_references"):
        Domain(domain.url, session()).set_up(WRITER)
