"""The workflows: what they may do, what they run, and when. That GitHub runs them so, only GitHub can show."""

import glob
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from serving import ROOT

WORKFLOWS = {path.name: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
LEAST = {"contents": "read", "id-token": "write"}  # all that any job may have
LINTERS = ["ruff", "mypy", "actionlint", "zizmor", "hadolint", "shellcheck", "cfn-lint", "checkov"]
SHIPPED = {
    "app.py",
    "requirements.lock",
    "Dockerfile",
    ".dockerignore",
    "models.dvc",
    ".dvc/**",
    "seefood/**",
    "deploy/**",
}


def load(name):
    workflow = yaml.safe_load(WORKFLOWS[name].read_text())
    workflow["on"] = workflow.pop(True)  # YAML 1.1 reads the key as a truth value
    return workflow


def jobs():
    return [pytest.param(name, job, id=f"{name}-{job}") for name in WORKFLOWS for job in load(name)["jobs"]]


def steps(job):
    return job.get("steps", [])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_by_a_commit_and_says_which_version_that_is(name):
    used = re.findall(r"uses: *(\S+) *(.*)", WORKFLOWS[name].read_text())
    assert used
    for action, comment in used:
        if action.startswith("./"):
            assert (ROOT / action).is_file()
        else:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action)
            assert re.fullmatch(r"# v\d+\.\d+\.\d+", comment)


@pytest.mark.parametrize(("name", "job"), jobs())
def test_every_job_has_the_permissions_it_needs_and_no_more(name, job):
    workflow = load(name)
    assert workflow["permissions"] == {}
    permissions = workflow["jobs"][job]["permissions"]
    assert permissions.items() <= LEAST.items()
    signs_in = any("configure-aws-credentials" in step.get("uses", "") for step in steps(workflow["jobs"][job]))
    calls_what_signs_in = workflow["jobs"][job].get("uses") == "./.github/workflows/space.yml"
    assert ("id-token" in permissions) == (signs_in or calls_what_signs_in)


@pytest.mark.parametrize(("name", "job"), jobs())
def test_a_checkout_leaves_no_token_behind(name, job):
    checkouts = [
        step for step in steps(load(name)["jobs"][job]) if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_cloud_key_is_stored(name):
    secrets = set(re.findall(r"secrets\.(\w+)", WORKFLOWS[name].read_text()))
    assert secrets <= {"HF_TOKEN"}  # the Hub's; AWS is signed in to by OpenID Connect
    assert "HF_TOKEN" not in WORKFLOWS["ci.yml"].read_text()


def test_actions_of_others_do_not_get_the_cloud_key():
    for name in ("deploy.yml", "space.yml", "drift.yml"):
        for job in load(name)["jobs"].values():
            uses = [step.get("uses", "").partition("@")[0] for step in steps(job)]
            if "aws-actions/configure-aws-credentials" not in uses:
                continue
            at = uses.index("aws-actions/configure-aws-credentials")
            if any(uses[at + 1 :]):
                assert steps(job)[at]["with"]["output-env-credentials"] is False
                assert not any("AWS_ACCESS_KEY_ID" in step.get("env", {}) for step in steps(job) if "uses" in step)


@pytest.mark.parametrize(("name", "job"), jobs())
def test_what_a_job_runs_is_in_the_repository(name, job):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    scripts = "\n".join(step.get("run", "") for step in steps(load(name)["jobs"][job]))
    for module in re.findall(r"-m (deploy\.\w+)", scripts):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    for script in re.findall(r"(?<![\w/.])deploy/\w+\.sh", scripts):
        assert (ROOT / script).stat().st_mode & 0o111, f"{script} cannot be executed"
    for line in re.findall(r"\bmake (.*)", scripts):
        words = [word for word in shlex.split(line, comments=True) if not word.startswith(".")]
        assert set(words) <= targets, line


def test_options_that_a_workflow_gives_a_step_are_ones_that_it_has():
    for name in WORKFLOWS:
        for command in re.findall(r"-m deploy\.\w+.*", WORKFLOWS[name].read_text()):
            module = ROOT / f"{command.split()[1].replace('.', '/')}.py"
            if not module.is_file():
                module = module.with_suffix("") / "__main__.py"  # doctor is a package
            options = set(re.findall(r"(?<!\S)--[a-z-]+", command.partition("|")[0]))
            assert not options or all(f'"{option}"' in module.read_text() for option in options), command


def test_whatever_ships_triggers_a_deployment_and_ci_runs_once_on_main():
    paths = load("deploy.yml")["on"]["push"]["paths"]
    assert {*paths} >= SHIPPED | {
        "examples/**",
        ".github/workflows/**",
        "requirements.txt",
        "pyproject.toml",
        "Makefile",
    }
    assert load("ci.yml")["on"]["push"]["paths-ignore"] == paths
    copied = re.findall(r"^COPY (?!--from)(.*)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for source in (word for line in copied for word in line.split()[:-1]):
        known = {source, f"{source}/**"} & {*paths} or source in ("LICENSE", "models/seefood.onnx")
        assert known, f"the image has {source}, and a change of it deploys nothing"


def test_ci_runs_make_lint_test_and_container_test_on_each_python():
    ci = load("ci.yml")
    assert "pull_request" in ci["on"]
    assert ci["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert "make lint test" in [step.get("run") for step in ci["jobs"]["test"]["steps"]]
    assert any("make container-test" in step.get("run", "") for step in ci["jobs"]["container"]["steps"])
    assert "make lint test" in (ROOT / ".ci/run").read_text().splitlines()


def printed_by(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_make_lint_gives_every_linter_all_that_it_can_read_and_style_comes_first():
    commands = [shlex.split(line) for line in re.split(r"\n|&&", printed_by("make", "--dry-run", "lint")) if line]
    arguments = {Path(command).name: words for command, *words in commands}
    files = {
        tool: {file for word in words for file in glob.glob(word, root_dir=ROOT)} for tool, words in arguments.items()
    }
    assert [tool for tool in arguments if tool in LINTERS] == LINTERS
    assert arguments["actionlint"] == ["-shellcheck", ".lint-venv/bin/shellcheck"]  # all workflows, and what they run
    assert files["zizmor"] == {".github"}
    assert files["hadolint"] == {*printed_by("git", "ls-files", "*Dockerfile*").split()}
    assert files["shellcheck"] == {*printed_by("git", "grep", "-l", "^#!.*sh$", "--", ":!*.md").split()}
    templates = {*printed_by("git", "grep", "-l", "^AWSTemplateFormatVersion", "--", "*.yaml").split()}
    assert files["cfn-lint"] == files["checkov"] == templates


def test_the_base_image_names_its_version_which_hadolint_does_not_look_for_in_an_argument():
    assert re.search(r"^ARG BASE_IMAGE=python:3\.\d+-\S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_an_image_is_pushed_only_after_it_was_tried_and_scanned_and_deployed_only_after_the_doctor():
    deploy = load("deploy.yml")
    assert deploy["concurrency"] == {"group": "deploy", "cancel-in-progress": False}
    assert deploy["jobs"]["build"]["needs"] == "ci"
    assert deploy["jobs"]["deploy"]["needs"] == "build"

    def order(job, *marks):
        texts = [step.get("run", step.get("uses", "")) for step in deploy["jobs"][job]["steps"]]
        return [next(number for number, text in enumerate(texts) if mark in text) for mark in marks]

    build = order(
        "build", "deploy.weights", "deploy/build.sh", "try_image.sh", "scan-action", "sbom-action", "deploy.push"
    )
    ship = order("deploy", "deploy.doctor", "| tee release.txt", "deploy.smoke", "deploy.report")
    assert build == sorted(build)
    assert ship == sorted(ship)
    assert deploy["jobs"]["deploy"]["steps"][ship[-1]]["if"] == "failure()"
    assert not any("if" in step or step.get("continue-on-error") for step in deploy["jobs"]["build"]["steps"])


def test_drift_is_looked_for_once_a_day_and_its_report_is_kept_when_it_is_found():
    drift = load("drift.yml")
    (schedule,) = drift["on"]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \*", schedule["cron"])
    (*_, look, keep) = drift["jobs"]["drift"]["steps"]
    assert "-m deploy.drift" in look["run"]
    assert look["env"]["AWS_DEFAULT_REGION"], "boto3 does not read AWS_REGION"
    assert (keep["if"], keep["with"]["path"]) == ("always()", "runs/drift")


def test_nothing_that_a_stranger_can_write_is_pasted_into_a_script():
    for name in WORKFLOWS:
        for job in load(name)["jobs"].values():
            assert not [step["run"] for step in steps(job) if "${{" in step.get("run", "")]


def test_the_job_that_asks_doctor_installs_what_doctor_reads_templates_with():
    scripts = [step.get("run", "") for step in steps(load("deploy.yml")["jobs"]["deploy"])]
    doctor = next(number for number, script in enumerate(scripts) if "deploy.doctor" in script)
    installed = " ".join(scripts[:doctor])
    assert "cfn-lint" in installed
    assert "boto3" in installed
