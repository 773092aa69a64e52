"""Lightning's loop with all that configs/default.yaml hangs onto it, beside a bare PyTorch loop with the same network
and photos; and what the loader delivers beside what a step takes.

    python benchmarks/loop.py                       # photos made from examples/
    SEEFOOD_DATA=folder python benchmarks/loop.py   # folder/food101-64
    python benchmarks/loop.py --steps 100

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
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median, quantiles

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
WARM_UP = 6  # steps: the first ones wait for the loader's first photos, and allocate
BLOCK = 6  # steps


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


@dataclass(frozen=True)
class Span:
    """Seconds by the clock, and of this process on the CPU, which tell more where the machine has other work."""

    wall: float
    cpu: float


class Watch:
    """Tells how long it is since it was last asked."""

    def __init__(self) -> None:
        self.last = self._now()

    def lap(self) -> Span:
        before, self.last = self.last, self._now()
        return Span(*(now - then for now, then in zip(self.last, before, strict=True)))

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


class TakingTurns(Callback):
    """After each step of Lightning's, one of a bare loop."""

    def __init__(self) -> None:
        self.lightning: list[Span] = []
        self.plain: list[Span] = []

    def on_train_start(self, trainer: Trainer, model: LightningModule) -> None:
        self.bare = BareLoop(deepcopy(model), trainer.datamodule.train_dataloader(), trainer.gradient_clip_val)
        self.watch = Watch()

    def on_train_batch_end(self, *_: object) -> None:
        self.lightning.append(self.watch.lap())
        self.bare.step()
        self.plain.append(self.watch.lap())


def source(folder: Path) -> str:
    """A folder of photos: the one of the embedded model, or one that is made."""
    if os.environ.get("SEEFOOD_DATA"):
        return f"{os.environ['SEEFOOD_DATA']}/food101-64"
    for index, photo in enumerate(islice(small_photos(0), 1000)):
        path = folder / ("ramen", "pizza")[index % 2] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.resize((96, 64)).save(path, quality=90)
    return str(folder)


def timed(call: Callable[[], object], count: int) -> list[Span]:
    """Of each call, after some that warm up."""
    watch, spans = Watch(), []
    for _ in range(WARM_UP + count):
        call()
        spans.append(watch.lap())
    return spans[WARM_UP:]


def row(name: str, spans: Sequence[Span], batch_size: int) -> float:
    """Print and return the photos a second, the median over blocks of steps: two workers deliver in pairs."""
    rates = sorted(
        batch_size * BLOCK / sum(span.wall for span in spans[first : first + BLOCK])
        for first in range(0, len(spans) - BLOCK + 1, BLOCK)
    )
    cpu = 1000 * median(span.cpu for span in spans) / batch_size
    print(f"| {name} | {median(rates):.0f} | {rates[0]:.0f}-{rates[-1]:.0f} | {cpu:.2f} |", flush=True)
    return median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="of each loop")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cli = train.main([
            *("fit", "--config", str(CONFIG), "--data.num_workers", str(WORKERS)),
            *("--data.sources", json.dumps([{"path": source(Path(folder, "photos"))}])),
            *("--trainer.max_steps", str(WARM_UP + arguments.steps), "--trainer.logger.init_args.save_dir", folder),
            *("--trainer.callbacks+", "loop.TakingTurns", "--trainer.check_val_every_n_epoch", "1000"),
        ])  # fmt: skip
        turns = next(callback for callback in cli.trainer.callbacks if type(callback).__name__ == "TakingTurns")
        bare, batch = turns.bare, next(turns.bare.batches)
        step = timed(lambda: bare.step(batch), arguments.steps // 2)
        loader = timed(lambda: next(bare.batches), arguments.steps)
    lightning, plain, size = turns.lightning[WARM_UP:], turns.plain[WARM_UP:], cli.datamodule.batch_size
    print(f"\n| {arguments.steps} steps | photos a second | of {BLOCK} steps | ms of CPU a photo |\n|---|---|---|---|")
    row("a bare PyTorch loop", plain, size)
    row("Lightning's loop, with all of configs/default.yaml", lightning, size)
    needed = row("a step alone, its photos in memory", step, size)
    delivered = row(f"the loader alone, {WORKERS} workers; CPU without theirs", loader, size)
    pairs = list(zip(plain, lightning, strict=True))
    low, middle, high = quantiles((one.wall / other.wall for one, other in pairs), n=4)
    cpu = quantiles((one.cpu / other.cpu for one, other in pairs), n=4)
    print(f"\nLightning's loop: {middle:.3f} times a bare one (median of {arguments.steps} pairs of steps;")
    print(f"half of them {low:.3f}-{high:.3f}); by CPU {cpu[1]:.3f} ({cpu[0]:.3f}-{cpu[2]:.3f})")
    print(f"The loader: {delivered / needed:.1f} times what a step takes")


if __name__ == "__main__":
    main()
