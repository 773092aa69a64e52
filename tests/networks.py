"""Networks that the tests make themselves, small or lively, with random batches, quiet trainers and checkpoints."""

from pathlib import Path

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn

from seefood.training.model import FoodClassifier

LABELS = ["apple_pie", "ramen", "not_food"]


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
    model.trainer = saving
    saving.save_checkpoint(path)
    return path


def lively(architecture: str, size: int, labels: list[str]) -> tuple[FoodClassifier, Tensor]:
    """A network whose every number matters, as after training, and photos for it.

    With first weights as they are drawn, statistics of 0 and 1 and nearly equal answers would let a wrong graph pass;
    and attention that favours no place would make all places alike, and what is left of their differences rounding.
    """
    torch.manual_seed(0)
    model = FoodClassifier(labels=labels, image_size=size, architecture=architecture, weights="random")
    image = torch.randint(0, 256, (7, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
                module.momentum = None  # the statistics become those of the photos
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.normal_(std=0.3)
        for name, parameter in model.named_parameters():
            if name.endswith("attention_biases"):
                parameter.normal_(std=3)
        model.train()(image)
        scale = 2 / model.eval()(image).std()
        for module in model.modules():
            if isinstance(module, nn.Linear) and module.out_features == len(labels):
                module.bias.normal_()
                module.weight.mul_(scale)
    return model, image
