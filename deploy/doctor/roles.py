"""What the roles allow and whom they trust, in foundation.yaml and, the same way, in the account."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from deploy.doctor.findings import Finding
from deploy.doctor.templates import Template, container_of

_TO_START = [
    "ecr:GetAuthorizationToken",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
]
_SUBJECT = "token.actions.githubusercontent.com:sub"


def check_roles(foundation: Template, service: Template, subjects: list[str]) -> Iterator[Finding]:
    """Whether the foundation has the task's execution role, with its rights, and GitHub's roles trust each subject."""
    roles = dict(foundation.of_type("IAM::Role"))
    wanted = execution_role(service)
    execution = next((role for role in roles.values() if role["RoleName"] == wanted), None)
    if execution is None:
        yield Finding(
            "execution-role", f"The task's execution role is {wanted or 'not named'}: {foundation.path} has none."
        )
    else:
        policies = [policy["PolicyDocument"] for policy in execution.get("Policies", [])]
        yield from check_execution(policies, service)
    for name in ("PushRole", "DeployRole", "DriftRole"):
        yield from check_trust(name, roles[name]["AssumeRolePolicyDocument"], subjects)


def execution_role(service: Template) -> str:
    """The name of the role by which ECS starts the task; "" when it names none."""
    return str(service.only("ECS::TaskDefinition").get("ExecutionRoleArn", "")).rpartition("/")[2]


def creates_log_group(service: Template) -> bool:
    options = container_of(service).get("LogConfiguration", {}).get("Options", {})
    return str(options.get("awslogs-create-group", "false")).lower() == "true"


def check_execution(policies: Iterable[dict[str, Any]], service: Template) -> Iterator[Finding]:
    statements = [statement for policy in policies for statement in listed(policy["Statement"])]
    allowed = [action for s in statements if s["Effect"] == "Allow" for action in listed(s["Action"])]
    needed = [*_TO_START, *(["logs:CreateLogGroup"] if creates_log_group(service) else [])]
    lacking = [action for action in needed if not any(fnmatchcase(action, pattern) for pattern in allowed)]
    if lacking:
        yield Finding("execution-role", f"The execution role lacks {', '.join(lacking)}.")


def check_trust(name: str, document: dict[str, Any], subjects: list[str]) -> Iterator[Finding]:
    trusted = [
        pattern
        for statement in listed(document["Statement"])
        for operator, condition in statement.get("Condition", {}).items()
        if operator in ("StringEquals", "StringLike")
        for pattern in listed(condition.get(_SUBJECT, []))
        if pattern  # moto has a None where the template has AWS::NoValue
    ]
    missing = [subject for subject in subjects if not any(fnmatchcase(subject, pattern) for pattern in trusted)]
    if missing:
        yield Finding(
            "subject-not-trusted", f"{name} does not trust {missing[0]}, only {', '.join(trusted) or 'nobody'}."
        )


def listed(value: Any) -> list[Any]:
    """IAM writes a list of one without its brackets."""
    return value if isinstance(value, list) else [value]
