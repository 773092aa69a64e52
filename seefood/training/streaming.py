"""Photos that stay where they are: a stream of them, shared out among processes and workers, that can be resumed."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import datasets
import fsspec.asyn  # type: ignore[import-untyped]
import torch
from datasets import IterableDataset
from datasets.distributed import split_dataset_by_node
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import distributed
from torch.utils.data import get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader  # type: ignore[import-untyped]

from seefood.errors import DataError
from seefood.training.shards import ShardedSource
from seefood.training.sources import Source


def check_streamable(sources: Sequence[Source], *, balanced: bool) -> None:
    """Refuse what needs to look at all photos first.

    Raises:
        DataError: it names the setting.
    """
    if balanced:
        raise DataError("data.balanced needs the labels of all photos, which a stream does not know. Leave it out.")
    for source in sources:
        if source.balanced:
            raise DataError(f"{source.path}: balanced needs all labels, which a stream does not know. Leave it out.")
        if source.short_side:
            raise DataError(f"{source.path}: a stream has no short_side. Use data.downscale, or store them shrunk.")
        if source.weight < 1 or source.weight % 1:
            raise DataError(
                f"{source.path}: in a stream a weight is how often its photos come in an epoch, a whole number, not "
                f"{source.weight:g}. Round it; 1 is for the source that comes least."
            )


def united_stream(sources: Sequence[ShardedSource], labels: list[str], *, buffer: int, seed: int) -> IterableDataset:
    """The photos of all sources, in an order that each epoch changes, again and again.

    Args:
        sources: their files are shuffled together, so that each reader meets all of them.
        labels: the united labels.
        buffer: so many photos wait in each worker, to leave in random order.
        seed: of the order.
    """
    stream = datasets.concatenate_datasets([source.stream(labels) for source in sources])
    return stream.shuffle(seed=seed, buffer_size=buffer).repeat(None)


def photos_of_an_epoch(sources: Sequence[ShardedSource]) -> int:
    """How many photos come in an epoch, one of weight 2 twice."""
    return sum(int(one.source.weight) * sum(shard.photos for shard in one.parts["train"]) for one in sources)


class _Share(torch.utils.data.IterableDataset):
    """What one worker of one process reads.

    `datasets` can share a stream out among workers, too. But its release 5.2 then cannot resume: it tries a worker's
    state on the stream of the whole process, which has more files. So each worker is a node to it.
    """

    def __init__(self, stream: IterableDataset, rank: int, processes: int, prepare: Callable[[dict[str, Any]], Any]):
        self.stream = stream
        self._rank, self._processes, self._prepare = rank, processes, prepare
        self._position: dict[str, Any] = {}
        self._open: IterableDataset | None = None

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            fsspec.asyn.reset_lock()  # its thread did not come along
        share = split_dataset_by_node(
            self.stream, self._rank * workers + number, self._processes * workers, strategy="shards"
        )
        share.set_epoch(self.stream.epoch)
        if self._position:
            share.load_state_dict(self._position)
        self._open = None
        return self._rows(share)

    def _rows(self, share: IterableDataset) -> Iterator[Any]:
        for batch in share.iter(1):  # its other way of iterating asks for the worker
            self._open = share
            yield self._prepare({name: value for name, (value,) in batch.items()})

    def state_dict(self) -> dict[str, Any]:
        return {"position": self._open.state_dict() if self._open else self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._position = state["position"]


class StreamLoader:
    """The batches of one process: as many in each process and epoch, and in another order in each epoch.

    A file is read by one worker of one process. Where all workers get equally many photos, each comes once an epoch.
    Else a worker that has fewer begins anew, and of the others some photos are left out of this epoch. Thus all
    processes take the same number of steps, as `DistributedDataParallel` needs it.

    Its state is that of `datasets`, for every process: which photos were read. What waits in a shuffle buffer was read,
    and is not kept: in the epoch that is resumed, at most a buffer of photos for each worker does not come, and others
    come twice instead. With a buffer of 1 the rest of the epoch comes exactly once.
    """

    def __init__(
        self,
        stream: IterableDataset,
        prepare: Callable[[dict[str, Any]], Any],
        *,
        photos: int,
        rank: int,
        processes: int,
        batch_size: int,
        num_workers: int,
    ):
        """
        Args:
            stream: endless.
            prepare: makes of a row what `default_collate` takes.
            photos: how many come in an epoch, over all processes.
            rank: which process this is, of `processes`.
            processes: how many share the stream.
            batch_size: photos in a batch.
            num_workers: processes that read and decode for this one.

        Raises:
            DataError: there are fewer files than workers.
        """
        files, readers = stream.num_shards, processes * max(1, num_workers)
        if files < readers:
            raise DataError(
                f"The stream has {files} files to train on for {readers} workers ({processes} processes with "
                f"{max(1, num_workers)}). Write more files, or take fewer workers (data.num_workers) or processes."
            )
        if files % readers:
            rank_zero_warn(
                f"{files} files cannot be shared evenly among {readers} workers: in each epoch some photos are left "
                "out and others come twice. Choose a data.num_workers that divides them, or write more files."
            )
        self._length = max(1, photos // (processes * batch_size))
        self._rank, self._processes = rank, processes
        self._stream = stream
        self._loader = StatefulDataLoader(
            _Share(stream, rank, processes, prepare),
            batch_size=batch_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
        self._epoch, self._given, self._is_resumed = -1, 0, False

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        if not self._is_resumed:
            self._epoch, self._given = self._epoch + 1, 0
        self._is_resumed = False
        self._stream.set_epoch(self._epoch)
        for batch in islice(self._loader, self._length - self._given):
            self._given += 1
            yield batch

    def close(self) -> None:
        """End the workers, which else live on until the process ends."""
        self._loader.load_state_dict({})

    def state_dict(self) -> dict[str, Any]:
        """Where every process is; all of them must call it."""
        if self._epoch < 0:
            return {}
        state = {"epoch": self._epoch, "given": self._given, "loader": self._loader.state_dict()}
        return {"workers": self._loader.num_workers, "processes": _of_every_process(state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; with the next epoch, if that one was over, or there were other processes or workers."""
        if not state:
            return
        of_processes = state["processes"]
        mine = of_processes[self._rank % len(of_processes)]
        self._epoch, self._given = mine["epoch"], mine["given"]
        if (len(of_processes), state["workers"]) != (self._processes, self._loader.num_workers):
            rank_zero_warn(
                f"The stream starts over: the checkpoint is of {len(of_processes)} processes with {state['workers']} "
                f"workers, this run has {self._processes} with {self._loader.num_workers}."
            )
        elif self._given < self._length:
            self._loader.load_state_dict(mine["loader"])
            self._is_resumed = True


def _of_every_process(state: dict[str, Any]) -> list[dict[str, Any]]:
    if not distributed.is_available() or not distributed.is_initialized():
        return [state]
    states: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(states, state)
    return states
