"""A callback for runs in other processes: it writes down what each of them saw."""

import json
import os
from pathlib import Path

from lightning import Callback, LightningModule, Trainer


class Witness(Callback):
    """At the end of a run, every process writes `<command>-<rank>.json` into the folder WITNESS."""

    def on_fit_end(self, trainer: Trainer, model: LightningModule) -> None:
        _write("fit", trainer, model)

    def on_test_end(self, trainer: Trainer, model: LightningModule) -> None:
        _write("test", trainer, model)


def _write(command: str, trainer: Trainer, model: LightningModule) -> None:
    facts = {
        "processes": trainer.world_size,
        "steps": trainer.global_step,
        "weights": [parameter.double().sum().item() for parameter in model.network.parameters()],
    }
    Path(os.environ["WITNESS"], f"{command}-{trainer.global_rank}.json").write_text(json.dumps(facts))
