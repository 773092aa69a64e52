"""The commands of README's "Ship" and of docs/ship.md, run by bash as they stand; gh, aws and sleep are stand-ins.

What they are told is held against the templates and the workflow. That the real ones take it, only they can show.
"""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from serving import ROOT

from deploy.doctor.templates import Template

README, SHIP = (ROOT / "README.md").read_text(), (ROOT / "docs/ship.md").read_text()
STACKS = {f"seefood102-{name}": ROOT / f"deploy/{name}.yaml" for name in ("foundation", "service")}
STAND_IN = f"""#!{sys.executable}
import json, os, re, sys
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps(words), file=calls)
if words[:2] == ["gh", "api"] and "--jq" in words:
    repository = {{".owner.login": "ada", ".owner.id": "7", ".name": "food", ".id": "8"}}
    print(re.sub(r"\\\\\\((.*?)\\)", lambda match: repository[match[1]], words[-1].strip('"')))
elif words[:3] == ["gh", "run", "list"]:
    print(42)
elif "describe-stacks" in words:
    key = re.search(r"^Stacks\\[0\\]\\.Outputs\\[\\?OutputKey=='(\\w+)'\\]\\.OutputValue$", words[-1])[1]
    print(f"{{words[words.index('--stack-name') + 1]}}-{{key}}".lower())
"""


def section(text, title):
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def commands(text):
    """The shell blocks of a section, in order; those in a list are indented."""
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return ["".join(line.removeprefix(indent) for line in block.splitlines(True)) for indent, block in blocks]


@pytest.fixture
def run(tmp_path):
    """Run commands with the stand-ins; returns what they were called with, program first."""
    for name in ("gh", "aws", "sleep"):
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)

    def run(script):
        calls = tmp_path / "calls"
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
        bash = ["bash", "-euo", "pipefail", "-c", script.replace(".venv/bin/python", sys.executable)]
        subprocess.run(bash, cwd=ROOT, env=environment, check=True, timeout=120)
        return [json.loads(line) for line in calls.read_text().splitlines()]

    return run


def asked_outputs(calls):
    """Stack and key of each output that was asked for."""
    queries = [(call[call.index("--stack-name") + 1], call[-1]) for call in calls if "describe-stacks" in call]
    return {(stack, re.search(r"OutputKey=='(\w+)'", query)[1]) for stack, query in queries}


def outputs(stack):
    return re.findall(r"^  (\w+):$", STACKS[stack].read_text().partition("\nOutputs:\n")[2], re.MULTILINE)


def test_the_commands_of_ship_fit_the_templates_and_the_workflow(run):
    calls = run("\n".join(commands(section(README, "Ship"))))

    (deploy,) = [call for call in calls if call[1:3] == ["cloudformation", "deploy"]]
    stack, template = (deploy[deploy.index(option) + 1] for option in ("--stack-name", "--template-file"))
    assert STACKS[stack] == ROOT / template
    assert deploy[deploy.index("--capabilities") + 1] == "CAPABILITY_NAMED_IAM"
    given = dict(word.split("=") for word in deploy[deploy.index("--parameter-overrides") + 1 :])
    assert given == {"GitHubOwner": "ada", "GitHubOwnerId": "7", "GitHubRepository": "food", "GitHubRepositoryId": "8"}
    assert given.keys() <= Template(STACKS[stack], {}).parameters.keys()

    variables = {call[3]: call[5] for call in calls if call[:3] == ["gh", "variable", "set"] and call[4] == "--body"}
    assert variables == {
        "AWS_REGION": "us-east-1",
        "PUSH_ROLE_ARN": "seefood102-foundation-pushrolearn",
        "DEPLOY_ROLE_ARN": "seefood102-foundation-deployrolearn",
    }
    asked = asked_outputs(calls)
    assert ("seefood102-service", "Url") in asked
    assert not [(stack, key) for stack, key in asked if key not in outputs(stack)]

    (started,) = [call for call in calls if call[:3] == ["gh", "workflow", "run"]]
    assert "workflow_dispatch" in yaml.safe_load((ROOT / ".github/workflows" / started[3]).read_text())[True]
    assert ["gh", "run", "watch", "--exit-status", "42"] in calls


def test_every_variable_that_the_workflows_read_is_told_of_and_no_other():
    workflows = (ROOT / ".github/workflows").glob("*.yml")
    read = {name for path in workflows for name in re.findall(r"vars\.(\w+)", path.read_text())}
    table = section(SHIP, "The workflow").partition("| variable")[2].partition("\n\n")[0]
    told = {name for row in table.splitlines()[2:] for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}
    assert told - {"HF_TOKEN"} == read
    assert set(re.findall(r"gh variable \w+ (\w+)", README + SHIP)) <= read


def test_every_parameter_and_output_that_the_documents_name_is_one_of_the_templates():
    parameters = {name for path in STACKS.values() for name in Template(path, {}).parameters}
    assert {"Spot", "VpcId", "CertificateArn"} <= set(re.findall(r"\b([A-Z][a-z]\w*)=", SHIP)) <= parameters
    for stack, key in re.findall(r"\boutput (\w+) (\w+)", README + SHIP):
        assert key in outputs(f"seefood102-{stack}")


def test_taking_it_down_empties_the_bucket_of_all_versions_and_deletes_the_service_first(run, s3):
    bucket = "seefood102-foundation-bucketname"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        s3.put_object(Bucket=bucket, Key="seefood102/weights", Body=body)
    s3.delete_object(Bucket=bucket, Key="seefood102/weights")
    (function,) = re.findall(r"^output\(\) .*?; }$", "\n".join(commands(section(README, "Ship"))), re.DOTALL | re.M)

    calls = run("\n".join([function, *commands(section(SHIP, "Take it all down"))]))

    left = s3.list_object_versions(Bucket=bucket)
    assert not left.get("Versions")
    assert not left.get("DeleteMarkers")
    stacks = [(call[2], call[call.index("--stack-name") + 1]) for call in calls if "--stack-name" in call]
    order = ["delete-stack", "wait"]
    assert [(verb, stack) for verb, stack in stacks if verb in order] == [
        (verb, f"seefood102-{name}") for name in ("service", "foundation") for verb in order
    ]
    assert ["gh", "variable", "delete", "PUSH_ROLE_ARN"] in calls
