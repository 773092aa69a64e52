"""The report of a failed deployment, on answers of the shape that ECS gives. moto runs no task that could fail."""

from datetime import datetime

import boto3
import pytest
from botocore.stub import Stubber

from deploy.report import report

NOW = datetime(2025, 1, 2, 3, 4, 5)
ACCOUNT = "arn:aws:ecs:eu-central-1:123456789012"
SERVICE, TASK = f"{ACCOUNT}:service/seefood102/seefood102", f"{ACCOUNT}:task/seefood102/0123456789abcdef"
DEFINITION = f"{ACCOUNT}:task-definition/seefood102:7"
GROUP = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/seefood102/0123456789abcdef"


class Session:
    """A boto3 session whose clients answer what they are told, in order, and refuse any other call."""

    def __init__(self):
        self.stubs = {}

    def client(self, name):
        if name not in self.stubs:
            client = boto3.client(name, "eu-central-1", aws_access_key_id="testing", aws_secret_access_key="testing")  # noqa: S106
            self.stubs[name] = Stubber(client)
            self.stubs[name].activate()
        return self.stubs[name].client

    def answer(self, name, call, answer, asked=None):
        self.client(name)
        self.stubs[name].add_response(call, answer, asked)


@pytest.fixture
def failed():
    """A deployment of task definition 7 that ECS has rolled back; what its task left is up to the test."""
    session = Session()
    resources = {"AWS::ECS::Cluster": "seefood102", "AWS::ECS::Service": SERVICE}
    session.answer(
        "cloudformation",
        "describe_stack_resources",
        {
            "StackResources": [
                {
                    "LogicalResourceId": kind[-7:],
                    "PhysicalResourceId": name,
                    "ResourceType": kind,
                    "Timestamp": NOW,
                    "ResourceStatus": "CREATE_COMPLETE",
                }
                for kind, name in resources.items()
            ]
        },
        {"StackName": "seefood102-service"},
    )
    service = {
        "serviceName": "seefood102",
        "runningCount": 0,
        "desiredCount": 1,
        "loadBalancers": [{"targetGroupArn": GROUP, "containerName": "seefood102", "containerPort": 7860}],
        "deployments": [
            {
                "status": "PRIMARY",
                "taskDefinition": DEFINITION,
                "rolloutState": "FAILED",
                "rolloutStateReason": "ECS deployment circuit breaker: tasks failed to start.",
                "failedTasks": 3,
            }
        ],
        "events": [{"id": "1", "createdAt": NOW, "message": "(service seefood102) is unable to place a task"}],
    }
    asked = {"cluster": "seefood102", "services": [SERVICE]}
    session.answer("ecs", "describe_services", {"services": [service]}, asked)
    session.answer(
        "elbv2",
        "describe_target_health",
        {
            "TargetHealthDescriptions": [
                {
                    "Target": {"Id": "10.0.0.7", "Port": 7860},
                    "TargetHealth": {
                        "State": "unhealthy",
                        "Reason": "Target.ResponseCodeMismatch",
                        "Description": "Health checks failed with these codes: [503]",
                    },
                }
            ]
        },
        {"TargetGroupArn": GROUP},
    )
    return session


def stopped(session, container, reason="Essential container in task exited", options=None):
    """Let the deployment have left one task, with this container."""
    asked = {"cluster": "seefood102", "serviceName": "seefood102", "desiredStatus": "STOPPED"}
    session.answer("ecs", "list_tasks", {"taskArns": [TASK]}, asked)
    task = {
        "taskArn": TASK,
        "taskDefinitionArn": DEFINITION,
        "stoppedReason": reason,
        "stopCode": "TaskFailedToStart",
        "stoppedAt": NOW,
        "containers": [{"name": "seefood102", **container}],
    }
    session.answer("ecs", "describe_tasks", {"tasks": [task]}, {"cluster": "seefood102", "tasks": [TASK]})
    log = {"logConfiguration": {"logDriver": "awslogs", "options": options}} if options else {}
    definition = {"containerDefinitions": [{"name": "seefood102", **log}]}
    asked = {"taskDefinition": DEFINITION}
    session.answer("ecs", "describe_task_definition", {"taskDefinition": definition}, asked)


LOG = {"awslogs-group": "/seefood102", "awslogs-stream-prefix": "app"}
STREAM = {"logGroupName": "/seefood102", "logStreamName": "app/seefood102/0123456789abcdef"}


def test_a_container_that_ended_is_reported_with_its_exit_code_and_its_last_lines(failed):
    stopped(failed, {"exitCode": 1, "reason": "OutOfMemoryError", "healthStatus": "UNHEALTHY"}, options=LOG)
    lines = {"events": [{"message": "app.py: models/seefood.onnx: no such model file.\n"}]}
    asked = {**STREAM, "limit": 40, "startFromHead": False}
    failed.answer("logs", "get_log_events", lines, asked)
    text = "\n".join(report(session=failed))
    assert "0 of 1 tasks run" in text
    assert "seefood102:7: FAILED, 3 tasks failed. ECS deployment circuit breaker: tasks failed to start." in text
    assert "03:04:05 (service seefood102) is unable to place a task" in text
    assert "target 10.0.0.7:7860: unhealthy Target.ResponseCodeMismatch Health checks failed with these codes" in text
    assert "Task 0123456789abcdef stopped: Essential container in task exited (TaskFailedToStart)" in text
    assert "container seefood102: exit code 1; OutOfMemoryError; health UNHEALTHY" in text
    assert "    | app.py: models/seefood.onnx: no such model file." in text
    for stub in failed.stubs.values():
        stub.assert_no_pending_responses()


def test_a_task_that_never_ran_has_its_reason_and_says_that_there_is_no_log(failed):
    reason = "CannotPullContainerError: pull image manifest has been retried 5 time(s)"
    stopped(failed, {"reason": reason}, reason=reason, options=LOG)
    failed.client("logs")
    failed.stubs["logs"].add_client_error("get_log_events", "ResourceNotFoundException")
    text = "\n".join(report(session=failed))
    assert f"stopped: {reason}" in text
    assert f"container seefood102: never ran; {reason}" in text
    assert "it wrote no line to /seefood102" in text


def test_a_task_definition_without_a_log_is_named_as_such(failed):
    stopped(failed, {"exitCode": 137})
    assert "it has no log: its task definition names no awslogs-group" in "\n".join(report(session=failed))


def test_no_stopped_task_is_said_too(failed):
    failed.answer("ecs", "list_tasks", {"taskArns": []})
    assert "No stopped tasks" in list(report(session=failed))[-1]


def test_a_stack_that_failed_before_its_service_was_made_refers_to_its_events():
    session = Session()
    session.answer("cloudformation", "describe_stack_resources", {"StackResources": []}, {"StackName": "mine-service"})
    (line,) = report("mine", session)
    assert "mine-service has no ECS service" in line
