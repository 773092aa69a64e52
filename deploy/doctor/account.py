"""What the account has: asked by boto3, changing nothing."""

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

from deploy.doctor.findings import Finding
from deploy.doctor.roles import check_execution, check_trust, creates_log_group, execution_role
from deploy.doctor.templates import Template

_INDEX = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_SINGLE = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_ARCHITECTURES = {"X86_64": "amd64", "ARM64": "arm64"}


def check_account(session: Any, template: Template, subject: str) -> Iterator[Finding]:
    """Whatever `template`, the service's, takes from the account; `subject` is what GitHub will sign, "" if unknown."""
    values = template.parameters
    yield from _image(session.client("ecr"), values["ImageUri"], _ARCHITECTURES[values["CpuArchitecture"]])
    if not creates_log_group(template):
        yield from _log_group(session.client("logs"), values["LogGroupName"])
    yield from _bucket(session.client("s3"), values["BucketName"])
    yield from _roles(session.client("iam"), template, subject)
    subnets = [subnet for subnet in (values["TaskSubnetIds"] or values["SubnetIds"]).split(",") if subnet]
    if values["VpcId"] and subnets:
        yield from _subnets(session.client("ec2"), subnets, public_address=values["AssignPublicIp"] == "ENABLED")


def _image(ecr: Any, uri: str, wanted: str) -> Iterator[Finding]:
    if not uri:
        return
    parts = re.fullmatch(r"[^/]+/([^@:]+)(?:@(sha256:\w+)|:([\w.-]+))", uri)
    identifier = {"imageDigest": parts[2]} if parts and parts[2] else {"imageTag": parts[3] if parts else ""}
    try:
        images = ecr.batch_get_image(
            repositoryName=parts[1] if parts else uri, imageIds=[identifier], acceptedMediaTypes=[*_INDEX, *_SINGLE]
        )["images"]
    except ecr.exceptions.RepositoryNotFoundException:
        images = []
    if not images:
        yield Finding("no-image", f"ECR has no {uri}.")
        return
    has = _architectures(ecr, str(parts[1] if parts else uri), json.loads(images[0]["imageManifest"]))
    if has and wanted not in has:
        yield Finding("wrong-architecture", f"{uri} is for {', '.join(sorted(has))}, the task is {wanted}.")


def _architectures(ecr: Any, repository: str, manifest: dict[str, Any]) -> set[str]:
    if "manifests" in manifest:
        return {entry["platform"]["architecture"] for entry in manifest["manifests"] if "platform" in entry}
    digest = manifest["config"]["digest"]
    where = ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=digest)["downloadUrl"]
    with urllib.request.urlopen(where, timeout=30) as answer:  # noqa: S310 (the address is ECR's own)
        return {json.load(answer)["architecture"]}


def _log_group(logs: Any, name: str) -> Iterator[Finding]:
    groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"] if name else []
    if name not in {group["logGroupName"] for group in groups}:
        yield Finding("no-log-group", f"There is no log group {name or '(LogGroupName is not given)'}.")


def _bucket(s3: Any, name: str) -> Iterator[Finding]:
    from botocore.exceptions import ClientError, ParamValidationError

    try:
        s3.head_bucket(Bucket=name)
    except (ClientError, ParamValidationError) as error:
        yield Finding("bucket-not-reachable", f"Bucket {name or '(BucketName is not given)'}: {error}")


def _roles(iam: Any, template: Template, subject: str) -> Iterator[Finding]:
    try:
        iam.get_role(RoleName="AWSServiceRoleForECS")
    except iam.exceptions.NoSuchEntityException:
        yield Finding(
            "no-service-linked-role", "This account has never had an ECS service: AWSServiceRoleForECS is missing."
        )
    if execution := execution_role(template):  # a template that names none is a finding of its own
        try:
            policies = [
                iam.get_role_policy(RoleName=execution, PolicyName=policy)["PolicyDocument"]
                for policy in iam.list_role_policies(RoleName=execution)["PolicyNames"]
            ]
            yield from check_execution(policies, template)
        except iam.exceptions.NoSuchEntityException:
            yield Finding("execution-role", f"There is no role {execution}.")
    name = template.parameters["Name"]
    for role in (f"{name}-push", f"{name}-deploy") if subject else ():
        try:
            document = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        except iam.exceptions.NoSuchEntityException:
            document = {"Statement": []}
        yield from check_trust(role, document, [subject])


def _subnets(ec2: Any, subnets: list[str], *, public_address: bool) -> Iterator[Finding]:
    for subnet in ec2.describe_subnets(SubnetIds=subnets)["Subnets"]:
        vpc = {"Name": "vpc-id", "Values": [subnet["VpcId"]]}
        tables = ec2.describe_route_tables(Filters=[vpc])["RouteTables"]
        ours = [t for t in tables if any(a.get("SubnetId") == subnet["SubnetId"] for a in t["Associations"])]
        ours = ours or [t for t in tables if any(a.get("Main") for a in t["Associations"])]
        out = [r for table in ours for r in table["Routes"] if r.get("DestinationCidrBlock") == "0.0.0.0/0"]
        if any(str(route.get("GatewayId", "")).startswith("igw-") for route in out):
            if not public_address:
                yield Finding(
                    "no-public-address", f"{subnet['SubnetId']} is public, and the tasks get no public address."
                )
        elif not out:
            endpoints = ec2.describe_vpc_endpoints(Filters=[vpc])["VpcEndpoints"]
            names = {endpoint["ServiceName"].split(".", 3)[-1] for endpoint in endpoints}
            lacking = {"ecr.api", "ecr.dkr", "logs", "s3"} - names
            if lacking:
                yield Finding("no-route-to-ecr", f"{subnet['SubnetId']} has no way to {', '.join(sorted(lacking))}.")
