"""Why did the service not come up? What ECS, the load balancer and the log say of it, in one place.

    python -m deploy.report                    of the stack seefood102-service
    python -m deploy.report --name mine        of mine-service

Reads and changes nothing. ECS forgets a stopped task after an hour: ask before.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

EVENTS, TASKS, LINES = 10, 5, 40


def report(name: str = "seefood102", session: Any = None) -> Iterator[str]:
    """The report, line by line.

    Args:
        name: what the stacks' names begin with.
        session: a boto3 session; default: the standard AWS chain.
    """
    import boto3

    session = session or boto3.Session()
    resources = resources_of(f"{name}-service", session.client("cloudformation"))
    cluster, service_id = resources.get("AWS::ECS::Cluster"), resources.get("AWS::ECS::Service")
    if not cluster or not service_id:
        yield f"The stack {name}-service has no ECS service: it failed before that was made. Its events say why."
        return
    ecs = session.client("ecs")
    services = ecs.describe_services(cluster=cluster, services=[service_id])["services"]
    for service in services:
        yield from deployments_of(service)
        yield from targets_of(service, session.client("elbv2"))
    yield from tasks_of(cluster, services, ecs, session.client("logs"))


def resources_of(stack: str, cloudformation: Any) -> dict[str, str]:
    """The identifiers of a stack's resources by type; a stack whose creation failed has these, and no outputs."""
    found = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
    return {resource["ResourceType"]: resource.get("PhysicalResourceId", "") for resource in found}


def deployments_of(service: dict[str, Any]) -> Iterator[str]:
    yield f"Service {service['serviceName']}: {service['runningCount']} of {service['desiredCount']} tasks run"
    for deployment in service.get("deployments", []):
        state = deployment.get("rolloutState", deployment["status"])
        failed = deployment.get("failedTasks", 0)
        reason = deployment.get("rolloutStateReason", "")
        definition = deployment["taskDefinition"].rpartition("/")[2]
        yield f"  deployment of {definition}: {state}, {failed} tasks failed. {reason}".rstrip()
    for event in service.get("events", [])[:EVENTS]:
        yield f"  {event['createdAt']:%H:%M:%S} {event['message']}"


def targets_of(service: dict[str, Any], balancer: Any) -> Iterator[str]:
    """Why the load balancer sends nothing to a task."""
    for group in service.get("loadBalancers", []):
        if not group.get("targetGroupArn"):
            continue
        answer = balancer.describe_target_health(TargetGroupArn=group["targetGroupArn"])
        for target in answer["TargetHealthDescriptions"]:
            health, address = target["TargetHealth"], f"{target['Target']['Id']}:{target['Target'].get('Port')}"
            words = [health["State"], health.get("Reason", ""), health.get("Description", "")]
            yield f"  target {address}: {' '.join(word for word in words if word)}"


def tasks_of(cluster: str, services: list[dict[str, Any]], ecs: Any, logs: Any) -> Iterator[str]:
    """Each stopped task of the services: why it stopped, its containers' exit codes, and the last it wrote."""
    arns = [
        arn
        for service in services
        for arn in ecs.list_tasks(cluster=cluster, serviceName=service["serviceName"], desiredStatus="STOPPED")[
            "taskArns"
        ]
    ]
    tasks = ecs.describe_tasks(cluster=cluster, tasks=arns[:100])["tasks"] if arns else []
    if not tasks:
        yield "No stopped tasks: either none was started (the events say why), or they stopped more than an hour ago."
    latest = sorted(tasks, key=lambda task: str(task.get("stoppedAt", task.get("createdAt", ""))), reverse=True)
    for task in latest[:TASKS]:
        number = task["taskArn"].rpartition("/")[2]
        code = f" ({task['stopCode']})" if task.get("stopCode") else ""
        yield f"Task {number} stopped: {task.get('stoppedReason', 'no reason given')}{code}"
        definition = ecs.describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
        options = {
            container["name"]: container.get("logConfiguration", {}).get("options", {})
            for container in definition["containerDefinitions"]
        }
        for container in task.get("containers", []):
            yield f"  container {container['name']}: {'; '.join(ending_of(container))}"
            yield from log_of(options.get(container["name"], {}), container["name"], number, logs)


def ending_of(container: dict[str, Any]) -> Iterator[str]:
    yield f"exit code {container['exitCode']}" if "exitCode" in container else "never ran"
    if container.get("reason"):
        yield container["reason"]
    if container.get("healthStatus", "UNKNOWN") != "UNKNOWN":
        yield f"health {container['healthStatus']}"


def log_of(options: dict[str, str], container: str, task: str, logs: Any) -> Iterator[str]:
    """The last lines that a container wrote to CloudWatch Logs."""
    group, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix")
    if not group or not prefix:
        yield "    (it has no log: its task definition names no awslogs-group and -stream-prefix)"
        return
    try:
        events = logs.get_log_events(
            logGroupName=group, logStreamName=f"{prefix}/{container}/{task}", limit=LINES, startFromHead=False
        )["events"]
    except logs.exceptions.ResourceNotFoundException:
        yield f"    (it wrote no line to {group}: it did not get as far, or the group is missing)"
        return
    yield from (f"    | {event['message'].rstrip()}" for event in events)


def main() -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="seefood102", help="what the stacks' names begin with (default: %(default)s)")
    try:
        for line in report(parser.parse_args().name):
            print(line)
    except (BotoCoreError, ClientError) as error:
        print(f"The report ends here: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
