"""Training on several processes: what one process would have done, and an error when one of them is lost."""

import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from made_photos import class_folders
from training_fixtures import small_process, tiny_config, train_command  # noqa: F401

import train
from seefood.errors import DataError
from seefood.training.data import FoodData
from seefood.training.sampling import TrainingSampler, evaluation_sampler
from seefood.training.sources import Source

KINDS = {"apple_pie": 0, "ramen": 1, "not_food": 2}
TRAINED, VALIDATED = 48, 15  # an odd number: of two processes, one validates 8 photos and one 7
STEPS, STEPS_AN_EPOCH, A_STEP = 10, 4, 12
LOST_AT = 6  # in the middle of the second epoch
TWO_DEVICES = ("--trainer.devices", "2")
TWO_NODES = ("--trainer.devices", "1", "--trainer.num_nodes", "2")
PYTHON = (sys.executable,)
TORCHRUN = (*PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "2")
SECONDS = 240  # for a run, on a machine with other work
SECONDS_TO_END = 20  # for all processes, after one was lost


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    class_folders(folder / "train", KINDS, (TRAINED + VALIDATED) // len(KINDS), size=(40, 40))
    class_folders(folder / "test", KINDS, 3, seed=80, size=(40, 40))
    return folder


@pytest.mark.parametrize("weights", [None, torch.rand(50, dtype=torch.float64)], ids=["shuffled", "weighted"])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_one_order_whatever_their_random_generators_do(
    weights: torch.Tensor | None, processes: int
) -> None:
    for epoch in range(3):
        orders = []
        for count, rank in [(1, 0), *((processes, rank) for rank in range(processes))]:
            sampler = TrainingSampler(range(50), weights, processes=count, rank=rank, seed=1)
            torch.manual_seed(rank)
            sampler.set_epoch(epoch)
            orders.append(list(sampler))
        alone, *shares = orders
        assert [index for step in zip(*shares, strict=True) for index in step] == alone[: 50 // processes * processes]


def test_each_epoch_and_each_seed_has_an_order_of_its_own() -> None:
    orders = set()
    for seed, epoch in [(0, 0), (0, 1), (7, 0)]:
        sampler = TrainingSampler(range(50), processes=1, rank=0, seed=seed)
        sampler.set_epoch(epoch)
        orders.add(tuple(sampler))
    assert len(orders) == 3
    assert all(sorted(order) == list(range(50)) for order in orders)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_every_photo_is_evaluated_once(processes: int) -> None:
    samplers = [evaluation_sampler(range(15), processes=processes, rank=rank) for rank in range(processes)]
    assert sorted(index for sampler in samplers for index in sampler) == list(range(15))


def test_more_processes_than_photos_to_validate_are_refused(tmp_path: Path) -> None:
    data = FoodData(sources=[Source(path=str(class_folders(tmp_path, KINDS, 4)))], num_workers=0)
    data.setup("fit")
    with pytest.raises(DataError, match=r"3 photos .* 4 processes\. .*"):
        evaluation_sampler(data.validation, processes=4, rank=0)


def arguments(photos: Path, folder: Path, *, batch_size: int = A_STEP // 2, lost: int | None = None) -> list[str]:
    """Of a `fit` without augmentation whose witness writes into `folder`; `lost` is the rank of a process to kill."""
    callbacks: list[dict[str, Any]] = [{"class_path": "witness.Witness"}, {"class_path": "witness.Plain"}]
    if lost is not None:
        callbacks.append({"class_path": "witness.Accident", "init_args": {"rank": lost, "step": LOST_AT}})
    folder.mkdir(exist_ok=True)
    return [
        *("fit", "--config", str(tiny_config(photos, folder, steps=STEPS, callbacks=tuple(callbacks)))),
        *("--data.batch_size", str(batch_size), "--data.validation_fraction", str(VALIDATED / (TRAINED + VALIDATED))),
        *("--trainer.check_val_every_n_epoch", "1"),
    ]


@dataclass
class Lost:
    """A run of which one process was killed."""

    folder: Path
    code: int
    errors: str
    seconds: float  # from the step at which it was killed until no process was left
    orphans: list[int]  # processes that were left all the same

    @classmethod
    def run(cls, photos: Path, folder: Path, rank: int, launcher: tuple[str, ...]) -> "Lost":
        process = train_command(folder, *arguments(photos, folder, lost=rank), *TWO_DEVICES, launcher=launcher)
        try:
            _, errors = process.communicate(timeout=SECONDS)  # ends when no process has the pipe open
            while of_this_run(folder) and time.time() < last_step(folder) + SECONDS_TO_END:
                time.sleep(0.2)
            orphans = of_this_run(folder)
            return cls(folder, process.returncode, errors, time.time() - last_step(folder), orphans)
        finally:
            for orphan in of_this_run(folder):
                os.kill(orphan, signal.SIGKILL)


def last_step(folder: Path) -> float:
    return max(file.stat().st_mtime for file in folder.glob("steps-*.jsonl"))


def of_this_run(folder: Path) -> list[int]:
    """The processes that live and have the folder's witness in their environment."""
    mark, found = f"WITNESS={folder}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:  # it has ended meanwhile, or is another's
            pass
    return found


def steps(folder: Path, rank: int = 0) -> dict[int, list[str]]:
    """The photos that a process had in each step; in one that was begun twice, the second time."""
    return dict(json.loads(line) for line in (folder / f"steps-{rank}.jsonl").read_text().splitlines())


def facts(folder: Path, rank: int = 0, command: str = "fit") -> dict[str, Any]:
    return json.loads((folder / f"{command}-{rank}.json").read_text())


def measured(folder: Path, rank: int = 0, command: str = "fit") -> dict[str, float]:
    part = {"fit": "val/", "test": "test/"}[command]
    return {name: value for name, value in facts(folder, rank, command)["metrics"].items() if name.startswith(part)}


def assert_same_weights(folder: Path, other: Path) -> None:
    """In all processes of a run, and in the one of the other."""
    expected = trained(other / "fit-0.pt")
    for file in folder.glob("fit-*.pt"):
        torch.testing.assert_close(trained(file), expected, rtol=1e-4, atol=1e-5)


def trained(file: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in torch.load(file).items() if name.startswith("network.")}


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one process, with as many photos a step as two have together."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WITNESS", str(folder))
        train.main(arguments(photos, folder, batch_size=A_STEP))
    return folder


@pytest.fixture(scope="module")
def lost(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Lost:
    """A run of two processes, started by Lightning, of which the second is killed."""
    return Lost.run(photos, tmp_path_factory.mktemp("runs") / "two", 1, PYTHON)


@pytest.fixture(scope="module")
def two(photos: Path, lost: Lost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, which goes on in two processes of torchrun."""
    folder = shutil.copytree(lost.folder, tmp_path_factory.mktemp("runs") / "again")
    options = [*arguments(photos, folder), *TWO_DEVICES, "--ckpt_path", "last"]
    process = train_command(folder, *options, launcher=TORCHRUN)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors[-2000:]
    return folder


@pytest.mark.slow
def test_two_processes_take_together_the_steps_of_one_also_when_one_was_killed_between(two: Path, alone: Path) -> None:
    of_one, of_first, of_second = steps(alone), steps(two, 0), steps(two, 1)
    assert list(of_one) == list(of_first) == list(of_second) == list(range(STEPS))
    for step in range(STEPS):
        assert sorted(of_first[step] + of_second[step]) == sorted(of_one[step])


@pytest.mark.slow
def test_two_processes_see_every_photo_once_an_epoch(two: Path) -> None:
    for first in range(0, STEPS - STEPS_AN_EPOCH, STEPS_AN_EPOCH):
        epoch = range(first, first + STEPS_AN_EPOCH)
        seen = [photo for step in epoch for rank in (0, 1) for photo in steps(two, rank)[step]]
        assert len(seen) == len(set(seen)) == TRAINED


@pytest.mark.slow
def test_two_processes_come_to_the_weights_of_one(two: Path, alone: Path) -> None:
    assert [facts(two, rank)["processes"] for rank in (0, 1)] == [2, 2]
    assert_same_weights(two, alone)


@pytest.mark.slow
def test_two_processes_measure_what_one_does(two: Path, alone: Path) -> None:
    expected = measured(alone)
    assert set(expected) == {f"val/{name}" for name in ("loss", "top1", "top5", "f1", "ece")}
    assert measured(two, 0) == measured(two, 1) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(
    photos: Path, lost: Lost, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(lost.folder, tmp_path / "one")
    monkeypatch.setenv("WITNESS", str(folder))
    options = arguments(photos, folder, batch_size=A_STEP)
    train.main([*options, "--ckpt_path", "last", "--data.num_workers", "2"])  # which fetch before the epoch begins
    assert {step: steps(folder)[step] for step in range(LOST_AT, STEPS)} == {
        step: steps(alone)[step] for step in range(LOST_AT, STEPS)
    }
    assert_same_weights(folder, alone)


@pytest.mark.slow
def test_two_processes_test_every_photo_once(
    photos: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(photos, tmp_path, steps=1, callbacks=({"class_path": "witness.Witness"},))
    checkpoint = str(alone / "run" / "checkpoints" / "best.ckpt")
    options = ("test", "--config", str(config), "--ckpt_path", checkpoint, "--data.batch_size", "2")
    monkeypatch.setenv("WITNESS", str(alone))
    train.main([*options])
    process = train_command(tmp_path, *options, *TWO_DEVICES)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors[-2000:]
    assert facts(tmp_path, 1, "test")["processes"] == 2
    expected = measured(alone, 0, "test")
    assert measured(tmp_path, 0, "test") == measured(tmp_path, 1, "test") == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "rank", "message"),
    [(PYTHON, 1, "by peer"), (PYTHON, 0, "by peer"), (TORCHRUN, 0, "SIGKILL")],
    ids=["the second", "the first", "the first under torchrun"],
)
def test_a_killed_process_ends_the_run_with_an_error(
    photos: Path, tmp_path: Path, launcher: tuple[str, ...], rank: int, message: str, request: pytest.FixtureRequest
) -> None:
    has_run = (launcher, rank) == (PYTHON, 1)
    ended = request.getfixturevalue("lost") if has_run else Lost.run(photos, tmp_path / "run", rank, launcher)
    assert ended.code != 0
    assert message in ended.errors
    assert ended.seconds < SECONDS_TO_END
    assert not ended.orphans


def node(rank: int) -> dict[str, str]:
    return {"NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}


def slurm_task(rank: int) -> dict[str, str]:
    """What srun sets in each task of a job on two nodes with a task each."""
    return {
        "SLURM_JOB_ID": "4518",
        "SLURM_JOB_NAME": "seefood",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NODELIST": "localhost,other",
        "SLURM_NODEID": str(rank),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0",
    }


@pytest.mark.slow
@pytest.mark.parametrize("variables", [node, slurm_task])
def test_two_machines_come_to_the_weights_of_one(photos: Path, alone: Path, tmp_path: Path, variables: Any) -> None:
    options = [*arguments(photos, tmp_path), *TWO_NODES]
    processes = [train_command(tmp_path, *options, **variables(rank)) for rank in (0, 1)]
    for process in processes:
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, errors[-2000:]
    assert [facts(tmp_path, rank)["processes"] for rank in (0, 1)] == [2, 2]
    assert_same_weights(tmp_path, alone)
