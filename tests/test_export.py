"""export.py: what the card says was measured on the file, and a failed check leaves everything as it was."""

import json
import re
from functools import partial
from pathlib import Path

import onnx
import pandas as pd
import pytest
import torch
import yaml
from made_photos import class_folders
from training_fixtures import small_process  # noqa: F401

import export
import train
from seefood.errors import DataError, ExportError, WeightsError
from seefood.predictor import Predictor
from seefood.statistics import image_statistics
from seefood.training.averaging import mean_checkpoint
from seefood.training.data import FoodData
from seefood.training.evaluation import (
    photos_of,
)
from seefood.training.provenance import commit

ROOT = Path(__file__).parent.parent
KINDS = {"apple_pie": 0, "not_my_dish": 1, "ramen": 2}


def trained(folder: Path, *arguments: str, photos: Path) -> Path:
    """The checkpoint of a run of configs/own_dishes.yaml on photos of one's own."""
    train.main(
        [
            *("fit", "--config", str(ROOT / "configs" / "own_dishes.yaml")),
            *("--data.sources", json.dumps([{"path": str(photos)}]), "--data.num_workers", "0"),
            *("--trainer.max_epochs", "2", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
            *("--trainer.logger.init_args.save_dir", str(folder), *arguments),
        ]
    )
    return folder / "own_dishes" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny network on three dishes of four photos, without a test split."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny = ("--model.architecture", "test_efficientnet", "--model.weights", "random", "--model.frozen_stages", "0")
    photos = class_folders(folder / "photos", KINDS, 4)
    return trained(folder, *tiny, "--data.image_size", "32", photos=photos)


@pytest.mark.slow
def test_dishes_of_ones_own_become_a_model_that_says_what_it_is(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    class_folders(photos / "train", KINDS, 4)
    class_folders(photos / "test", KINDS, 2, seed=60)
    checkpoint = trained(tmp_path, photos=photos)
    model, card = tmp_path / "new" / "seefood.onnx", tmp_path / "card"
    returned = export.export([checkpoint], model, card, test=True)

    predictor = Predictor(model)
    facts = predictor.metadata
    assert facts == returned
    assert predictor.labels == ["apple_pie", "not_my_dish", "ramen"]
    assert (facts.image_size, facts.architecture) == (128, "tf_efficientnet_lite0")
    assert facts.training_commit == commit()
    assert 0.25 <= facts.temperature <= 4
    best = predictor.predict(photos / "test" / "ramen" / "0.jpg").top(5)
    assert {label for label, _ in best} == set(KINDS)
    assert sum(probability for _, probability in best) == pytest.approx(1, abs=1e-5)

    right = [predictor.predict(file).top(1)[0][0] == file.parent.name for file in (photos / "test").rglob("*.jpg")]
    assert facts.metrics["test"]["top1"] == round(sum(right) / len(right), 4)
    assert {part: values["photos"] for part, values in facts.metrics.items()} == {"validation": 3, "test": 6}

    written = json.loads((card / "metrics.json").read_text())
    assert written["metrics"] == facts.metrics
    assert written["model"]["temperature"] == facts.temperature
    assert written["file"]["sha256"] == predictor.digest
    assert written["file"]["bytes"] == model.stat().st_size
    page = (card / "README.md").read_text()
    for part, values in facts.metrics.items():
        low, high = written["intervals"][part]["top1"]
        assert f"| {part} | {values['photos']} | {values['top1']:.3f} ({low:.3f}-{high:.3f}) | " in page
    assert predictor.digest in page
    front_matter = yaml.safe_load(page.split("---")[1])
    results = front_matter["model-index"][0]["results"]
    told = {(result["dataset"]["split"], one["type"]): one["value"] for result in results for one in result["metrics"]}
    for part, values in facts.metrics.items():
        assert (told[part, "accuracy"], told[part, "f1"]) == (values["top1"], values["f1"])
    figures = re.findall(r"\]\((\w+\.png)\)", page)
    assert {path.name for path in card.iterdir()} == {"README.md", "metrics.json", "reference.csv.gz", *figures}
    assert len(figures) == 5


@pytest.mark.slow
def test_a_card_shows_the_variants_side_by_side_and_int8_can_ship(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, card = tmp_path / "seefood.onnx", tmp_path / "card"
    facts = export.export([tiny_checkpoint], model, card, compare=True, storage="int8", image_size=64)
    assert facts.image_size == Predictor(model).metadata.image_size == 64, "larger than in training"
    variants = json.loads((card / "metrics.json").read_text())["variants"]
    assert [one["name"] for one in variants] == ["float32", "float16", "int8 weights", "int8"]
    full, half, *_ = variants
    assert full["agreement"] == 1
    assert full["heat_map"] == pytest.approx(1)
    assert half["heat_map"] > 0.99
    assert all(one["milliseconds"] > 0 and 0 < one["ratio"] < 1 for one in variants)
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(model).graph.node}
    assert "| int8 |" in (card / "README.md").read_text()


def test_beside_the_card_lies_what_the_validation_photos_and_the_answers_to_them_are_like(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    model, card = tmp_path / "seefood.onnx", tmp_path / "card"
    export.export([tiny_checkpoint], model, card)
    predictor = Predictor(model)
    table = pd.read_csv(card / "reference.csv.gz", dtype={"model": str})  # 5e0287393344 is no number
    data = FoodData.load_from_checkpoint(tiny_checkpoint)
    data.setup("fit")
    photos = list(photos_of(data.validation))
    assert len(table) == len(photos) == len(KINDS)
    for row, photo, true in zip(
        table.to_dict("records"), photos, data.validation.with_format(None)["label"], strict=True
    ):
        label, confidence = predictor.predict(photo).top(1)[0]
        assert (row["label_true"], row["label"], row["model"]) == (predictor.labels[true], label, predictor.digest)
        assert row["confidence"] == pytest.approx(confidence, abs=1e-4)
        assert row["low_confidence"] == (confidence < predictor.metadata.thresholds["unsure"])
        assert row["not_food"] is False
        for name, value in image_statistics(predictor.input_of(photo)).items():
            assert row[name] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(
    ("check", "limit", "message"),
    [("check_parity", 0.0, "is not the network"), ("check_agreement", 1.1, "get another label")],
)
def test_a_failed_check_leaves_the_files_as_they_were(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str, limit: float, message: str
) -> None:
    model = tmp_path / "seefood.onnx"
    model.write_bytes(b"the model that ships")
    monkeypatch.setattr(export, check, partial(getattr(export, check), limit=limit))
    with pytest.raises(ExportError, match=message):
        export.export([tiny_checkpoint], model, tmp_path / "card")
    assert model.read_bytes() == b"the model that ships"
    assert list(tmp_path.iterdir()) == [model]


def test_sources_whose_labels_have_changed_since_training_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(tiny_checkpoint, map_location="cpu")
    labels = checkpoint["hyper_parameters"]["labels"]
    checkpoint["hyper_parameters"]["labels"] = [*labels[:-1], "tacos"]
    torch.save(checkpoint, tmp_path / "renamed.ckpt")
    with pytest.raises(ExportError, match=r"tacos.*train again"):
        export.export([tmp_path / "renamed.ckpt"], tmp_path / "model.onnx", tmp_path / "card")


def test_of_several_checkpoints_the_mean_of_the_weights_is_exported(tiny_checkpoint: Path, tmp_path: Path) -> None:
    moved = torch.load(tiny_checkpoint, map_location="cpu")
    bias = next(name for name in moved["state_dict"] if name.endswith(("classifier.bias", "fc.bias")))
    moved["state_dict"][bias] += torch.tensor([3.0, 0.0, 0.0])
    torch.save(moved, tmp_path / "moved.ckpt")
    mean = mean_checkpoint([tmp_path / "moved.ckpt", tiny_checkpoint, tiny_checkpoint])["state_dict"]
    torch.testing.assert_close(mean[bias], moved["state_dict"][bias] - torch.tensor([2.0, 0.0, 0.0]))
    card = tmp_path / "card"
    export.export([tmp_path / "moved.ckpt", tiny_checkpoint], tmp_path / "mean.onnx", card)
    assert "the weights are the mean of 1 of" in (card / "README.md").read_text()


def test_checkpoints_of_different_networks_have_no_mean(tiny_checkpoint: Path, tmp_path: Path) -> None:
    other = torch.load(tiny_checkpoint, map_location="cpu")
    other["state_dict"] = {name: value.reshape(-1)[:1] for name, value in other["state_dict"].items()}
    torch.save(other, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="not of the same network"):
        export.export([tiny_checkpoint, tmp_path / "other.ckpt"], tmp_path / "mean.onnx", tmp_path / "card")


def test_measuring_on_a_test_split_that_is_not_there_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no source has a test split"):
        export.export([tiny_checkpoint], tmp_path / "seefood.onnx", tmp_path / "card", test=True)
    assert not list(tmp_path.iterdir())
