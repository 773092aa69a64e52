"""The model that ships is the one that models.dvc names, and goes back with it."""

import hashlib
import json
import os
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
