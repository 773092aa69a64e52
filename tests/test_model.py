"""What stays frozen, the schedule, and the figures that choose a checkpoint."""

import math

import pytest
import torch
from lightning import Callback, Trainer
from networks import batch, classifier, fit, trainer
from torch import Tensor, nn
from training_fixtures import small_process  # noqa: F401

from seefood.training.model import FoodClassifier


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


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_frozen_stages_without_norms_stay_as_they_are_and_all_else_learns(stages: int) -> None:
    model = classifier(frozen_stages=stages, lr=0.1, warmup_steps=1, fold_norms=True)
    before = {name: parameter.detach().clone() for name, parameter in model.network.named_parameters()}
    fit(model, 3)
    moved = {name for name, parameter in model.network.named_parameters() if not torch.equal(parameter, before[name])}
    frozen = ("conv_stem.", *(f"blocks.{stage}." for stage in range(stages))) if stages else ()
    assert moved == {name for name in before if not name.startswith(frozen)}


@pytest.mark.parametrize("fold_norms", [False, True])
def test_frozen_depthwise_kernels_stay_as_they_are_and_all_else_learns(fold_norms: bool) -> None:
    model = classifier(frozen_depthwise=True, lr=0.1, warmup_steps=1, fold_norms=fold_norms)
    before = {name: parameter.detach().clone() for name, parameter in model.network.named_parameters()}
    fit(model, 3)
    still = {name for name, parameter in model.network.named_parameters() if torch.equal(parameter, before[name])}
    kernels = {name for name in before if before[name].ndim == 4 and before[name].shape[1] == 1}
    assert kernels
    assert still == kernels | ({name.replace(".weight", ".bias") for name in kernels} if fold_norms else set())


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
