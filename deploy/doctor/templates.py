"""A CloudFormation template with its parameters filled in, as far as that can be known before AWS has made anything."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PSEUDO = {"AWS::Partition": "aws", "AWS::AccountId": "123456789012", "AWS::Region": "eu-central-1"}
_NOTHING = object()


class Template:
    """`resources` has each resource whose condition holds, its parameters, conditions and mappings resolved.

    What only AWS knows stays as it is written: {"Ref": "TargetGroup"}.
    """

    def __init__(self, path: Path, values: Mapping[str, str]):
        from cfnlint.decode import cfn_yaml  # reads !Ref and the like

        self.path = path
        self._source: dict[str, Any] = cfn_yaml.load(str(path))
        self.parameters: dict[str, str] = {
            name: values.get(name, str(body.get("Default", ""))) for name, body in self._source["Parameters"].items()
        }
        self.resources: dict[str, dict[str, Any]] = {
            name: {key: self._resolved(value) for key, value in body.items() if key != "Metadata"}
            for name, body in self._source["Resources"].items()
            if "Condition" not in body or self._holds(body["Condition"])
        }

    def of_type(self, suffix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The resources whose type ends in `suffix` ("ECS::Service"): their names and properties."""
        for name, body in self.resources.items():
            if body["Type"].endswith(suffix):
                yield name, body.get("Properties", {})

    def only(self, suffix: str) -> dict[str, Any]:
        """The properties of the one resource of that type; empty when there is none."""
        return next((properties for _, properties in self.of_type(suffix)), {})

    def _holds(self, condition: str) -> bool:
        return bool(self._resolved(self._source["Conditions"][condition]))

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self._resolved, value) if item is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._called(function.removeprefix("Fn::"), argument)
        resolved = {key: self._resolved(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not _NOTHING}

    def _called(self, function: str, argument: Any) -> Any:
        if function == "Ref":
            return self._named(argument)
        if function == "If":
            return self._resolved(argument[1] if self._holds(argument[0]) else argument[2])
        if function == "Sub":
            return self._substituted(argument)
        arguments = self._resolved(argument)
        match function:
            case "Equals":
                return arguments[0] == arguments[1]
            case "Not":
                return not arguments[0]
            case "Or":
                return any(arguments)
            case "FindInMap":
                return self._source["Mappings"][arguments[0]][arguments[1]][arguments[2]]
            case "Join" if all(isinstance(item, str) for item in arguments[1]):
                return arguments[0].join(arguments[1])
        return {f"Fn::{function}": arguments}

    def _named(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in self.parameters:
            value = self.parameters[name]
            is_list = self._source["Parameters"][name]["Type"] == "CommaDelimitedList"
            return [item for item in value.split(",") if item] if is_list else value
        return _PSEUDO.get(name, {"Ref": name})

    def _substituted(self, argument: Any) -> str:
        text, names = argument if isinstance(argument, list) else (argument, {})

        def put(match: re.Match[str]) -> str:
            name = match[1]
            value = self._resolved(names[name]) if name in names else self._named(name)
            return value if isinstance(value, str) else match[0]

        return re.sub(r"\$\{([^}!]+)\}", put, text)


def target(reference: Any) -> str:
    """The resource that {"Ref": name} or {"Fn::GetAtt": [name, ...]} names; "" for anything else."""
    if isinstance(reference, dict):
        if "Ref" in reference:
            return str(reference["Ref"])
        attribute = reference.get("Fn::GetAtt", [""])
        return str(attribute[0] if isinstance(attribute, list) else attribute.split(".")[0])
    return ""


def container_of(template: Template) -> dict[str, Any]:
    """The definition of the task's container."""
    return next(iter(template.only("ECS::TaskDefinition").get("ContainerDefinitions", [])), {})


def environment(container: dict[str, Any]) -> dict[str, str]:
    """What a container definition sets."""
    return {entry["Name"]: entry["Value"] for entry in container.get("Environment", [])}
