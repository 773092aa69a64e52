"""The mean of several checkpoints: of runs that began with the same weights, it often generalises better than each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from seefood.errors import WeightsError


def mean_checkpoint(paths: Sequence[Path]) -> dict[str, Any]:
    """The first checkpoint with the mean of all weights in the place of its own, and `mean_of`, the paths' names.

    See model soups (arXiv:2203.05482) and robust fine-tuning (arXiv:2109.01903). One that is named twice counts twice.

    Raises:
        WeightsError: the checkpoints are not of the same network.
    """
    checkpoint = torch.load(paths[0], map_location="cpu")
    states = [checkpoint["state_dict"]] + [torch.load(path, map_location="cpu")["state_dict"] for path in paths[1:]]
    if any(_shapes(state) != _shapes(states[0]) for state in states):
        names = ", ".join(map(str, paths))
        raise WeightsError(f"{names}: not of the same network. Name checkpoints of one architecture and labels.")
    checkpoint["state_dict"] = {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    if len(paths) > 1:
        checkpoint["mean_of"] = [str(path) for path in paths]
    return checkpoint


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}
