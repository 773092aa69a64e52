"""The model that ships: it is what models.dvc names, and what its card says."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from seefood.predictor import Predictor

ROOT = Path(__file__).parents[1]
DVC = ROOT / ".dvc-venv/bin/dvc"
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


def test_the_model_file_carries_what_the_card_says():
    predictor = Predictor(ROOT / "models/seefood.onnx")
    assert predictor.digest == CARD["file"]["sha256"]
    assert predictor.metadata.metrics == CARD["metrics"]
    assert predictor.metadata.training_commit == CARD["model"]["training_commit"]
    assert len(predictor.labels) == CARD["model"]["labels"]


@pytest.mark.data
def test_the_accuracy_on_the_card_is_seen_on_a_sample_of_the_test_photos():
    folder = os.environ.get("SEEFOOD_DATA")
    if not folder:
        pytest.skip("SEEFOOD_DATA is not set to the folder of the photos")
    from datasets import Image, load_dataset

    photos = load_dataset("parquet", data_dir=f"{folder}/food101-64", split="test").cast_column(
        "image", Image(decode=False)
    )
    sample = photos.select(np.random.default_rng(0).choice(len(photos), 1000, replace=False))
    names = photos.features["label"].names
    predictor = Predictor(ROOT / "models/seefood.onnx")
    answers = predictor.predict_many(image["bytes"] for image in sample["image"])
    right = [answer.top(1)[0][0] == names[label] for answer, label in zip(answers, sample["label"], strict=True)]
    assert np.mean(right) == pytest.approx(CARD["metrics"]["test"]["top1"], abs=0.05)
