"""Putting an image into service, on moto's CloudFormation; that ECS rolls back, only AWS can show."""

import json
import sys

import boto3
import pytest
from moto import mock_aws
from moto.cloudformation.models import cloudformation_backends

from deploy import release as module
from deploy.release import release
from deploy.stack import ReleaseError, Stack

IMAGE, LATER = (f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/seefood102@sha256:{digit * 64}" for digit in "ab")
FOUNDATION = {
    "Resources": {"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/seefood102"}}},
    "Outputs": {"LogGroupName": {"Value": "/seefood102"}, "BucketName": {"Value": "weights"}},
}
NAMES = ("Name", "ImageUri", "LogGroupName", "BucketName")
SERVICE = {
    "Parameters": {**{name: {"Type": "String"} for name in NAMES}, "MaxTasks": {"Type": "Number", "Default": 4}},
    "Resources": {"Tasks": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Ref": "MaxTasks"}}}},
    "Outputs": {"Url": {"Value": {"Fn::Sub": "http://${Name}/${LogGroupName}/${BucketName}/${MaxTasks}/${ImageUri}"}}},
}


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "service.json"
    path.write_text(json.dumps(SERVICE))
    return path


@pytest.fixture
def cloud(monkeypatch):
    """An account with the foundation stack."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("cloudformation")
        client.create_stack(StackName="seefood102-foundation", TemplateBody=json.dumps(FOUNDATION))
        yield client


def test_the_first_release_makes_the_stack_on_the_foundation_and_returns_its_address(cloud, template):
    url = release("seefood102", IMAGE, {}, template)
    assert url == f"http://seefood102//seefood102/weights/4/{IMAGE}"


def test_the_next_release_has_its_own_image_and_keeps_what_was_set_before(cloud, template):
    release("seefood102", IMAGE, {"MaxTasks": "8"}, template)
    assert release("seefood102", LATER, {}, template).endswith(f"/8/{LATER}")
    assert release("seefood102", LATER, {"MaxTasks": "2"}, template).endswith(f"/2/{LATER}")


def test_a_stack_whose_creation_failed_is_deleted_and_made_anew(cloud, template, capsys):
    release("seefood102", IMAGE, {"MaxTasks": "8"}, template)
    (backend,) = [each["eu-central-1"] for each in cloudformation_backends.values() if "eu-central-1" in each]
    (broken,) = [stack for stack in backend.stacks.values() if stack.name == "seefood102-service"]
    broken.status = "CREATE_FAILED"
    assert release("seefood102", LATER, {}, template).endswith(f"/4/{LATER}")  # the default, not what was
    assert "is CREATE_FAILED, and of no use: deleting it" in capsys.readouterr().out


@pytest.mark.parametrize("image", ["seefood102:latest", "seefood102@sha256:abc"])
def test_an_image_that_is_not_named_by_its_digest_is_refused(image, cloud, template):
    with pytest.raises(ReleaseError, match="names no digest"):
        release("seefood102", image, {}, template)


def test_without_the_foundation_it_says_what_to_do_first(cloud, template):
    with pytest.raises(ReleaseError, match="no stack mine-foundation in this account"):
        release("mine", IMAGE, {}, template)


def test_the_command_fails_when_the_release_does_and_names_the_report(cloud, template, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["release", IMAGE, "--name", "mine", "--template", str(template)])
    assert module.main() == 1
    assert "python -m deploy.report --name mine" in capsys.readouterr().err


def test_settings_are_given_one_by_one_or_several_in_one_word_and_none_is_none(cloud, template, capsys, monkeypatch):
    arguments = ["--template", str(template), "--set", "", "--set", "MaxTasks=3 BucketName=", "--set=LogGroupName=mine"]
    monkeypatch.setattr(sys, "argv", ["release", IMAGE, *arguments])
    assert module.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"http://seefood102/mine//3/{IMAGE}"
    monkeypatch.setattr(sys, "argv", ["release", IMAGE, "--set", "MaxTasks"])
    with pytest.raises(SystemExit):
        module.main()
    assert "MaxTasks: write Name=value" in capsys.readouterr().err


def test_the_settings_are_printed_as_the_doctors_options_and_nothing_is_deployed(cloud, template, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["release", IMAGE, "--set", "MaxTasks=8", "--only-print"])
    assert module.main() == 0
    expected = ["Name=seefood102", f"ImageUri={IMAGE}", "LogGroupName=/seefood102", "BucketName=weights", "MaxTasks=8"]
    assert capsys.readouterr().out.splitlines() == [f"--set={setting}" for setting in expected]
    assert Stack("seefood102-service").description() is None


def test_what_the_stack_keeps_is_printed_for_the_doctor_too(cloud, template, capsys, monkeypatch):
    release("seefood102", LATER, {"MaxTasks": "8"}, template)
    monkeypatch.setattr(sys, "argv", ["release", IMAGE, "--only-print"])
    assert module.main() == 0
    assert {"--set=MaxTasks=8", f"--set=ImageUri={IMAGE}"} <= set(capsys.readouterr().out.splitlines())
