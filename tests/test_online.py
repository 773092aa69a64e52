"""Runs go online: to a stand-in of the Hub by the real client, and to moto's S3 server by the real boto3."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import huggingface_hub
import pytest
import torch
from hub import Hub, running_hub
from huggingface_hub import ModelCard
from lightning import Callback, LightningModule, Trainer
from serving import free_port
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_train import ROOT, log_of, photos, tiny_config  # noqa: F401
from training_fixtures import small_process  # noqa: F401

import train
from seefood.errors import OnlineError
from seefood.training.model import FoodClassifier
from seefood.training.online import send_run
from seefood.training.places import open_place

REPOSITORY = "you/seefood-runs"
ON_THE_HUB, IN_A_BUCKET = f"hf://{REPOSITORY}", "s3://kitchen/runs"

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in of the Hub, which the real client speaks to, also in other processes."""
    with running_hub(REPOSITORY, "model") as (hub, address):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        # The Hub would take large files by Xet, which is no HTTP that a test can stand in for; it takes plain LFS, too.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        for name, value in {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_testing"}.items():
            monkeypatch.setenv(name, value)
        yield hub


@pytest.fixture
def bucket(s3: Any) -> Any:
    s3.create_bucket(Bucket="kitchen", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return s3


def fit(photos: Path, folder: Path, to: str, *arguments: str, steps: int = 15, callbacks: tuple = ()) -> Path:  # noqa: F811
    """Run train.py, with a validation each 15 steps; returns the folder of the run."""
    config = tiny_config(photos, folder, steps=steps, callbacks=tuple({"class_path": name} for name in callbacks))
    train.main(["fit", "--config", str(config), "--online.to", to, "--online.minutes", "0", *arguments])
    return folder / "run"


def contents(folder: Path) -> dict[str, bytes]:
    """What of a run goes online, by its name."""
    names = ["config.yaml", "hparams.yaml", "README.md", "checkpoints/best.ckpt", "checkpoints/last.ckpt"]
    names += [path.name for path in folder.glob("events.out.tfevents.*")]
    return {f"run/{name}": (folder / name).read_bytes() for name in names}


def objects(client: Any) -> dict[str, bytes]:
    """What is in the bucket, by its name below the address."""
    listed = client.list_objects_v2(Bucket="kitchen").get("Contents", [])
    return {
        entry["Key"].removeprefix("runs/"): client.get_object(Bucket="kitchen", Key=entry["Key"])["Body"].read()
        for entry in listed
    }


def written(files: dict[str, bytes], folder: Path) -> Path:
    """The files in a folder, as a download leaves them."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def scalars(log: EventAccumulator) -> dict[str, list[tuple[int, float]]]:
    return {tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}


def test_a_run_is_on_the_hub_as_on_the_disk_and_private(photos: Path, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    folder = fit(photos, tmp_path, ON_THE_HUB, steps=30)
    there = written(hub.files, tmp_path / "there")

    sent = contents(folder)
    assert hub.files.items() >= sent.items()
    assert hub.files.keys() == {*sent, "README.md", ".gitattributes"}
    assert hub.files["README.md"] == sent["run/README.md"]
    assert hub.made["visibility"] == "private"
    assert set(hub.commits) == {"Run run"}
    assert 3 <= len(hub.commits) <= 4, "at the start, after one validation or two, at the end"

    assert scalars(log_of(there / "run")) == scalars(log_of(folder))
    assert len(log_of(there / "run").Scalars("val/top1")) == 2
    model = FoodClassifier.load_from_checkpoint(there / "run/checkpoints/best.ckpt", map_location="cpu")
    assert model.labels == ["apple_pie", "ramen", "not_food"]


def test_the_card_has_the_figures_of_the_best_validation(photos: Path, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    log = scalars(log_of(fit(photos, tmp_path, ON_THE_HUB, steps=45)))
    best = max(range(3), key=lambda index: log["val/top1"][index][1])
    measured = {name: values[best][1] for name, values in log.items() if name.startswith("val/")}

    card = ModelCard(hub.files["README.md"].decode())
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == pytest.approx({"accuracy": measured["val/top1"], "f1": measured["val/f1"]})
    table = dict(re.findall(r"^\| (val/\w+) \| ([\d.]+) \|$", card.text, re.MULTILINE))
    assert {name: float(value) for name, value in table.items()} == pytest.approx(measured, abs=6e-5)
    assert (card.data.license, card.data.pipeline_tag) == ("apache-2.0", "image-classification")
    assert card.data.base_model is None, "it began with random weights"
    assert f".venv/bin/hf download {REPOSITORY} --include 'run/*' --local-dir runs" in card.text


def test_the_card_names_the_network_on_the_hub_that_the_run_began_with(
    photos: Path,  # noqa: F811
    hub: Hub,
    tmp_path: Path,
) -> None:
    folder = fit(photos, tmp_path, ON_THE_HUB)
    best = folder / "checkpoints/best.ckpt"
    checkpoint = torch.load(best, map_location="cpu")
    checkpoint["hyper_parameters"] |= {"architecture": "levit_256.fb_dist_in1k", "weights": "hub"}
    torch.save(checkpoint, best)
    send_run(folder, open_place(ON_THE_HUB))
    assert ModelCard(hub.files["README.md"].decode()).data.base_model == "timm/levit_256.fb_dist_in1k"


def test_a_run_that_was_fetched_goes_on_where_it_stopped(photos: Path, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    fit(photos, tmp_path, ON_THE_HUB)
    there = written(hub.files, tmp_path / "there") / "run"
    goes_on = train.main(
        [
            *("fit", "--config", str(there / "config.yaml"), "--ckpt_path", str(there / "checkpoints/last.ckpt")),
            *("--trainer.max_steps", "18", "--trainer.logger.init_args.save_dir", str(tmp_path / "there")),
        ]
    )
    assert goes_on.trainer.global_step == 18
    again = log_of(written(hub.files, tmp_path / "again") / "run")
    assert [event.step for event in again.Scalars("train/loss")] == list(range(18)), "it has gone online, too"


def test_a_run_is_in_the_bucket_as_on_the_disk_and_tensorboard_reads_it_there(
    photos: Path,  # noqa: F811
    bucket: Any,
    tmp_path: Path,
) -> None:
    folder = fit(photos, tmp_path, IN_A_BUCKET)
    assert objects(bucket) == contents(folder)
    assert "aws s3 sync s3://kitchen/runs/run runs/run" in (folder / "README.md").read_text()

    port = free_port()
    command = [Path(sys.executable).with_name("tensorboard"), "--logdir", IN_A_BUCKET, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        shown = _shown(f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?run=run&tag=val/top1")
    finally:
        process.kill()
        process.wait()
    assert [(step, value) for _, step, value in shown] == scalars(log_of(folder))["val/top1"]


def _shown(url: str, seconds: float = 60) -> list:
    """What TensorBoard answers once it has read the log."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            answer = httpx.get(url)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 200:
            return answer.json()
        time.sleep(0.5)
    raise TimeoutError(url)


class Watch(Callback):
    """Before the step after a validation, keeps what is in the bucket once the validation is."""

    seen: dict[str, bytes]

    def on_train_batch_start(self, trainer: Trainer, model: LightningModule, *arguments: object) -> None:
        if trainer.global_step == 15:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                Watch.seen = objects(boto3.client("s3"))
                if any(b"val/top1" in content for content in Watch.seen.values()):
                    return
                time.sleep(0.1)


def test_after_a_validation_the_log_goes_up_while_the_run_goes_on(
    photos: Path,  # noqa: F811
    bucket: Any,
    tmp_path: Path,
) -> None:
    fit(photos, tmp_path, IN_A_BUCKET, steps=16, callbacks=(f"{__name__}.Watch",))
    early = log_of(written(Watch.seen, tmp_path / "early") / "run")
    assert len(early.Scalars("val/top1")) == 1
    assert not any(name.endswith(".ckpt") for name in Watch.seen)


class Slow:
    """A place that keeps what it is sent in the middle of a run waiting until the training is over."""

    address = "slow"
    is_over = threading.Event()

    def __init__(self) -> None:
        self.sent: list[set[str]] = []
        self.waited = False

    def send(self, run: str, files: dict[str, Path]) -> None:
        if len(self.sent) == 1:
            self.waited = Slow.is_over.wait(60)
        self.sent.append(set(files))

    def fetch(self, run: str) -> str:
        return "fetch"


class Over(Callback):
    def on_train_end(self, trainer: Trainer, model: LightningModule) -> None:
        Slow.is_over.set()


def test_the_training_does_not_wait_for_the_network_and_the_end_does(
    photos: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow()
    Slow.is_over.clear()
    monkeypatch.setattr("seefood.training.online.open_place", lambda address, public: slow)
    fit(photos, tmp_path, "slow", steps=45, callbacks=(f"{__name__}.Over",))
    assert slow.waited
    assert len(slow.sent) == 3, "nothing was queued behind what was on its way"
    assert "checkpoints/best.ckpt" in slow.sent[-1]


def test_the_log_goes_up_no_more_often_than_every_few_minutes(photos: Path, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    fit(photos, tmp_path, ON_THE_HUB, "--online.minutes", "5", steps=30)
    assert len(hub.commits) == 2, "at the start and at the end"


class Outage(Callback):
    """The network is away from step 2 on, until the training has ended or for good."""

    hub: Hub
    is_for_good: bool

    def on_train_batch_start(self, trainer: Trainer, model: LightningModule, *arguments: object) -> None:
        Outage.hub.answers = trainer.global_step < 2

    def on_train_end(self, trainer: Trainer, model: LightningModule) -> None:
        Outage.hub.answers = not Outage.is_for_good


def test_an_outage_in_the_middle_is_a_warning(
    photos: Path,  # noqa: F811
    hub: Hub,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    Outage.hub, Outage.is_for_good = hub, False
    folder = fit(photos, tmp_path, ON_THE_HUB, steps=18, callbacks=(f"{__name__}.Outage",))
    assert hub.files.items() >= contents(folder).items()
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "seefood.training.online"]
    assert warning.startswith(f"{ON_THE_HUB}: ")
    assert "The training goes on" in warning


def test_an_outage_at_the_end_names_the_command_that_sends_the_run_again(
    photos: Path,  # noqa: F811
    hub: Hub,
    tmp_path: Path,
) -> None:
    Outage.hub, Outage.is_for_good = hub, True
    with pytest.raises(OnlineError) as raised:
        fit(photos, tmp_path, ON_THE_HUB, callbacks=(f"{__name__}.Outage",))
    message = str(raised.value)
    assert "\n" not in message
    assert f"The run is still in {tmp_path / 'run'}. Send it again: " in message
    assert (tmp_path / "run/checkpoints/best.ckpt").exists()

    hub.answers = True
    command = message.rpartition("Send it again: ")[2].replace("python", sys.executable, 1).split()
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert hub.files.items() >= contents(tmp_path / "run").items()


class Interrupt(Callback):
    """Presses Ctrl-C at step 2."""

    def on_train_batch_start(self, trainer: Trainer, model: LightningModule, *arguments: object) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)


class Fault(Callback):
    """Fails at step 17, after a validation."""

    def on_train_batch_start(self, trainer: Trainer, model: LightningModule, *arguments: object) -> None:
        if trainer.global_step == 17:
            raise ZeroDivisionError


@pytest.mark.parametrize(("callback", "ends_by", "steps"), [(Interrupt, SystemExit, 2), (Fault, ZeroDivisionError, 17)])
def test_a_run_that_ends_early_sends_what_it_has(
    callback: type,
    ends_by: type[BaseException],
    steps: int,
    photos: Path,  # noqa: F811
    bucket: Any,
    tmp_path: Path,
) -> None:
    with pytest.raises(ends_by):
        fit(photos, tmp_path, IN_A_BUCKET, steps=30, callbacks=(f"{__name__}.{callback.__name__}",))
    there = written(objects(bucket), tmp_path / "there") / "run"
    assert len(log_of(there).Scalars("train/loss")) == steps
    assert (there / "checkpoints/last.ckpt").exists()
    has_card = "This run has no best checkpoint" not in (there / "README.md").read_text()
    assert has_card == (there / "checkpoints/best.ckpt").exists() == (callback is Fault)


@pytest.mark.parametrize(
    ("to", "variables", "reason"),
    [
        (ON_THE_HUB, {"HF_TOKEN": "hf_wrong"}, "no token, or none that the Hub knows. Set HF_TOKEN"),
        (ON_THE_HUB, {"HF_TOKEN": "hf_reading"}, "your token may not write there"),
        ("hf://another/seefood-runs", {}, "your token may not write there"),
        ("s3://nobodys/runs", {}, "The specified bucket does not exist"),
        (IN_A_BUCKET, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect"),
    ],
    ids=["wrong token", "token that only reads", "name of another", "no bucket", "no network"],
)
def test_what_cannot_be_sent_ends_the_run_before_its_first_step(
    to: str,
    variables: dict[str, str],
    reason: str,
    photos: Path,  # noqa: F811
    hub: Hub,
    bucket: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.made = {} if "hf_reading" in variables.values() else None  # to read, there must be something
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OnlineError, match=re.escape(reason)) as raised:
        fit(photos, tmp_path, to)
    assert str(raised.value).startswith(f"{to}: ")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize(
    "address", ["hf://food", "hf://you/my food", "s3://kitchen", "s3:///runs", "you/runs", "ftp://a/b"]
)
def test_an_address_that_cannot_be_is_refused_with_one_that_can(address: str) -> None:
    with pytest.raises(OnlineError, match=f"^{re.escape(address)}: .*[Ww]rite (hf|s3)://"):
        open_place(address)


def test_a_wrong_address_ends_the_command_with_one_sentence(photos: Path, tmp_path: Path) -> None:  # noqa: F811
    config = tiny_config(photos, tmp_path, steps=1)
    ended = command("fit", "--config", str(config), "--online.to", "runs")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.strip().splitlines()[-1].startswith("train.py: runs: no place for runs. Write hf://")


def test_of_two_processes_one_sends(photos: Path, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    config = tiny_config(photos, tmp_path, steps=4)
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    ended = command("fit", "--config", str(config), *two, "--online.to", ON_THE_HUB)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert len(hub.commits) == 2, "at the start and at the end"
    sent = {name: content for name, content in hub.files.items() if "tfevents" in name}
    assert sent == {f"run/{path.name}": path.read_bytes() for path in (tmp_path / "run").glob("*tfevents*")}
    assert len(log_of(tmp_path / "run").Scalars("train/loss")) == 4


def test_what_cannot_be_sent_ends_two_processes_with_one_sentence(
    photos: Path,  # noqa: F811
    hub: Hub,
    tmp_path: Path,
) -> None:
    config = tiny_config(photos, tmp_path, steps=4)
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    ended = command("fit", "--config", str(config), *two, "--online.to", "hf://another/seefood-runs")
    assert ended.returncode != 0  # not always 1: Lightning kills a process that is slower to end than another
    assert "Traceback" not in ended.stderr
    assert "\ntrain.py: hf://another/seefood-runs: your token may not write there" in ended.stderr


def test_a_folder_without_a_run_is_refused(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(OnlineError, match="no run is there"):
        send_run(tmp_path, open_place(IN_A_BUCKET))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python train.py`, in a process of its own."""
    return subprocess.run(
        [sys.executable, "train.py", *arguments],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
