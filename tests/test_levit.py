"""configs/levit_256.yaml for a few steps: what it asks for and could silently not happen, does."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from test_train import ROOT, log_of, photos  # noqa: F401
from torch import Tensor
from training_fixtures import small_process  # noqa: F401

import train

RECIPE = ROOT / "configs" / "levit_256.yaml"
TRAINING_PHOTOS = 71_962  # of Food-101, without those held out
STEPS = 4

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Run:
    cli: train.SeeFoodCLI
    losses: list[tuple[Tensor, Tensor, float]]  # label as the loss saw it, loss, label smoothing; one for each step
    folder: Path


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:  # noqa: F811
    """A run of one short epoch, changed only where a machine without GPU, hub and Food-101 demands it."""
    folder = tmp_path_factory.mktemp("levit")
    cross_entropy = F.cross_entropy
    losses: list[tuple[Tensor, Tensor, float]] = []

    def recorded(logits: Tensor, label: Tensor, **options: Any) -> Tensor:
        loss = cross_entropy(logits, label, **options)
        if logits.requires_grad:
            losses.append((label, loss.detach(), options["label_smoothing"]))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "cross_entropy", recorded)
        cli = train.main(
            [
                *("fit", "--config", str(RECIPE)),
                *("--data.sources", json.dumps([{"path": str(photos), "test_split": "test"}])),
                *("--data.batch_size", "4", "--data.num_workers", "0", "--model.weights", "random"),
                *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1", "--trainer.log_every_n_steps", "1"),
                *("--trainer.limit_train_batches", str(STEPS), "--trainer.limit_val_batches", "1"),
                *("--trainer.enable_progress_bar", "false", "--trainer.logger.init_args.save_dir", str(folder)),
            ]
        )
    return Run(cli, losses, folder / "levit_256")


def test_every_loss_is_finite_and_sees_mixed_and_smoothed_labels(run: Run) -> None:
    labels, losses, smoothing = zip(*run.losses, strict=True)
    assert len(losses) == run.cli.trainer.global_step == STEPS
    assert all(torch.isfinite(loss) for loss in losses)
    assert set(smoothing) == {0.1}
    assert all(label.shape == (4, 3) and torch.allclose(label.sum(dim=1), torch.ones(4)) for label in labels)
    assert any((label.max(dim=1).values < 0.99).any() for label in labels), "No photo was mixed with another's label."


def test_the_stem_learns_slower_than_the_heads_by_the_layer_decay(run: Run) -> None:
    network, groups = run.cli.model.network, run.cli.trainer.optimizers[0].param_groups
    log = log_of(run.folder)

    def rates(weight: Tensor) -> list[float]:
        number = next(number for number, group in enumerate(groups, 1) if any(one is weight for one in group["params"]))
        return [event.value for event in log.Scalars(f"lr-AdamW/pg{number}")]

    stem, head, distilled = (
        rates(layer.linear.weight) for layer in (network.stem.conv1, network.head, network.head_dist)
    )
    assert max(head) == pytest.approx(run.cli.model.hparams["lr"])
    assert head == distilled
    layers = 13  # twelve blocks, and the stem's step down from them
    assert stem == pytest.approx([run.cli.model.hparams["layer_decay"] ** layers * rate for rate in head])
    assert max(stem) < 0.2 * max(head)


def test_the_averaged_weights_are_kept_and_forget_where_they_began(run: Run) -> None:
    checkpoint = torch.load(run.folder / "checkpoints" / "best.ckpt", map_location="cpu")
    name = "network.stages.2.blocks.3.mlp.ln1.linear.weight"
    assert not torch.equal(checkpoint["state_dict"][name], checkpoint["current_model_state"][name])

    recipe = yaml.safe_load(RECIPE.read_text())
    average = next(one for one in recipe["trainer"]["callbacks"] if one["class_path"].endswith("EMAWeightAveraging"))
    steps = TRAINING_PHOTOS // recipe["data"]["batch_size"] * recipe["trainer"]["max_epochs"]
    assert average["init_args"]["decay"] ** steps < 0.01
