"""Callbacks for runs in other processes: one writes down what each of them saw, the others shape the run."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class Witness(Callback):
    """Every process writes into the folder WITNESS: the photos of each step of a training into `steps-<rank>.jsonl`,
    what a command comes to into `<command>-<rank>.json`, and the trained weights into `fit-<rank>.pt`."""

    def on_train_batch_start(self, trainer: Trainer, model: LightningModule, batch: Any, batch_idx: int) -> None:
        photos = [hashlib.sha256(photo.numpy().tobytes()).hexdigest() for photo in batch["image"]]
        with self._file(f"steps-{trainer.global_rank}.jsonl").open("a") as file:
            print(json.dumps([trainer.global_step, photos]), file=file)

    def on_fit_end(self, trainer: Trainer, model: LightningModule) -> None:
        self._write("fit", trainer)
        torch.save(model.state_dict(), self._file(f"fit-{trainer.global_rank}.pt"))

    def on_test_end(self, trainer: Trainer, model: LightningModule) -> None:
        self._write("test", trainer)

    def _write(self, command: str, trainer: Trainer) -> None:
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        facts = {"processes": trainer.world_size, "steps": trainer.global_step, "metrics": metrics}
        self._file(f"{command}-{trainer.global_rank}.json").write_text(json.dumps(facts))

    def _file(self, name: str) -> Path:
        return Path(os.environ["WITNESS"], name)


class Plain(Callback):
    """No augmentation, and batch-norm that neither looks at the batch nor learns from it."""

    def setup(self, trainer: Trainer, model: LightningModule, stage: str) -> None:
        if stage == "fit":
            trainer.datamodule.train.set_transform(trainer.datamodule._evaluation_batch)

    def on_train_start(self, trainer: Trainer, model: LightningModule) -> None:
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()


class Accident(Callback):
    """One process is killed at the start of a step, as the kernel does when memory runs out."""

    def __init__(self, rank: int, step: int):
        self.rank, self.step = rank, step

    def on_train_batch_start(self, trainer: Trainer, *arguments: object) -> None:
        if (trainer.global_rank, trainer.global_step) == (self.rank, self.step):
            os.kill(os.getpid(), signal.SIGKILL)


class Photos(Callback):
    """Writes the photos of tests/test_streaming.py that a process trains on into `photos-<rank>.json`, in order."""

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, model: LightningModule, batch: Any, batch_idx: int) -> None:
        self._numbers += [256 * red + green for red, green, _ in batch["image"][:, 0, 0].tolist()]

    def on_fit_end(self, trainer: Trainer, model: LightningModule) -> None:
        Path(os.environ["WITNESS"], f"photos-{trainer.global_rank}.json").write_text(json.dumps(self._numbers))
