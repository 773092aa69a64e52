"""export.py: the file is the network, the file is small, and what the card says was measured on it."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import datasets
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
import yaml
from made_photos import class_folders
from networks import lively
from onnx import numpy_helper
from training_fixtures import small_process  # noqa: F401

import export
import train
from seefood.errors import DataError, ExportError, WeightsError
from seefood.metadata import Metadata
from seefood.predictor import Predictor
from seefood.statistics import image_statistics
from seefood.training.averaging import mean_checkpoint
from seefood.training.data import FoodData
from seefood.training.evaluation import (
    Answers,
    check_agreement,
    check_cost,
    check_parity,
    fitted_temperature,
    photos_of,
)
from seefood.training.graph import ServedNetwork, export_onnx, set_temperature
from seefood.training.model import FoodClassifier
from seefood.training.provenance import commit
from seefood.training.quantization import quantize
from seefood.training.reference import write_reference
from seefood.training.sources import Source
from seefood.training.storage import halve_weights, quarter_weights

ROOT = Path(__file__).parent.parent
KINDS = {"apple_pie": 0, "not_my_dish": 1, "ramen": 2}
LABELS = [f"dish_{index}" for index in range(11)]


class Exported(NamedTuple):
    network: ServedNetwork
    path: Path
    image: torch.Tensor  # uint8 [7, S, S, 3]

    def run(self, image: torch.Tensor | None = None, graph: onnx.ModelProto | None = None) -> list[np.ndarray]:
        model = self.path.read_bytes() if graph is None else graph.SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return session.run(None, {"image": (self.image if image is None else image).numpy()})

    def logits(self) -> np.ndarray:
        with torch.no_grad():
            return self.network.classifier(self.image).numpy()


@pytest.fixture(
    scope="module",
    params=[("levit_256", 224), ("efficientnet_lite0", 64), ("tf_efficientnet_lite0", 96), ("test_resnet", 64)],
    ids=lambda parameter: parameter[0],
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    classifier, image = lively(*request.param, LABELS)
    network, path = ServedNetwork(classifier), tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(network, path)
    return Exported(network, path, image)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    classifier, image = lively("test_efficientnet", 32, LABELS)
    network, path = ServedNetwork(classifier), tmp_path_factory.mktemp("small") / "model.onnx"
    export_onnx(network, path)
    return Exported(network, path, image)


@pytest.mark.slow
def test_the_file_answers_as_the_network_in_batches_of_any_size(exported: Exported) -> None:
    logits = exported.logits()
    assert logits.std(axis=0).min() > 0.1
    assert logits.std() > 1
    expected = torch.from_numpy(logits).softmax(dim=1).numpy()
    for size in (1, 2, 7):
        answers = [exported.run(part)[0] for part in exported.image.split(size)]
        assert np.abs(np.concatenate(answers) - expected).max() < 1e-4


@pytest.mark.slow
def test_the_mean_of_the_evidence_is_the_logits(exported: Exported) -> None:
    evidence = exported.run()[1]
    assert evidence.ndim == 4
    assert evidence.shape[2] * evidence.shape[3] > 1
    assert evidence.std(axis=(2, 3)).min() > 0, "places differ"
    logits = exported.logits()
    assert np.allclose(evidence.mean(axis=(2, 3)), logits, rtol=1e-3, atol=1e-3 * np.abs(logits).max())


@pytest.mark.slow
def test_the_file_is_one_and_takes_any_number_of_uint8_photos(exported: Exported) -> None:
    assert [path.name for path in exported.path.parent.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    size = exported.image.shape[1]
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [size, size, 3])
    assert isinstance(image.shape[0], str)
    assert [(output.name, output.type) for output in session.get_outputs()] == [
        ("probability", "tensor(float)"),
        ("evidence", "tensor(float)"),
    ]


@pytest.mark.slow
def test_half_of_the_file_is_enough(exported: Exported) -> None:
    graph = halve_weights(onnx.load(exported.path))
    onnx.checker.check_model(graph, full_check=True)
    share = graph.ByteSize() / exported.path.stat().st_size
    assert 0.45 < share < 0.65
    for half, full in zip(exported.run(graph=graph), exported.run(), strict=True):
        assert half.dtype == np.float32
        assert 0 < np.abs(half - full).max() < 0.02 * np.abs(full).max()


@pytest.mark.slow
def test_a_quarter_of_the_file_is_nearly_enough(exported: Exported) -> None:
    graph = quarter_weights(onnx.load(exported.path))
    onnx.checker.check_model(graph, full_check=True)
    share = graph.ByteSize() / exported.path.stat().st_size
    assert 0.2 < share < 0.5
    (small, evidence), (full, full_evidence) = exported.run(graph=graph), exported.run()
    assert 0 < np.abs(small - full).max() < 0.3, "weights drawn at random suffer more than trained ones"
    assert np.corrcoef(evidence.ravel(), full_evidence.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("architecture", ["mobilenetv3_small_100", "convnext_atto", "vit_tiny_patch16_224", "test_vit"])
def test_a_network_with_another_ending_is_refused_by_name(architecture: str) -> None:
    classifier = FoodClassifier(labels=LABELS, image_size=64, architecture=architecture, weights="random")
    with pytest.raises(ExportError, match=f"{architecture} does not end in average pooling and an affine head"):
        ServedNetwork(classifier)


def test_the_file_holds_no_path_of_the_machine_that_made_it(small: Exported) -> None:
    for trace in (str(ROOT), "site-packages", ".py"):
        assert trace.encode() not in small.path.read_bytes()


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_temperature_divides_the_logits_and_leaves_the_evidence(small: Exported, temperature: float) -> None:
    graph = onnx.load(small.path)
    set_temperature(graph, temperature)
    probability, evidence = small.run(graph=graph)
    expected = torch.from_numpy(small.logits() / temperature).softmax(dim=1).numpy()
    assert np.abs(probability - expected).max() < 1e-4
    assert np.array_equal(evidence, small.run()[1])


def test_a_graph_that_lost_its_temperature_is_refused(small: Exported) -> None:
    graph = onnx.load(small.path)
    (temperature,) = (tensor for tensor in graph.graph.initializer if tensor.name.endswith("temperature"))
    graph.graph.initializer.remove(temperature)
    with pytest.raises(ExportError, match="lost its temperature"):
        set_temperature(graph, 2.0)


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_parity_passes_the_network_and_stops_a_graph_with_one_changed_tensor(
    small: Exported, tmp_path: Path, factor: float
) -> None:
    photos = FoodData(sources=[Source(path=str(class_folders(tmp_path / "photos", KINDS, 4)))], image_size=32)
    photos.setup("fit")
    graph = onnx.load(small.path)
    (head,) = (tensor for tensor in graph.graph.initializer if tensor.name.endswith("head_weight"))
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) * np.float32(factor), head.name))
    metadata = Metadata(
        labels=LABELS,
        image_size=32,
        crop=1.0,
        temperature=1.0,
        architecture="test_efficientnet",
        training_commit="unknown",
        created="2026-01-01",
    )
    onnx.helper.set_model_props(graph, metadata.to_properties())
    onnx.save(graph, tmp_path / "model.onnx")
    predictor = Predictor(tmp_path / "model.onnx")
    if factor == 1:
        assert check_parity(small.network, predictor, photos.validation) < 1e-4
    else:
        with pytest.raises(ExportError, match=r"test_efficientnet is not the network.*Do not ship it"):
            check_parity(small.network, predictor, photos.validation)


NAMES = ["apple_pie", "ramen", "not_food"]


def answers(labels: np.ndarray, classes: int = 3) -> Answers:
    """Answers that are right, with a probability of 0.8."""
    probability = np.full((len(labels), classes), 0.2 / (classes - 1), dtype=np.float32)
    probability[np.arange(len(labels)), labels] = 0.8
    return Answers(NAMES[:classes], probability, np.log(probability), labels)


def test_agreement_is_the_share_of_equal_answers_and_has_a_limit() -> None:
    full = answers(np.arange(400) % 3)
    for changed in (1, 4):
        label = full.label.copy()
        label[:changed] = (label[:changed] + 1) % 3
        if changed == 1:
            assert check_agreement(answers(label), full) == pytest.approx(1 - 1 / 400)
        else:
            with pytest.raises(ExportError, match=r"1\.0% of the validation photos get another label"):
                check_agreement(answers(label), full)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    torch.manual_seed(0)
    honest = 2 * torch.randn(10_000, 5)
    label = torch.multinomial(honest.softmax(dim=1), 1).squeeze(1)
    made = Answers(list("abcde"), honest.softmax(dim=1).numpy(), (honest * temperature).numpy(), label.numpy())
    assert fitted_temperature(made) == pytest.approx(temperature, rel=0.06)


def test_a_handful_of_right_answers_does_not_make_the_model_sure_of_everything() -> None:
    assert fitted_temperature(answers(np.array([0, 1, 2]))) == 1.0


def test_metrics_of_answers_are_those_computed_by_hand() -> None:
    labels = ["apple_pie", "pizza", "ramen"]
    right = replace(answers(np.array([0, 0, 1, 2])), labels=labels)
    wrong = replace(right, label=np.array([0, 1, 1, 2]))
    assert wrong.metrics() == {
        "photos": 4,
        "top1": 0.75,
        "top5": 1.0,  # of three labels
        "recall": round(5 / 6, 4),
        "f1": round(7 / 9, 4),  # 2/3 for the labels 0 and 1, 1 for 2
        "ece": 0.05,  # 0.8 sure, 3/4 right
    }


def test_metrics_tell_food_from_what_is_none() -> None:
    said = answers(np.array([0, 1, 1, 2, 2, 2, 0]))
    measured = replace(said, label=np.array([0, 1, 1, 1, 2, 2, 2])).metrics()
    assert (measured["photos"], measured["other_photos"]) == (4, 3)
    assert (measured["top1"], measured["food_refused"]) == (0.75, 0.25)
    assert measured["other_refused"] == round(2 / 3, 4)
    assert measured["recall"] == round((1 + 2 / 3) / 2, 4), "the mean of the two dishes; not_food is no dish"
    assert set(answers(np.array([2, 2])).metrics()) == {"other_photos", "other_refused"}


def test_the_interval_of_a_share_is_that_of_the_binomial_law() -> None:
    label = np.zeros(400, dtype=int)
    label[:100] = 1
    said = answers(np.zeros(400, dtype=int), 2)
    low, high = replace(said, label=label).intervals(resamples=200)["top1"]
    error = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == (pytest.approx(0.75 - error, abs=0.015), pytest.approx(0.75 + error, abs=0.015))


def test_the_intervals_of_few_photos_are_told_though_a_draw_may_hold_none_of_no_food() -> None:
    few = replace(answers(np.array([0, 1, 2])), label=np.array([0, 0, 2]))
    intervals = few.intervals()
    assert intervals["top1"] == (0, 1)
    assert intervals["other_refused"] == (1, 1)


def test_int8_may_cost_half_a_point_and_no_more() -> None:
    full = answers(np.arange(1000) % 2)
    for wrong in (5, 6):
        label = full.label.copy()
        label[:wrong] = 1 - label[:wrong]
        if wrong == 5:
            assert check_cost(replace(answers(label), label=full.label), full) == pytest.approx(0.005)
        else:
            with pytest.raises(ExportError, match=r"falls by 0\.6 points.*without --int8"):
                check_cost(replace(answers(label), label=full.label), full)


@pytest.mark.slow
def test_a_flipped_network_answers_the_same_for_the_mirror_image(small: Exported, tmp_path: Path) -> None:
    network = ServedNetwork(small.network.classifier, flip=True)
    export_onnx(network, tmp_path / "flip.onnx")
    flipped = Exported(network, tmp_path / "flip.onnx", small.image)
    with torch.no_grad():
        logits = network.expected_logits(small.image)
    probability, evidence = flipped.run()
    assert np.abs(probability - logits.softmax(dim=1).numpy()).max() < 1e-5
    assert np.allclose(evidence.mean(axis=(2, 3)), logits.numpy(), atol=1e-4)
    mirrored, evidence_mirrored = flipped.run(small.image.flip(2))
    assert np.abs(mirrored - probability).max() < 1e-5
    assert np.allclose(evidence_mirrored[..., ::-1], evidence, atol=1e-3)
    assert np.abs(probability - small.run()[0]).max() > 1e-3, "one look is not two"


@pytest.mark.slow
def test_int8_is_a_quarter_and_nearly_the_same(small: Exported) -> None:
    graph = quantize(onnx.load(small.path), (image[None].numpy() for image in small.image))
    onnx.checker.check_model(graph, full_check=True)
    kinds = {node.op_type for node in graph.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    probability, evidence = small.run(graph=graph)
    full_probability, full_evidence = small.run()
    # Of weights drawn at random, which suffer more than trained ones. With weights of 8 bits the correlation is 0.91
    # on a CPU without VNNI, whose sums of two products overflow.
    assert 0 < np.abs(probability - full_probability).max() < 0.35
    assert np.corrcoef(evidence.ravel(), full_evidence.ravel())[0, 1] > 0.95
    weights = sum(tensor.ByteSize() for tensor in graph.graph.initializer)
    assert weights < 0.5 * sum(tensor.ByteSize() for tensor in onnx.load(small.path).graph.initializer)


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


def test_the_reference_tells_what_is_no_food_and_what_is_unsure_and_is_the_same_file_each_time(tmp_path: Path) -> None:
    said = answers(np.array([0, 2, 1]))
    said.probability[2] = [0.1, 0.15, 0.12]
    predictor = Mock(digest="0123456789ab", input_of=lambda photo: np.full((2, 2, 3), photo[0], dtype=np.uint8))
    predictor.metadata.thresholds = {"unsure": 0.2}
    files = [{"image": {"bytes": bytes([value]), "path": None}, "label": 0} for value in (0, 51, 255)]
    photos = {"one": datasets.Dataset.from_list(files[:1]), "two": datasets.Dataset.from_list(files[1:])}
    of_source = {"one": said[np.array([0])], "two": said[np.array([1, 2])]}
    for folder in ("first", "again"):
        (tmp_path / folder).mkdir()
        write_reference(tmp_path / folder, predictor, of_source, photos)
    table = pd.read_csv(tmp_path / "first" / "reference.csv.gz", dtype={"model": str})
    assert list(table.label) == ["apple_pie", "not_food", "ramen"]
    assert list(table.not_food) == [False, True, False]
    assert list(table.low_confidence) == [False, False, True]
    assert list(table.brightness) == [0, 0.2, 1]
    assert set(table.model) == {predictor.digest}
    first, again = ((tmp_path / folder / "reference.csv.gz").read_bytes() for folder in ("first", "again"))
    assert first == again


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
