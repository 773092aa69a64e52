"""train.py from the command to the files it leaves, on photos that the tests make and networks that are tiny."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Callback, Trainer
from made_photos import class_folders
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_fixtures import small_process  # noqa: F401

import train
from seefood.training.data import FoodData
from seefood.training.evaluation import photos_of
from seefood.training.model import FoodClassifier

ROOT = Path(__file__).parent.parent
KINDS = {"apple_pie": 0, "ramen": 1, "not_food": 2}
SECONDS = 240  # for a run in another process

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    class_folders(folder / "train", KINDS, 16, size=(40, 40))
    class_folders(folder / "test", KINDS, 3, seed=80, size=(40, 40))
    return folder


def tiny_config(photos: Path, folder: Path, *, steps: int, callbacks: tuple[dict[str, Any], ...] = ()) -> Path:
    """configs/default.yaml with another network, made photos, and a few steps; its callbacks are kept."""
    config = yaml.safe_load((ROOT / "configs" / "default.yaml").read_text())
    config["data"] |= {
        "sources": [{"path": str(photos)}],
        "image_size": 32,
        "batch_size": 12,
        "num_workers": 0,
        "downscale": [24, 40],
        "validation_fraction": 0.25,
    }
    config["model"] |= {
        "architecture": "test_efficientnet",
        "weights": "random",
        "frozen_stages": 0,
        "lr": 5e-3,
        "warmup_steps": 4,
    }
    config["trainer"] |= {
        "accelerator": "cpu",
        "max_epochs": -1,
        "max_steps": steps,
        "log_every_n_steps": 1,
        "check_val_every_n_epoch": 5,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    config["trainer"]["logger"]["init_args"] |= {"save_dir": str(folder), "name": "run"}
    for one in config["trainer"]["callbacks"]:
        options = one.setdefault("init_args", {})
        if options.get("filename") == "recent":
            options["train_time_interval"] = "0:00:00"
        if one["class_path"].endswith(".EMAWeightAveraging"):
            options["decay"] = 0.7
    config["trainer"]["callbacks"] += callbacks
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def log_of(folder: Path) -> EventAccumulator:
    log = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return log.Reload()


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of 45 steps, 15 epochs."""
    folder = tmp_path_factory.mktemp("run")
    train.main(["fit", "--config", str(tiny_config(photos, folder, steps=45))])
    return folder / "run"


def test_the_loss_falls_and_validation_rises_well_above_chance(run: Path) -> None:
    log = log_of(run)
    losses = [event.value for event in log.Scalars("train/loss")]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.2
    assert log.Scalars("val/top1")[-1].value > 0.7


def test_the_log_holds_every_curve_and_figure(run: Path) -> None:
    log = log_of(run)
    scalars, images = set(log.Tags()["scalars"]), set(log.Tags()["images"])
    assert {f"val/{name}" for name in ("loss", "top1", "top5", "f1", "ece")} | {"train/loss"} <= scalars
    assert any(name.startswith("lr-") for name in scalars)
    assert images == {"train/augmented", "val/worst_mistakes", "val/confusion"}
    grid = log.Images("train/augmented")[0]
    assert (grid.width, grid.height) == (4 * 34 + 2, 3 * 34 + 2), "twelve photos of 32 px, four in a row"


def test_best_and_last_checkpoints_hold_the_averaged_weights_beside_the_raw(run: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = torch.load(run / "checkpoints" / name, map_location="cpu")
        averaged, raw = checkpoint["state_dict"], checkpoint["current_model_state"]
        assert not torch.equal(averaged["network.classifier.weight"], raw["network.classifier.weight"])
        assert checkpoint["commit"]


def test_a_checkpoint_remembers_its_network_and_its_data(run: Path, photos: Path) -> None:
    path = run / "checkpoints" / "best.ckpt"
    model = FoodClassifier.load_from_checkpoint(path, map_location="cpu")
    data = FoodData.load_from_checkpoint(path)
    data.setup("fit")
    assert (model.labels, data.labels) == (["apple_pie", "ramen", "not_food"],) * 2
    assert (data.image_size, data.batch_size, data.sources[0].path) == (32, 12, str(photos))
    assert model.hparams["image_size"] == 32

    again = FoodData(sources=data.sources, validation_fraction=0.25)
    again.setup("fit")
    assert list(photos_of(data.validation)) == list(photos_of(again.validation))
    measured = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False).validate(model, data, verbose=False)
    checkpoint = torch.load(path, map_location="cpu")
    best = next(state["best_model_score"] for state in checkpoint["callbacks"].values() if state.get("monitor"))
    assert measured[0]["val/top1"] == pytest.approx(best.item())


class Interruption(Callback):
    """Ends a run in the middle, as a machine that is taken away would."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, *arguments: object) -> None:
        if trainer.global_step == self.step:
            raise ConnectionAbortedError


def test_an_interrupted_run_goes_on_at_its_step_with_its_learning_rate(photos: Path, tmp_path: Path) -> None:
    interruption = {"class_path": f"{__name__}.Interruption", "init_args": {"step": 7}}
    config = tiny_config(photos, tmp_path, steps=12, callbacks=(interruption,))
    with pytest.raises(ConnectionAbortedError):
        train.main(["fit", "--config", str(config)])
    config = tiny_config(photos, tmp_path, steps=12)
    finished = train.main(["fit", "--config", str(config), "--ckpt_path", "last"])

    assert finished.trainer.global_step == 12
    log = log_of(tmp_path / "run")
    assert [event.step for event in log.Scalars("train/loss")] == list(range(12))
    name = next(name for name in log.Tags()["scalars"] if name.startswith("lr-"))
    rates = {event.step: event.value for event in log.Scalars(name)}
    assert all(rates[step] < rates[step - 1] for step in range(6, 12))
    assert rates[11] < 0.1 * max(rates.values())


def test_a_finished_run_goes_on_for_longer_and_goes_on_learning(photos: Path, tmp_path: Path) -> None:
    train.main(["fit", "--config", str(tiny_config(photos, tmp_path, steps=6))])
    longer = train.main(["fit", "--config", str(tiny_config(photos, tmp_path, steps=12)), "--ckpt_path", "last"])

    assert longer.trainer.global_step == 12
    log = log_of(tmp_path / "run")
    name = next(name for name in log.Tags()["scalars"] if name.startswith("lr-"))
    rates = {event.step: event.value for event in log.Scalars(name)}
    assert all(rates[step] > 0.05 * max(rates.values()) for step in range(7, 10))


def test_the_recipe_of_levit_starts_on_made_photos(photos: Path, tmp_path: Path) -> None:
    cli = train.main(
        [
            *("fit", "--config", str(ROOT / "configs" / "levit_256.yaml")),
            *("--data.sources", json.dumps([{"path": str(photos), "test_split": "test"}])),
            *("--data.batch_size", "2", "--data.num_workers", "0", "--model.weights", "random"),
            *("--trainer.accelerator", "cpu", "--trainer.precision", "32", "--trainer.max_steps", "2"),
            *("--trainer.limit_val_batches", "1", "--trainer.enable_progress_bar", "false"),
            *("--trainer.logger.init_args.save_dir", str(tmp_path)),
        ]
    )
    assert cli.trainer.global_step == 2
    assert cli.model.hparams["architecture"] == "levit_256.fb_dist_in1k"
    assert (
        (cli.model.hparams["image_size"], cli.model.hparams["crop"]) == (cli.datamodule.image_size, 0.9) == (224, 0.9)
    )
    assert math.isfinite(cli.trainer.callback_metrics["train/loss"].item())


def command(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python train.py`, with a cache and a witness of its own in `folder`, and some more environment variables."""
    environment = os.environ | {
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT / "tests"),
        "WITNESS": str(folder),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "train.py", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def test_two_processes_train_one_network_and_one_tests_it(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path, steps=4, callbacks=({"class_path": "witness.Witness"},))
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    fitted = command(tmp_path, "fit", "--config", str(config), *two)
    assert fitted.returncode == 0, fitted.stderr[-2000:]
    first, second = (json.loads((tmp_path / f"fit-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert (first["processes"], first["steps"]) == (2, 4)

    last = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    tested = command(tmp_path, "test", "--config", str(config), *two, "--ckpt_path", last)
    assert tested.returncode == 0, tested.stderr[-2000:]
    assert [path.name for path in tmp_path.glob("test-*.json")] == ["test-0.json"]
    assert json.loads((tmp_path / "test-0.json").read_text())["processes"] == 1


def test_a_mistake_in_the_data_ends_the_command_with_one_sentence(tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "missing", tmp_path, steps=1)
    ended = command(tmp_path, "fit", "--config", str(config))
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    last_line = ended.stderr.strip().splitlines()[-1]
    assert last_line.startswith(f"train.py: {tmp_path / 'missing'}: ")
