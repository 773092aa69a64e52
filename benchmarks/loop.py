"""Lightning's loop with all that configs/default.yaml hangs onto it, beside a bare PyTorch loop with the same network
and photos; and what the loader delivers beside what a step takes.

    python benchmarks/loop.py                       # photos made from examples/
    SEEFOOD_DATA=folder python benchmarks/loop.py   # folder/food101-64
    python benchmarks/loop.py --rounds 6 --steps 10

Both loops run in one process and take their steps in turns, so that both meet the same load of the machine. Each has a
network, an optimiser and a loader with two workers of its own.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

import torch
from lightning import Callback, LightningModule, Trainer
from photo import small_photos
from timm.optim import create_optimizer_v2
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

import train
from seefood.training.model import FoodClassifier

CONFIG = Path(__file__).parents[1] / "configs" / "default.yaml"
WORKERS = 2
WARM_UP = 5  # steps: the first ones wait for the loader's first photos, and allocate


class BareLoop:
    """What one writes without Lightning: no log, no averaged weights, no checkpoints, no progress bar."""

    def __init__(self, model: FoodClassifier, loader: DataLoader, clip: float):
        self.model, self.loader, self.clip = model, loader, clip
        self.optimizer = create_optimizer_v2(
            model.network, opt=model.hparams["optimizer"], lr=1e-4, weight_decay=model.hparams["weight_decay"]
        )
        self.batches = self._endless()

    def _endless(self) -> Iterator[dict[str, torch.Tensor]]:
        while True:
            yield from self.loader

    def step(self, batch: dict[str, torch.Tensor] | None = None) -> None:
        batch = batch or next(self.batches)
        logits = self.model(batch["image"])
        F.cross_entropy(logits, batch["label"], label_smoothing=self.model.hparams["label_smoothing"]).backward()
        clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()


class TakingTurns(Callback):
    """After each step of Lightning's, one of a bare loop; `seconds` holds a pair for each: (Lightning, bare)."""

    def __init__(self) -> None:
        self.seconds: list[tuple[float, float]] = []

    def on_train_start(self, trainer: Trainer, model: LightningModule) -> None:
        self.bare = BareLoop(deepcopy(model), trainer.datamodule.train_dataloader(), trainer.gradient_clip_val)
        self.started = time.perf_counter()

    def on_train_batch_end(self, *_: object) -> None:
        ended = time.perf_counter()
        self.bare.step()
        again = time.perf_counter()
        self.seconds.append((ended - self.started, again - ended))
        self.started = again


def source(folder: Path) -> str:
    """A folder of photos: the one of the embedded model, or one that is made."""
    if os.environ.get("SEEFOOD_DATA"):
        return f"{os.environ['SEEFOOD_DATA']}/food101-64"
    for index, photo in enumerate(islice(small_photos(0), 1000)):
        path = folder / ("ramen", "pizza")[index % 2] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.resize((96, 64)).save(path, quality=90)
    return str(folder)


def rounds_of(seconds: Sequence[float], steps: int, batch_size: int) -> list[float]:
    """Photos a second in each round of as many steps."""
    return [batch_size * steps / sum(seconds[first : first + steps]) for first in range(0, len(seconds), steps)]


def timed(call: Callable[[], object], count: int) -> list[float]:
    """Seconds of each call, without those that warm up."""
    moments = [time.perf_counter()]
    for _ in range(WARM_UP + count):
        call()
        moments.append(time.perf_counter())
    return [end - start for start, end in pairwise(moments)][WARM_UP:]


def row(name: str, rates: list[float]) -> None:
    print(f"| {name} | {median(rates):.0f} | {min(rates):.0f}-{max(rates):.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10, help="of each loop, in a round")
    arguments = parser.parse_args()
    count = arguments.rounds * arguments.steps
    with tempfile.TemporaryDirectory() as folder:
        cli = train.main([
            *("fit", "--config", str(CONFIG), "--data.num_workers", str(WORKERS)),
            *("--data.sources", json.dumps([{"path": source(Path(folder, "photos"))}])),
            *("--trainer.max_steps", str(WARM_UP + count), "--trainer.logger.init_args.save_dir", folder),
            *("--trainer.callbacks+", "loop.TakingTurns"),
        ])  # fmt: skip
        turns = next(callback for callback in cli.trainer.callbacks if type(callback).__name__ == "TakingTurns")
        bare, batch = turns.bare, next(turns.bare.batches)
        step = timed(lambda: bare.step(batch), count)
        loader = timed(lambda: next(bare.batches), count)
    lightning, plain, alone, loaded = (
        rounds_of(seconds, arguments.steps, cli.datamodule.batch_size)
        for seconds in (*zip(*turns.seconds[WARM_UP:], strict=True), step, loader)
    )
    print(
        f"\n| {arguments.rounds} rounds of {arguments.steps} steps | photos a second | of the rounds |\n|---|---|---|"
    )
    row("a bare PyTorch loop", plain)
    row("Lightning's loop, with all of configs/default.yaml", lightning)
    row("a step alone, its photos in memory", alone)
    row(f"the loader alone, {WORKERS} workers", loaded)
    ratios = [one / other for one, other in zip(lightning, plain, strict=True)]
    print(f"\nLightning's loop: {median(ratios):.3f} times a bare one ({min(ratios):.3f}-{max(ratios):.3f})")
    print(f"The loader: {median(loaded) / median(alone):.1f} times what a step takes")


if __name__ == "__main__":
    main()
