"""FoodClassifier: a timm network that is fine-tuned, with its losses, metrics and schedule."""

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning import LightningModule
from timm.data import Mixup
from timm.data.random_erasing import RandomErasing
from timm.models import group_parameters
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from seefood.training.depthwise import hasten_depthwise
from seefood.training.metrics import food_metrics
from seefood.training.provenance import commit
from seefood.training.weights import create_network


class FoodClassifier(LightningModule):
    """A classifier of photos, uint8 [N, S, S, 3] RGB -> logits float32 [N, C].

        model = FoodClassifier(labels=["pizza", "ramen"], architecture="levit_256", weights="random")
        assert model(torch.zeros(1, 224, 224, 3, dtype=torch.uint8)).shape == (1, 2)

    Note that normalisation is a part of the network: what goes in is what `seefood.photo.square` gives.
    """

    network: Any  # of timm: an nn.Module with forward_features, forward_head, group_matcher and pretrained_cfg
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        labels: list[str],
        image_size: int = 224,
        crop: float = 1.0,
        architecture: str = "levit_256.fb_dist_in1k",
        weights: str = "hub",
        fold_norms: bool = False,
        frozen_stages: int = 0,
        frozen_depthwise: bool = False,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        optimizer: str = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        layer_decay: float | None = None,
        warmup_steps: int = 500,
        label_smoothing: float = 0.1,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mixed: float = 1.0,
        random_erasing: float = 0.0,
    ):
        """
        Args:
            labels: names of the C classes, in order.
            image_size: side S of the photos in pixels.
            crop: share of a photo's short side that evaluation sees; kept for export.
            architecture: a model name of timm.
            weights: see `seefood.training.weights.create_network`.
            fold_norms: train without batch-norm, folded into the convolutions; for going on from trained weights, see
                `seefood.training.weights.fold_batch_norms`.
            frozen_stages: how many stages after the stem keep their first weights, batch-norm statistics included; the
                stem then does too. 0 trains everything.
            drop_rate: dropout before the head.
            drop_path_rate: stochastic depth.
            optimizer: a name of timm's.
            lr: peak learning rate, reached after the warm-up; a cosine takes it to 0 over the rest of the steps.
            weight_decay: on matrices and kernels, not on biases and norms.
            layer_decay: factor of the learning rate from each layer to the one before.
            warmup_steps: optimizer steps of linear warm-up.
            label_smoothing: see Szegedy et al., 2016 (arXiv:1512.00567).
            mixup: alpha of mixup (arXiv:1710.09412); 0 is none.
            cutmix: alpha of CutMix (arXiv:1905.04899); 0 is none. With both, each batch gets one of them.
            mixed: share of the batches that mixup or CutMix changes.
            random_erasing: share of the photos that lose a rectangle (arXiv:1708.04896).

        Raises:
            WeightsError: no such architecture, or weights that do not fit it.
        """
        super().__init__()
        self.save_hyperparameters()
        self.labels = labels
        self._commit = commit()
        self.network = create_network(
            architecture,
            weights=weights,
            labels=labels,
            image_size=image_size,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            fold_norms=fold_norms,
        )
        for name in ("mean", "std"):
            value = torch.tensor(self.network.pretrained_cfg[name]).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self._frozen = list(_freeze(self.network, frozen_stages))
        if frozen_depthwise:
            _freeze_depthwise(self.network)
        hasten_depthwise(self.network)
        # Mixup pairs a photo with another of its batch, and wants an even number of them.
        self._mix = (
            Mixup(mixup, cutmix, prob=mixed, label_smoothing=0.0, num_classes=len(labels)) if mixup or cutmix else None
        )
        self.metrics = nn.ModuleDict({part: food_metrics(len(labels), f"{part}/") for part in ("val", "test")})
        # Lightning's own mean over several processes rounds the number of photos down.
        self.losses = nn.ModuleDict({part: MeanMetric(nan_strategy="disable") for part in ("val", "test")})
        self.train()

    def normalize(self, image: Tensor) -> Tensor:
        """uint8 [N, S, S, 3] -> float32 [N, 3, S, S], as the architecture's pre-training had it."""
        return (image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std

    def forward(self, image: Tensor) -> Tensor:
        return self.network(self.normalize(image))

    def train(self, mode: bool = True) -> "FoodClassifier":
        """Frozen stages stay in evaluation mode: no dropout, and batch-norm statistics that do not move."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        image, label = self.normalize(batch["image"]), batch["label"]
        if self.hparams["random_erasing"]:
            RandomErasing(self.hparams["random_erasing"], mode="pixel", device=image.device)(image)
        if self._mix is not None and len(image) % 2 == 0:
            image, label = self._mix(image, label)
        loss = F.cross_entropy(self.network(image), label, label_smoothing=self.hparams["label_smoothing"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        return self._evaluate(batch, "val")

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: dict[str, Tensor], part: str) -> Tensor:
        """Log the metrics; return the logits, float32 [N, C], for callbacks to look at."""
        logits = self(batch["image"]).float()
        metrics, loss = cast(MetricCollection, self.metrics[part]), cast(MeanMetric, self.losses[part])
        metrics.update(logits.softmax(dim=1), batch["label"])
        loss.update(F.cross_entropy(logits, batch["label"], reduction="none"))
        self.log(f"{part}/loss", loss)
        self.log_dict(metrics, prog_bar=True)
        return logits

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["commit"] = self._commit
        measured = self.trainer.callback_metrics.items()
        checkpoint["metrics"] = {name: value.item() for name, value in measured if name.startswith("val/")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The length of the schedule is that of this run, which may go on for longer than the one it goes on from."""
        for schedule in checkpoint.get("lr_schedulers", []):
            for length in ("t_initial", "warmup_t", "warmup_steps"):
                schedule.pop(length, None)

    def configure_optimizers(self) -> dict[str, Any]:
        chosen = self.hparams
        optimizer = create_optimizer_v2(
            self.network,
            opt=chosen["optimizer"],
            lr=chosen["lr"],
            weight_decay=chosen["weight_decay"],
            layer_decay=chosen["layer_decay"],
        )
        # timm's scheduler, since it is the one that heeds the learning-rate scales of its layer decay
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = min(chosen["warmup_steps"], steps // 2)
        scheduler = CosineLRScheduler(
            optimizer, t_initial=steps - warmup, warmup_t=warmup, warmup_prefix=True, t_in_epochs=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: CosineLRScheduler, metric: Any) -> None:
        scheduler.step_update(self.global_step)


def _freeze(network: Any, stages: int) -> Iterator[nn.Module]:
    """Stop the gradients of the stem and the first stages; yield the modules that lie wholly in them."""
    if stages == 0:
        return
    stage_of = group_parameters(network, network.group_matcher(coarse=True), reverse=True)
    count = max(stage_of.values()) - 1  # without the stem and the head
    assert stages <= count, f"Only {count} stages can be frozen, not {stages}."
    for name, parameter in network.named_parameters():
        parameter.requires_grad = stage_of[name] > stages
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            yield module


def _freeze_depthwise(network: nn.Module) -> None:
    """Stop the gradients of the depthwise convolutions, biases included: PyTorch gets both or neither."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.requires_grad_(False)
