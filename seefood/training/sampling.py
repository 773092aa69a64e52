"""Which photos each process of a run gets: all of them share one order, which the seed and the epoch alone decide."""

from collections.abc import Iterator, Sized
from typing import cast

import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from seefood.errors import DataError


class TrainingSampler(DistributedSampler):
    """Shuffles the photos, or draws them by their weights, and deals them out to the processes in turn.

        first, second = (TrainingSampler(photos, processes=2, rank=rank, seed=0) for rank in (0, 1))
        assert not set(first) & set(second)

    Note that two processes with n photos a step see together, step by step, what one with 2n sees: nothing is asked of
    the global random generators, which the processes may have used differently. Photos that cannot be dealt out evenly
    are left out, where PyTorch's sampler would give some to two processes.
    """

    def __init__(self, photos: Sized, weights: Tensor | None = None, *, processes: int, rank: int, seed: int):
        """
        Args:
            photos: a data set with a length.
            weights: float64 [photos], how often each is drawn (with replacement) relative to the others; None shuffles.
            processes: how many there are.
            rank: which of them this is, from 0 on.
            seed: the same in every process.
        """
        super().__init__(cast(Dataset, photos), num_replicas=processes, rank=rank, seed=seed, drop_last=True)
        self.count = len(photos)
        self.weights = weights
        self.seen = 0  # photos of this process that the first epoch leaves out

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if self.weights is None:
            order = torch.randperm(self.count, generator=generator)
        else:
            order = torch.multinomial(self.weights, self.count, replacement=True, generator=generator)
        seen, self.seen = self.seen, 0
        return iter(order[self.rank : self.total_size : self.num_replicas][seen:].tolist())

    def go_on(self, epoch: int, seen: int) -> None:
        """Begin in the middle of an epoch, after as many of its photos in this process."""
        self.set_epoch(epoch)
        self.seen = seen


def evaluation_sampler(photos: Sized, *, processes: int, rank: int) -> UnrepeatedDistributedSampler:
    """Every photo once, over all processes; PyTorch's own sampler repeats some until all have as many.

    Raises:
        DataError: there are fewer photos than processes.
    """
    if len(photos) < processes:
        raise DataError(f"{len(photos)} photos cannot be shared out to {processes} processes. Take fewer devices.")
    return UnrepeatedDistributedSampler(photos, num_replicas=processes, rank=rank, shuffle=False)
