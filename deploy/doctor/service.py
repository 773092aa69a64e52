"""What service.yaml tells by itself."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.doctor.findings import Finding
from deploy.doctor.templates import Template, container_of, environment, target

_MEMORY = {  # MiB that Fargate has for each CPU, of those that the template takes
    256: [512, 1024, 2048],
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
}
_LEAST_CPU, _LEAST_MEMORY = 512, 1024
_SECONDS_TO_START = 20  # on one CPU, with room to spare; a part of a CPU takes as much longer


def check_service(template: Template, app: Path) -> Iterator[Finding]:
    task = template.only("ECS::TaskDefinition")
    service = template.only("ECS::Service")
    group = template.only("::TargetGroup")
    container = container_of(template)
    yield from _names_and_ports(container, service, group)
    yield from _health(container, group, app)
    yield from _size(task, container, service)
    if group.get("TargetType") != "ip":
        yield Finding("target-type", f"The target group has targets of type {group.get('TargetType', 'instance')}.")
    if not _waits_for_listener(template):
        yield Finding("no-listener", "The service does not wait for a listener that leads to its target group.")
    mounts = [mount["ContainerPath"] for mount in container.get("MountPoints", [])]
    if container.get("ReadonlyRootFilesystem") and "/tmp" not in mounts:  # noqa: S108
        yield Finding("temporary-not-writable", "The root file system is read-only, and nothing is mounted at /tmp.")


def _names_and_ports(container: dict[str, Any], service: dict[str, Any], group: dict[str, Any]) -> Iterator[Finding]:
    balanced: dict[str, Any] = next(iter(service.get("LoadBalancers", [])), {})
    if balanced.get("ContainerName") != container.get("Name"):
        names = f"{balanced.get('ContainerName')}, the task {container.get('Name')}"
        yield Finding("container-name", f"The service balances the container {names}.")
    ports = {
        "container": next((mapping["ContainerPort"] for mapping in container.get("PortMappings", [])), None),
        "app (GRADIO_SERVER_PORT)": environment(container).get("GRADIO_SERVER_PORT"),
        "service": balanced.get("ContainerPort"),
        "target group": group.get("Port"),
    }
    command = " ".join(container.get("HealthCheck", {}).get("Command", []))
    if asked := re.search(r"https?://[^/:\"' ]+:(\d+)", command):
        ports["health check of the container"] = asked[1]
    if group.get("HealthCheckPort", "traffic-port") != "traffic-port":
        ports["health check of the balancer"] = group["HealthCheckPort"]
    if len({str(port) for port in ports.values()}) > 1:
        yield Finding("ports-differ", "Ports differ: " + ", ".join(f"{name} {port}" for name, port in ports.items()))


def _health(container: dict[str, Any], group: dict[str, Any], app: Path) -> Iterator[Finding]:
    command = " ".join(container.get("HealthCheck", {}).get("Command", []))
    if not re.match(r"CMD(-SHELL)? python", command):
        yield Finding("health-command", f"The container health check is `{command}`.")
    routes = re.findall(r"Route\(\s*\"([^\"]+)\"(.*)", app.read_text()) if app.is_file() else []
    served = [path for path, rest in routes if "methods" not in rest]  # health checks ask by GET
    asked = {group.get("HealthCheckPath", "/"), *re.findall(r"https?://[^/\"']+(/[^\"' ]*)", command)}
    for path in sorted(asked - set(served)) if served else []:
        yield Finding("health-path", f"A health check asks for {path}, and {app} serves {', '.join(served)}.")


def _size(task: dict[str, Any], container: dict[str, Any], service: dict[str, Any]) -> Iterator[Finding]:
    cpu, memory = int(task["Cpu"]), int(task["Memory"])
    if memory not in _MEMORY.get(cpu, []):
        yield Finding("cpu-memory", f"Fargate has no task with Cpu {cpu} and Memory {memory}.")
        return
    memory = int(container.get("Memory", memory))  # a limit of its own, within the task's
    grace = int(service.get("HealthCheckGracePeriodSeconds", 0))
    if not grace:
        yield Finding("no-grace-period", "The balancer may stop a task before the app has started.")
        return
    start = _SECONDS_TO_START * max(1, 1024 / cpu)
    patience = min(grace, int(container.get("HealthCheck", {}).get("StartPeriod", 0)))
    if cpu < _LEAST_CPU or memory < _LEAST_MEMORY or patience < start:
        what = (
            f"With Cpu {cpu} and Memory {memory} the app starts in up to {start:.0f} s; the checks wait {patience} s."
        )
        yield Finding("starved-health-check", what)


def _waits_for_listener(template: Template) -> bool:
    """Whether the service depends on a listener that leads to its target group, or on a rule of that listener."""
    body = next(body for body in template.resources.values() if body["Type"] == "AWS::ECS::Service")
    waits = body.get("DependsOn", [])
    names = {waits} if isinstance(waits, str) else set(waits)
    names |= {target(rule["ListenerArn"]) for name, rule in template.of_type("::ListenerRule") if name in names}
    groups = {target(balanced["TargetGroupArn"]) for balanced in body["Properties"].get("LoadBalancers", [])}
    for name, listener in template.of_type("::Listener"):
        leads_to = {target(action.get("TargetGroupArn")) for action in listener["DefaultActions"]}
        if name in names and leads_to & groups:
            return True
    return False
