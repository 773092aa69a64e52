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
from pathlib import Path
from typing import Any

from deploy.stack import ReleaseError, Stack

TEMPLATE = Path(__file__).parent / "service.yaml"


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
