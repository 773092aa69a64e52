"""What Dockerfile and workflow tell, against the task that would run the image."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.doctor.command import check_command
from deploy.doctor.findings import Finding
from deploy.doctor.templates import Template, container_of, environment

_ARCHITECTURES = {"X86_64": "amd64", "ARM64": "arm64"}


def check_dockerfile(path: Path, template: Template) -> Iterator[Finding]:
    text = re.sub(r"\\\n", " ", path.read_text())
    container = container_of(template)
    port = environment(container).get("GRADIO_SERVER_PORT")
    exposed = re.findall(r"^EXPOSE\s+(\d+)", text, re.M) + re.findall(r"GRADIO_SERVER_PORT=\"?(\d+)", text)
    if any(other != port for other in exposed):
        yield Finding("ports-differ", f"{path} has port {', '.join(exposed)}, the task {port}.")
    if container.get("ReadonlyRootFilesystem") and not re.search(r"^VOLUME\s.*/tmp", text, re.M):
        yield Finding("temporary-not-writable", f"{path} declares no VOLUME /tmp, so that Fargate mounts it as root's.")
    yield from check_command(path, template)
    yield from _architecture(path, re.findall(r"^FROM\s+--platform=linux/(\w+)", text, re.M), template)


def check_workflow(path: Path, template: Template) -> Iterator[Finding]:
    import yaml

    text = path.read_text()
    workflow = yaml.safe_load(text)
    for name, job in workflow["jobs"].items():
        if not any("configure-aws-credentials" in step.get("uses", "") for step in job.get("steps", [])):
            continue
        permissions = job.get("permissions", workflow.get("permissions", {}))
        if permissions != "write-all" and (not isinstance(permissions, dict) or permissions.get("id-token") != "write"):
            yield Finding("no-id-token", f"{path}: the job {name} signs in to AWS without id-token: write.")
        if "environment" in job:  # GitHub then signs repo:...:environment:..., whatever the branch
            what = f"{path}: the job {name} has an environment, and so another subject than its branch."
            yield Finding("subject-not-trusted", what)
    port = environment(container_of(template)).get("GRADIO_SERVER_PORT")
    published = re.findall(r"(?:-p|--publish)[= ]\S*?:(\d+)\s", text)
    if any(other != port for other in published):
        yield Finding("ports-differ", f"{path} publishes port {', '.join(published)}, the task has {port}.")
    yield from _architecture(path, re.findall(r"--platform[= ]linux/(\w+)|platforms:\s*linux/(\w+)", text), template)


def _architecture(path: Path, platforms: list[Any], template: Template) -> Iterator[Finding]:
    named = {"".join(platform) for platform in platforms}
    wanted = _ARCHITECTURES[template.parameters["CpuArchitecture"]]
    if named and wanted not in named:
        yield Finding("wrong-architecture", f"{path} builds for {', '.join(sorted(named))}, the task is {wanted}.")
