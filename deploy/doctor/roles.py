"""What the roles allow and whom they trust, in foundation.yaml and, the same way, in the account."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from deploy.doctor.findings import Finding
from deploy.doctor.templates import Template

_TO_START = [
    "ecr:GetAuthorizationToken",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
]
_SUBJECT = "token.actions.githubusercontent.com:sub"


def check_roles(template: Template, subjects: list[str]) -> Iterator[Finding]:
    """Of the foundation: the execution role's rights, and that the roles for GitHub trust each of `subjects`."""
    for name, role in template.of_type("IAM::Role"):
        statements = [s for policy in role.get("Policies", []) for s in listed(policy["PolicyDocument"]["Statement"])]
        if name == "ExecutionRole":
            yield from check_execution(statements)
        if name in ("PushRole", "DeployRole", "DriftRole"):
            yield from check_trust(name, role["AssumeRolePolicyDocument"], subjects)


def check_execution(statements: Iterable[dict[str, Any]]) -> Iterator[Finding]:
    allowed = [action for s in statements if s["Effect"] == "Allow" for action in listed(s["Action"])]
    lacking = [action for action in _TO_START if not any(fnmatchcase(action, pattern) for pattern in allowed)]
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
