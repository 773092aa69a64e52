"""The waiting and its ends, on recorded answers of CloudFormation: moto's stacks are there at once."""

from datetime import datetime

import boto3
import pytest
from botocore.stub import Stubber

from deploy.stack import ReleaseError, Stack, parameters_of

PARAMETERS = {"ImageUri": "seefood102@sha256:123"}


def stubbed(*calls):
    client = boto3.client("cloudformation", "eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106
    stub = Stubber(client)
    for call, answer in calls:
        stub.add_response(call, answer)
    stub.activate()
    return client, stub


def described(status):
    stack = {"StackName": "s", "CreationTime": datetime(2025, 1, 1), "StackStatus": status}
    return "describe_stacks", {"Stacks": [stack]}


def events(*rows):
    kept = [
        {
            "StackId": "s",
            "StackName": "s",
            "EventId": f"{number}",
            "Timestamp": datetime(2025, 1, 1),
            "LogicalResourceId": name,
            "ResourceStatus": status,
            "ResourceStatusReason": reason,
        }
        for number, (name, status, reason) in enumerate(rows)
    ]
    return "describe_stack_events", {"StackEvents": kept[::-1]}


def test_a_release_that_is_rolled_back_is_an_error_with_the_reason_of_the_resource_that_failed():
    old = ("Service", "UPDATE_FAILED", "of the last time")
    rows = [
        old,
        ("Service", "UPDATE_FAILED", "ECS Deployment Circuit Breaker was triggered"),
        ("Alarm", "UPDATE_FAILED", "Resource update cancelled"),
    ]
    client, stub = stubbed(
        described("UPDATE_COMPLETE"),
        events(old),
        ("update_stack", {"StackId": "s"}),
        described("UPDATE_IN_PROGRESS"),
        events(old),
        described("UPDATE_ROLLBACK_COMPLETE"),
        events(*rows),
    )
    with pytest.raises(ReleaseError) as error:
        Stack("s", client, pause=0).deploy("{}", PARAMETERS)
    assert str(error.value) == "s is UPDATE_ROLLBACK_COMPLETE.\nService: ECS Deployment Circuit Breaker was triggered"
    stub.assert_no_pending_responses()


def test_nothing_to_update_is_no_error(capsys):
    client, stub = stubbed(described("UPDATE_COMPLETE"), events())
    stub.add_client_error("update_stack", "ValidationError", "No updates are to be performed.")
    Stack("s", client).deploy("{}", PARAMETERS)
    assert "as it should be already" in capsys.readouterr().out


def test_a_wait_without_end_ends():
    calls = [described("UPDATE_COMPLETE"), events()]
    calls += [("update_stack", {"StackId": "s"}), described("UPDATE_IN_PROGRESS"), events()]
    client, _ = stubbed(*calls)
    with pytest.raises(ReleaseError, match="still UPDATE_IN_PROGRESS after 0 seconds"):
        Stack("s", client, pause=0, timeout=0).deploy("{}", PARAMETERS)


def test_a_template_with_the_tags_of_cloudformation_is_read():
    template = 'Parameters:\n  Name: {Type: String}\n  Cpu: {Type: Number}\nResources:\n  A: !Sub "${Name}"\n'
    assert parameters_of(template) == {"Name", "Cpu"}
    assert parameters_of("Resources: {}") == set()
