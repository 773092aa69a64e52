"""Learning from visitors, from end to end: ten corrected photos become a new version of the model, a better one."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from answers import telltale_jpeg
from made_photos import class_folders, made_photo
from test_model_version import DVC, GIT_AUTHOR, ROOT, digest
from training_fixtures import small_process  # noqa: F401

import export
import train
from seefood.photo import read_photo
from seefood.predictor import Predictor
from seefood.serving.feedback import open_feedback
from seefood.serving.review import Review
from seefood.stores import open_store
from seefood.training import feedback

KINDS = {"apple_pie": 0, "ramen": 1, "not_food": 2}
UNKNOWN = 5  # the colour of a ramen that the first model has never seen
MODEL = Path("models/seefood.onnx")

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed repository in a folder of its own, in which the test works."""
    if not DVC.exists():
        pytest.skip("DVC is not installed; `make model` does it")
    if not (ROOT / ".git").exists():
        pytest.skip("this checkout has no git to clone")
    folder = tmp_path / "seefood"
    run("git", "clone", "--quiet", ROOT, folder)
    monkeypatch.chdir(folder)
    return folder


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, env=os.environ | GIT_AUTHOR)


def fit(folder: str, *arguments: str) -> Path:
    """Train on the made photos with a tiny network; the checkpoint."""
    train.main(
        [
            *("fit", "--config", "configs/own_dishes.yaml"),
            *("--data.sources", json.dumps([{"path": "photos", "weight": 30}]), "--data.num_workers", "0"),
            *("--data.image_size", "32", "--data.balanced", "false", "--model.architecture", "test_efficientnet"),
            *("--model.weights", "random", "--model.frozen_stages", "0", "--model.lr", "5e-3"),
            *("--trainer.max_epochs", "20", *arguments, "--trainer.accelerator", "cpu"),
            *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
        ]
    )
    return Path("runs", folder, "checkpoints", "last.ckpt")


def new_version(checkpoint: Path, message: str) -> str:
    """Export a checkpoint, and make it the version that models.dvc names; the digest of the file."""
    export.export([checkpoint], MODEL, Path("docs/model"))
    run(DVC, "commit", "--force", "models.dvc")
    run(DVC, "push")
    run("git", "add", "models.dvc", ".dvc", "docs/model")
    run("git", "commit", "--message", message)
    return digest(MODEL)


def share_of_ramen(kind: int) -> float:
    """How many of forty photos of a colour, none of them trained on, the model calls ramen."""
    photos = [made_photo(kind, 1000 + seed) for seed in range(40)]
    return sum(one.top(1)[0][0] == "ramen" for one in Predictor(MODEL).predict_many(photos)) / len(photos)


def test_ten_corrected_photos_become_a_version_of_the_model_that_does_better(clone: Path, tmp_path: Path) -> None:
    class_folders(clone / "photos", KINDS, 16)
    first = new_version(fit("own_dishes"), "The first model")
    unknown_before, known_before = share_of_ramen(UNKNOWN), share_of_ramen(KINDS["ramen"])

    predictor, visitors = Predictor(MODEL), open_feedback("answers")
    for seed in range(10):
        photo = tmp_path / f"{seed}.jpg"
        photo.write_bytes(telltale_jpeg(made_photo(UNKNOWN, seed)))
        visitors.note(
            predictor.predict(photo), model=predictor.digest, file=photo, dish="ramen", photo=read_photo(photo)
        )
    review = Review(open_store("answers"), "answers", predictor.labels)
    for name in review.photos:
        review.accept(name)
    feedback.main(["answers", "runs/feedback"])

    second = new_version(
        fit("learn", "--config", "configs/feedback.yaml", "--trainer.max_epochs", "30", "--model.lr", "2e-3"),
        "What visitors said",
    )
    assert unknown_before < 0.3, "the made photos must put it to the test"
    assert share_of_ramen(UNKNOWN) > unknown_before + 0.5
    assert share_of_ramen(KINDS["ramen"]) > known_before - 0.1, "what it knew before it knows"
    assert share_of_ramen(KINDS["apple_pie"]) < 0.2

    shutil.rmtree(clone / "models")
    run(DVC, "pull", "--force")
    assert digest(MODEL) == second
    run("git", "revert", "--no-edit", "HEAD")
    run(DVC, "pull", "--force")
    assert digest(MODEL) == first != second
