"""How many photos a second a training step takes, forward and backward, for each choice of network and of what learns.

    python benchmarks/training.py
    python benchmarks/training.py --runs 20 --batch-size 64

Batches are random pixels; no photo is read. `make bench-training` lets glibc keep the memory that a step frees, as
`make train` does: without, the same steps take up to twice as long.
"""

import argparse
import time
from statistics import median

import torch

from seefood.training.depthwise import FastDepthwise
from seefood.training.model import FoodClassifier

LABELS = [f"dish_{index}" for index in range(102)]
NETWORKS = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")
SIZES = (96, 128)
PLAIN = "everything learns, depthwise gradients by PyTorch"
CHOICES: dict[str, dict[str, int | bool]] = {
    PLAIN: {},
    "everything learns": {},
    "two stages frozen": {"frozen_stages": 2},
    "two stages and depthwise kernels frozen": {"frozen_stages": 2, "frozen_depthwise": True},
    "the same, batch-norm folded": {"frozen_stages": 2, "frozen_depthwise": True, "fold_norms": True},
}


class Step:
    """One training step of a network on random pixels, without Lightning's loop around it."""

    def __init__(self, architecture: str, size: int, batch_size: int, name: str):
        options = {
            "labels": LABELS,
            "image_size": size,
            "architecture": architecture,
            "weights": "random",
            **CHOICES[name],
        }
        self.model = FoodClassifier(**options)
        if name == PLAIN:
            for module in self.model.modules():
                if isinstance(module, FastDepthwise):
                    module.fast = False
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, lr=1e-4)
        self.image = torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8)
        self.label = torch.randint(0, len(LABELS), (batch_size,))

    def __call__(self) -> float:
        """Take the step; returns the photos a second."""
        start = time.perf_counter()
        torch.nn.functional.cross_entropy(self.model(self.image), self.label).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return len(self.label) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8, help="steps of each row, taken in turns")
    parser.add_argument("--batch-size", type=int, default=96)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    for architecture in NETWORKS:
        for size in SIZES:
            steps = {name: Step(architecture, size, arguments.batch_size, name) for name in CHOICES}
            rounds = [{name: step() for name, step in steps.items()} for _ in range(arguments.runs + 1)][1:]
            rates = {name: median(one[name] for one in rounds) for name in steps}
            slowest = rates[PLAIN]
            for name, rate in rates.items():
                print(f"| {architecture} | {size} px | {name} | {rate:.0f} | {rate / slowest:.2f} |", flush=True)


if __name__ == "__main__":
    print("| network | size | what learns | photos a second | as a ratio |\n|---|---|---|---|---|")
    main()
