"""Put an image into service: deploy the service stack with it, wait until it is stable, print the address.

    python -m deploy.release 123456789012.dkr.ecr.eu-central-1.amazonaws.com/seefood102@sha256:...
    python -m deploy.release IMAGE --set MaxTasks=8 --set "Spot=true AlarmEmail=ada@example.org"

Credentials and region come from the standard AWS chain. What is not set keeps the value that it has in the stack, or
the template's default. ECS puts the last image back if the new one does not come up; the exit code is then 1, and
`python -m deploy.report` says why.
"""

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parent / "service.yaml"
LARGEST = 51_200  # bytes of a template that CloudFormation takes in a request
BROKEN = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")  # can only be deleted
DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE")


class ReleaseError(Exception):
    """The stack did not get there."""


class Stack:
    """One CloudFormation stack.

        stack = Stack("seefood102-service")
        stack.deploy(Path("deploy/service.yaml").read_text(), {"ImageUri": "...@sha256:..."})
        stack.outputs()["Url"]

    Attributes:
        name: the stack's name.
    """

    def __init__(self, name: str, client: Any = None, *, pause: float = 10, timeout: float = 2700):
        """
        Args:
            name: the stack's name.
            client: boto3's CloudFormation client; default: the standard AWS chain.
            pause: seconds between two looks.
            timeout: seconds after which waiting ends; the role's session lasts an hour.
        """
        import boto3

        self.name, self._pause, self._timeout = name, pause, timeout
        self._client = client or boto3.client("cloudformation")

    def description(self) -> dict[str, Any] | None:
        """What CloudFormation says of the stack, or None if there is none."""
        from botocore.exceptions import ClientError

        try:
            return dict(self._client.describe_stacks(StackName=self.name)["Stacks"][0])
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise

    def outputs(self) -> dict[str, str]:
        found = self.description() or {}
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}

    def parameters(self) -> dict[str, str]:
        """What the stack was given the last time; nothing if there is none."""
        found = self.description() or {}
        return {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in found.get("Parameters", [])}

    def deploy(self, template: str, parameters: dict[str, str], *, role: str | None = None) -> None:
        """Create or update the stack, and wait; raises ReleaseError when it does not get there.

        A stack whose creation failed is left standing, so that its tasks can be asked for their reasons, and deleted
        when it is deployed the next time.
        """
        if len(template.encode()) > LARGEST:
            raise ReleaseError(f"The template has over {LARGEST} bytes: CloudFormation would want it in a bucket.")
        found = self.description()
        if found and found["StackStatus"] in BROKEN:
            print(f"{self.name} is {found['StackStatus']}, and of no use: deleting it.")
            self._client.delete_stack(StackName=self.name)
            self._wait(("DELETE_COMPLETE",), set())
            found = None
        request: dict[str, Any] = {
            "StackName": self.name,
            "TemplateBody": template,
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            **({"RoleARN": role} if role else {}),
        }
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        before = {event["EventId"] for event in self._events()} if found else set()
        if found is None:
            self._client.create_stack(**request, Parameters=given, OnFailure="DO_NOTHING")
        elif not self._update(request, given + self._kept(found, template, parameters)):
            print(f"{self.name} is as it should be already.")
            return
        self._wait(DONE, before)

    def _update(self, request: dict[str, Any], parameters: list[dict[str, Any]]) -> bool:
        """Whether there was anything to update."""
        from botocore.exceptions import ClientError

        try:
            self._client.update_stack(**request, Parameters=parameters)
        except ClientError as error:
            if "No updates are to be performed" in str(error):
                return False
            raise
        return True

    def _kept(self, found: dict[str, Any], template: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        """The parameters that keep the value they have in the stack."""
        known = parameters_of(template)
        had = {parameter["ParameterKey"] for parameter in found.get("Parameters", [])}
        return [{"ParameterKey": key, "UsePreviousValue": True} for key in sorted(known & had - parameters.keys())]

    def _events(self) -> list[dict[str, Any]]:
        """The stack's latest events, the oldest first."""
        return list(reversed(self._client.describe_stack_events(StackName=self.name)["StackEvents"]))

    def _wait(self, wanted: tuple[str, ...], seen: set[str]) -> None:
        """Print the stack's events until it rests; raises ReleaseError if it does not rest as wanted."""
        deadline, failures = time.monotonic() + self._timeout, []
        while True:
            found = self.description()
            status = found["StackStatus"] if found else "DELETE_COMPLETE"
            for event in self._events() if found else []:
                if event["EventId"] in seen:
                    continue
                seen.add(event["EventId"])
                words = f"{event['ResourceStatus']} {event['LogicalResourceId']}"
                reason = event.get("ResourceStatusReason", "")
                print(f"{event['Timestamp']:%H:%M:%S} {words} {reason}".rstrip(), flush=True)
                if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason:
                    failures.append(f"{event['LogicalResourceId']}: {reason}")
            if status in wanted:
                return
            if not status.endswith(("_IN_PROGRESS", "_PENDING")):
                raise ReleaseError("\n".join([f"{self.name} is {status}.", *failures]))
            if time.monotonic() >= deadline:
                raise ReleaseError(f"{self.name} is still {status} after {self._timeout:.0f} seconds.")
            time.sleep(self._pause)


def parameters_of(template: str) -> set[str]:
    """The names of a template's parameters; read as nodes, since its tags (!Sub) mean nothing to YAML."""
    import yaml

    root = yaml.compose(template, yaml.SafeLoader)
    sections = {key.value: value for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    section = sections.get("Parameters")
    return {key.value for key, _ in section.value} if isinstance(section, yaml.MappingNode) else set()


def release(name: str, image: str, parameters: dict[str, str], template: Path = TEMPLATE, client: Any = None) -> str:
    """Deploy `<name>-service` with an image, named by its digest, and return the service's address.

    Raises:
        ReleaseError: the stack, or the one that it stands on, did not get there.
    """
    foundation = foundation_of(name, client)
    stack = Stack(f"{name}-service", client)
    given = settings_of(name, image, foundation, parameters)
    stack.deploy(template.read_text(), given, role=foundation.get("ServiceRoleArn"))
    return stack.outputs()["Url"]


def foundation_of(name: str, client: Any = None) -> dict[str, str]:
    """The outputs of the stack on which the service's stands."""
    outputs = Stack(f"{name}-foundation", client).outputs()
    if not outputs:
        raise ReleaseError(f"There is no stack {name}-foundation in this account and region. Deploy it first.")
    return outputs


def settings_of(name: str, image: str, foundation: dict[str, str], parameters: dict[str, str]) -> dict[str, str]:
    """The parameters that the service's stack is given."""
    if not re.search(r"@sha256:[0-9a-f]{64}$", image):
        raise ReleaseError(f"{image}: names no digest. Write repository@sha256:..., as deploy.push prints it.")
    below = {key: foundation[key] for key in ("LogGroupName", "BucketName") if key in foundation}
    return {"Name": name, "ImageUri": image, **below, **parameters}


def settings(text: str) -> list[tuple[str, str]]:
    """The pairs of "Name=value Name=value"; a value has no space in it."""
    pairs = [word.partition("=") for word in text.split()]
    for key, equals, _ in pairs:
        if not equals:
            raise argparse.ArgumentTypeError(f"{key}: write Name=value")
    return [(key, value) for key, _, value in pairs]


def main() -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="repository@sha256:digest")
    parser.add_argument("--name", default="seefood102", help="what the stacks' names begin with (default: %(default)s)")
    parser.add_argument("--template", type=Path, default=TEMPLATE)
    parser.add_argument("--set", type=settings, action="extend", default=[], metavar="NAME=VALUE ...", dest="settings")
    parser.add_argument("--only-print", action="store_true", help="print the settings, as options for deploy.doctor")
    arguments = parser.parse_args()
    try:
        if arguments.only_print:
            given = settings_of(
                arguments.name, arguments.image, foundation_of(arguments.name), dict(arguments.settings)
            )
            kept = Stack(f"{arguments.name}-service").parameters()
            print("\n".join(f"--set={key}={value}" for key, value in (kept | given).items()))
            return 0
        print(release(arguments.name, arguments.image, dict(arguments.settings), arguments.template))
    except (ReleaseError, BotoCoreError, ClientError) as error:
        print(f"{error}\n`python -m deploy.report --name {arguments.name}` says what the tasks say.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
