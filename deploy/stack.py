"""A CloudFormation stack: created or updated, watched until it rests, and asked for its outputs."""

import time
from typing import Any

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
