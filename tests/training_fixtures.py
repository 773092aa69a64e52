"""What the tests of training share: a process that keeps to itself, a small run, and train.py as a command."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def small_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what `datasets` caches of made photos out of the home folder, and torch to one thread: the networks are so
    small that a second one would mostly wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield
    torch.set_num_threads(threads)


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


def train_command(
    folder: Path, *arguments: str, launcher: tuple[str, ...] = (sys.executable,), **variables: str
) -> subprocess.Popen[str]:
    """`python train.py`, or another launcher's, with a cache and a witness of its own in `folder`."""
    environment = os.environ | {
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT / "tests"),
        "WITNESS": str(folder),
    }
    return subprocess.Popen(
        [*launcher, "train.py", *arguments],
        cwd=ROOT, env=environment | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
