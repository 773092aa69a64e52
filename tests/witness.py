"""Callbacks for runs in other processes: they write down what each of them saw."""

import json
import os
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Witness(Callback):
    """At the end of a run, every process writes `<command>-<rank>.json` into the folder WITNESS."""

    def on_fit_end(self, trainer: Trainer, model: LightningModule) -> None:
        _write("fit", trainer, model)

    def on_test_end(self, trainer: Trainer, model: LightningModule) -> None:
        _write("test", trainer, model)


class Photos(Callback):
    """Writes the photos of tests/test_streaming.py that a process trains on into `photos-<rank>.json`, in order."""

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, model: LightningModule, batch: Any, batch_idx: int) -> None:
        self._numbers += [256 * red + green for red, green, _ in batch["image"][:, 0, 0].tolist()]

    def on_fit_end(self, trainer: Trainer, model: LightningModule) -> None:
        Path(os.environ["WITNESS"], f"photos-{trainer.global_rank}.json").write_text(json.dumps(self._numbers))


def _write(command: str, trainer: Trainer, model: LightningModule) -> None:
    facts = {
        "processes": trainer.world_size,
        "steps": trainer.global_step,
        "weights": [parameter.double().sum().item() for parameter in model.network.parameters()],
    }
    Path(os.environ["WITNESS"], f"{command}-{trainer.global_rank}.json").write_text(json.dumps(facts))
