"""First weights, what stays frozen, the schedule, and the figures that choose a checkpoint."""

import math
from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer
from safetensors.torch import save_file
from torch import Tensor, nn
from training_fixtures import small_process  # noqa: F401

from seefood.errors import WeightsError
from seefood.photo import read_photo, square
from seefood.training.model import FoodClassifier
from seefood.training.weights import LITE0_PACKAGE

LABELS = ["apple_pie", "ramen", "not_food"]
EXAMPLES = Path(__file__).parent.parent / "examples"


def classifier(seed: int = 0, **options: object) -> FoodClassifier:
    """A small network with random weights that depend on the seed alone."""
    torch.manual_seed(seed)
    options = {"labels": LABELS, "image_size": 32, "architecture": "test_efficientnet", "weights": "random"} | options
    return FoodClassifier(**options)


def batch(seed: int, size: int = 8, classes: int = 3) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (size, 32, 32, 3), dtype=torch.uint8, generator=random)
    return {"image": image, "label": torch.arange(size) % classes}


def trainer(**options: object) -> Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(accelerator="cpu", **(quiet | options))


def fit(model: FoodClassifier, steps: int, *callbacks: Callback) -> None:
    batches = [batch(seed) for seed in range(steps)]
    trainer(max_epochs=1, callbacks=list(callbacks)).fit(model, torch.utils.data.DataLoader(batches, batch_size=None))


def checkpoint(model: FoodClassifier, path: Path) -> Path:
    saving = trainer()
    saving.strategy.connect(model)
    saving.save_checkpoint(path)
    return path


@pytest.mark.parametrize(("name", "expected"), [("hamburger.jpg", 933), ("pizza.jpg", 963)])
def test_the_weights_of_the_package_know_imagenet(name: str, expected: int) -> None:
    model = classifier(
        labels=[str(index) for index in range(1000)],
        image_size=224,
        architecture="tf_efficientnet_lite0",
        weights=LITE0_PACKAGE,
    ).eval()
    photo = square(read_photo(EXAMPLES / name), 224)
    with torch.no_grad():
        logits = model(torch.frombuffer(bytearray(photo.tobytes()), dtype=torch.uint8).view(1, 224, 224, 3))
    assert logits.argmax().item() == expected


@pytest.mark.parametrize("architecture", ["tf_efficientnet_lite1", "test_efficientnet"])
def test_the_weights_of_the_package_are_refused_for_another_architecture(architecture: str) -> None:
    with pytest.raises(WeightsError, match=rf"{LITE0_PACKAGE}: \d+ tensors do not fit"):
        classifier(architecture=architecture, weights=LITE0_PACKAGE)


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
        labels=["a", "b", "c"], image_size=64, architecture="tf_efficientnet_lite0", weights=LITE0_PACKAGE
    )
    photos = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.eval()(photos), torch.zeros(4, 3))


def test_an_architecture_without_stochastic_depth_can_be_had() -> None:
    model = FoodClassifier(labels=["a", "b"], image_size=64, architecture="ghostnet_050", weights="random")
    assert model.eval()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape == (1, 2)


def test_weights_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.pth"
    text.write_text("These are no weights.")
    for weights, message in ((str(text), "cannot be read as weights"), ("missing.pth", "no such file, and neither")):
        with pytest.raises(WeightsError, match=f"{weights}: {message}"):
            classifier(weights=weights)
    with pytest.raises(WeightsError, match="efficientnet_light0: timm has no such model"):
        classifier(architecture="efficientnet_light0")


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_frozen_stages_stay_as_they_are_and_the_others_learn(stages: int) -> None:
    model = classifier(frozen_stages=stages, lr=0.1, warmup_steps=1)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    fit(model, 3)
    moved = {name for name, tensor in model.network.state_dict().items() if not torch.equal(tensor, before[name])}
    frozen = tuple(f"blocks.{stage}." for stage in range(stages)) + (("conv_stem", "bn1.") if stages else ())
    tracked = {name for name in before if not name.startswith(frozen)} if frozen else set(before)
    assert moved == tracked
    assert any(name.endswith("running_mean") for name in moved)


def test_more_frozen_stages_than_there_are_is_refused_in_words() -> None:
    with pytest.raises(AssertionError, match=r"Only \d+ stages can be frozen, not 50\."):
        classifier(frozen_stages=50)


class _LearningRates(Callback):
    """Notes the learning rates that each step is taken with."""

    def __init__(self) -> None:
        self.steps: list[list[float]] = []

    def on_before_optimizer_step(self, trainer: Trainer, model: FoodClassifier, optimizer: object) -> None:
        self.steps.append([group["lr"] for group in optimizer.param_groups])


def test_learning_rate_warms_up_linearly_then_falls_to_0_as_a_cosine() -> None:
    rates = _LearningRates()
    fit(classifier(lr=0.01, warmup_steps=5), 25, rates)
    of_steps = [groups[0] for groups in rates.steps]
    assert of_steps[:5] == pytest.approx([0.01 * step / 5 for step in range(5)])
    assert of_steps[5:] == pytest.approx([0.01 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)])
    assert of_steps[-1] < 1e-4


def test_layer_decay_lets_earlier_layers_learn_slower() -> None:
    rates, model = _LearningRates(), classifier(lr=0.01, warmup_steps=1, layer_decay=0.5)
    fit(model, 4, rates)
    names = {id(parameter): name for name, parameter in model.network.named_parameters()}
    rate_of = {
        names[id(parameter)]: rate
        for group, rate in zip(model.trainer.optimizers[0].param_groups, rates.steps[1], strict=True)
        for parameter in group["params"]
    }
    by_depth = [rate_of[name] for name in ("conv_stem.weight", "blocks.0.0.conv.weight", "classifier.weight")]
    assert by_depth[0] <= by_depth[1] / 2 <= by_depth[2] / 4
    assert by_depth[2] == pytest.approx(0.01)


def test_biases_and_norms_have_no_weight_decay() -> None:
    model = classifier(weight_decay=0.3)
    fit(model, 1)
    for group in model.trainer.optimizers[0].param_groups:
        assert {group["weight_decay"]} == {0.3 if parameter.ndim > 1 else 0.0 for parameter in group["params"]}


@pytest.fixture
def without_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step be taken that has nobody to log to."""
    monkeypatch.setattr(FoodClassifier, "log", lambda *arguments, **options: None)


@pytest.mark.parametrize(
    "options", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}, {"random_erasing": 1.0}]
)
@pytest.mark.usefixtures("without_trainer")
def test_an_augmentation_of_batches_changes_the_loss(options: dict[str, float]) -> None:
    plain, augmented = classifier(), classifier(**options)
    photos = batch(0)
    expected = plain.training_step(photos, 0).item()
    loss = augmented.training_step(batch(0), 0).item()
    assert math.isfinite(loss)
    assert abs(loss - expected) > 1e-4
    assert torch.equal(photos["image"], batch(0)["image"]), "the photos belong to the callbacks, too"


@pytest.mark.usefixtures("without_trainer")
def test_a_batch_of_an_odd_number_of_photos_is_not_mixed_but_trained_on() -> None:
    losses = [classifier(**options).training_step(batch(0, size=7), 0).item() for options in ({}, {"mixup": 0.8})]
    assert losses[0] == losses[1]


class _Fixed(nn.Module):
    """A network whose answers are prepared."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor:
        return self.logits


@pytest.mark.parametrize("part", ["val", "test"])
def test_metrics_are_those_computed_by_hand(part: str) -> None:
    probability = torch.tensor(
        [
            [0.90, 0.02, 0.02, 0.02, 0.02, 0.02],  # apple is 0: right
            [0.02, 0.90, 0.02, 0.02, 0.02, 0.02],  # an apple, called 1
            [0.08, 0.60, 0.08, 0.08, 0.08, 0.08],  # 1: right
            [0.09, 0.10, 0.02, 0.09, 0.10, 0.60],  # 2, the last of six answers
        ]
    )
    model = classifier(labels=["0", "1", "2", "3", "4", "5"])
    model.network = _Fixed(probability.log())
    photos = batch(0, size=4) | {"label": torch.tensor([0, 0, 1, 2])}
    run = {"val": trainer().validate, "test": trainer().test}[part]
    (measured,) = run(model, torch.utils.data.DataLoader([photos], batch_size=None), verbose=False)
    assert measured == pytest.approx(
        {
            f"{part}/top1": 2 / 4,
            f"{part}/top5": 3 / 4,
            f"{part}/f1": (2 / 3 + 2 / 3 + 0 + 0) / 4,  # of 0, 1, 2 and 5; 3 and 4 are neither given nor answered
            f"{part}/ece": (0.9 - 1 / 2) / 2 + (0.6 - 1 / 2) / 2,
            f"{part}/loss": -(math.log(0.9) + math.log(0.02) + math.log(0.6) + math.log(0.02)) / 4,
        },
        abs=1e-5,
    )
