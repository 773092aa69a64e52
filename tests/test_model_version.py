"""The model that ships is the one that models.dvc names, and goes back with it."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DVC = ROOT / ".dvc-venv/bin/dvc"
GIT_AUTHOR = {f"GIT_{role}_{fact}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for fact in ("NAME", "EMAIL")}
CARD = json.loads((ROOT / "docs/model/metrics.json").read_text())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@pytest.fixture(params=["clone", "archive"])
def checkout(request, tmp_path):
    """The committed repository in an empty folder: with git, or as a downloaded archive."""
    if not DVC.exists():
        pytest.skip("DVC is not installed; `make model` does it")
    if not (ROOT / ".git").exists():
        pytest.skip("this checkout has no git to clone")
    folder = tmp_path / "seefood"
    if request.param == "clone":
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    else:
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
        folder.mkdir()
        subprocess.run(["tar", "x"], cwd=folder, input=archive, check=True)
    return folder


def test_a_fresh_checkout_pulls_the_model_that_the_card_describes(checkout):
    subprocess.run([DVC, "pull", "--quiet"], cwd=checkout, check=True)
    assert digest(checkout / "models/seefood.onnx") == CARD["file"]["sha256"]
    assert [path.name for path in (checkout / "models").iterdir()] == ["seefood.onnx"]


def test_going_back_to_the_last_model_is_one_revert(checkout):
    if not (checkout / ".git").exists():
        pytest.skip("an archive has no history to revert")
    model = checkout / "models/seefood.onnx"

    def run(*command):
        subprocess.run(command, cwd=checkout, check=True, env=os.environ | GIT_AUTHOR, capture_output=True)

    run(DVC, "pull")
    shipped = digest(model)
    model.write_bytes(b"a worse model")
    run(DVC, "commit", "--force", "models.dvc")
    run(DVC, "push")
    run("git", "add", "models.dvc", ".dvc")
    run("git", "commit", "--message", "A worse model")
    run(DVC, "pull", "--force")
    assert digest(model) != shipped

    run("git", "revert", "--no-edit", "HEAD")
    run(DVC, "pull", "--force")
    assert digest(model) == shipped


@pytest.mark.parametrize("version_aware", [False, True], ids=["by content", "by version"])
def test_a_bucket_takes_the_model_and_gives_it_to_a_checkout_that_has_nothing_else(version_aware, checkout, s3):
    s3.create_bucket(Bucket="weights", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    if version_aware:
        s3.put_bucket_versioning(Bucket="weights", VersioningConfiguration={"Status": "Enabled"})
    model = checkout / "models/seefood.onnx"

    def dvc(*command):
        done = subprocess.run([DVC, *command], cwd=checkout, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    dvc("pull")
    dvc("remote", "modify", "s3", "url", "s3://weights/seefood102")
    dvc("remote", "modify", "s3", "version_aware", str(version_aware).lower())
    dvc("push", "--remote", "s3")
    assert any(entry["Size"] == model.stat().st_size for entry in s3.list_objects_v2(Bucket="weights")["Contents"])
    for folder in ("models", ".dvc/embedded", ".dvc/cache"):
        shutil.rmtree(checkout / folder)
    dvc("pull", "--remote", "s3")
    assert digest(model) == CARD["file"]["sha256"]
