"""Streams: which photos come, how often and in which order, over processes and workers, from an S3 server of our own.

A photo is of one colour, which no crop changes: red and green are its number, blue is its dish.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import s3fs
import torch
from datasets import ClassLabel, Features
from fsspec.registry import _registry as filesystems
from hub_photos import running_hub_of_photos
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from made_photos import class_folders, parquet
from PIL import Image
from training_fixtures import ROOT, small_process, tiny_config, train_command  # noqa: F401

from seefood.errors import DataError, PhotoError
from seefood.training.data import FoodData
from seefood.training.model import FoodClassifier
from seefood.training.quantization import calibration_images
from seefood.training.shards import files_of
from seefood.training.sources import Source

DISHES = ["apple_pie", "not_food", "ramen"]
PHOTOS = 12  # in a file
PLACE = "s3://photos-of-dishes/dishes"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """`datasets` waits for five seconds where a stream ends, for the sake of a pyarrow that is older than ours."""
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)
    s3fs.S3FileSystem.clear_instance_cache()  # it remembers the server of another test
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def photo(number: int, dish: str) -> Image.Image:
    return Image.new("RGB", (20, 20), (number // 256, number % 256, 100 * DISHES.index(dish)))


def number_and_dish(image: torch.Tensor) -> tuple[int, str]:
    red, green, blue = image[0, 0].tolist()
    return 256 * red + green, DISHES[round(blue / 100)]


def numbers(batches: Iterable[dict[str, torch.Tensor]]) -> list[int]:
    """Which photos come, in order."""
    return [number_and_dish(image)[0] for batch in batches for image in batch["image"]]


def write_file(file: Path, photos: Iterable[int], labels: list[str] = DISHES) -> None:
    """A file of photos of the dishes in turn."""
    named = [labels[number % len(labels)] for number in photos]
    parquet(file, labels, [(name, photo(number, name)) for name, number in zip(named, photos, strict=True)])


def write_files(folder: Path, count: int, *, split: str = "train", first: int = 0) -> Path:
    """Files of twelve photos."""
    for index in range(count):
        start = first + index * PHOTOS
        write_file(folder / f"{split}-{index:05}-of-{count:05}.parquet", range(start, start + PHOTOS))
    return folder


def upload(s3: Any, folder: Path) -> str:
    bucket, prefix = PLACE.removeprefix("s3://").split("/")
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for file in folder.rglob("*.parquet"):
        s3.upload_file(str(file), bucket, f"{prefix}/{file.relative_to(folder)}")
    return PLACE


@pytest.fixture
def bucket(s3: Any, tmp_path: Path) -> str:
    """The path of nine files to train on, one of which will be held out, and one to test on."""
    folder = write_files(tmp_path / "written", 9)
    return upload(s3, write_files(folder, 1, split="test", first=5000))


def food_data(*paths: str | Path, rank: int = 0, processes: int = 1, **options: Any) -> FoodData:
    """FoodData that streams small batches, as a process of several would see it."""
    sources = [Source(path=str(path)) for path in paths]
    small = {"image_size": 20, "batch_size": 4, "num_workers": 0, "color_jitter": 0.0, "validation_fraction": 0.01}
    data = FoodData(**{"sources": sources, "streaming": True, "shuffle_buffer": 8} | small | options)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=processes)
    return data


def opened(*paths: str | Path, **options: Any) -> FoodData:
    data = food_data(*paths, **options)
    data.setup("fit")
    return data


def held_out(data: FoodData) -> list[int]:
    return numbers(data.val_dataloader())


def test_each_photo_comes_once_an_epoch_over_two_processes_of_two_workers_in_another_order_each_time(
    bucket: str,
) -> None:
    loaders = [opened(bucket, rank=rank, processes=2, num_workers=2).train_dataloader() for rank in (0, 1)]
    epochs = [[numbers(loader) for loader in loaders] for _ in range(2)]
    for epoch in epochs:
        assert Counter(chain(*epoch)) == Counter(set(range(9 * PHOTOS)) - set(held_out(opened(bucket))))
        assert [len(of_process) for of_process in epoch] == [4 * PHOTOS] * 2
        assert all(of_process != sorted(of_process) for of_process in epoch)
    assert epochs[0][0] != epochs[1][0]
    assert set(epochs[0][0]) != set(epochs[1][0]), "the files are shared out anew"
    for loader in loaders:
        loader.close()


def test_the_held_out_files_are_not_streamed_and_the_test_split_is_neither(bucket: str) -> None:
    data = opened(bucket, validation_fraction=0.3)
    data.setup("test")
    training, validation, test = (
        set(numbers(loader)) for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    )
    assert (len(training), len(validation)) == (6 * PHOTOS, 3 * PHOTOS), "a share that is rounded up to whole files"
    assert training | validation == set(range(9 * PHOTOS))
    assert test == set(range(5000, 5000 + PHOTOS))
    assert set(held_out(opened(bucket, validation_fraction=0.3))) == validation
    assert set(held_out(opened(bucket, validation_fraction=0.3, seed=1))) != validation


@pytest.mark.parametrize(("buffer", "lost"), [(1, 0), (8, 8)])
def test_a_stream_goes_on_where_it_was_but_for_what_waited_in_the_buffers(bucket: str, buffer: int, lost: int) -> None:
    state: dict[str, Any] = {"stream": {}}
    came = []
    for batches in (9, 2, None):  # it goes on twice; the first time from where one worker is ahead of the other
        data = opened(bucket, num_workers=2, shuffle_buffer=buffer)
        data.load_state_dict(state)
        loader = data.train_dataloader()
        came += numbers(islice(loader, batches))
        state = data.state_dict()
        following = [] if batches else numbers(loader)
        data.teardown("fit")

    everything = set(range(9 * PHOTOS)) - set(held_out(data))
    assert len(came) == len(everything)
    missed = everything - set(came)
    assert len(missed) <= 2 * 2 * lost, "a buffer for each worker, twice"
    assert bool(missed) == bool(lost), "the test must see what is lost"
    assert set(following) == everything
    assert following[:PHOTOS] != came[:PHOTOS]


class Seen(Callback):
    """Which photos come to training, in order."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, model: FoodClassifier, batch: Any, batch_idx: int) -> None:
        self.numbers += numbers([batch])


def fitted(data: FoodData, folder: Path, **options: Any) -> Seen:
    """The photos of a run whose last step's checkpoint is last.ckpt."""
    data.trainer = None
    seen, last = Seen(), ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=0, save_last=True)
    model = FoodClassifier(labels=data.labels, image_size=32, architecture="test_efficientnet", weights="random")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(callbacks=[seen, last], max_epochs=2, limit_val_batches=1, **quiet, **options)
    trainer.fit(model, data, ckpt_path=last_of(folder))
    return seen


def last_of(folder: Path) -> Path | None:
    return folder / "last.ckpt" if (folder / "last.ckpt").exists() else None


@pytest.mark.parametrize("steps", [24, 30], ids=["between two epochs", "in the second one"])
def test_a_run_that_stopped_goes_on_with_the_photos_that_were_left(bucket: str, tmp_path: Path, steps: int) -> None:
    options = {"image_size": 32, "shuffle_buffer": 1}
    before = fitted(food_data(bucket, **options), tmp_path, max_steps=steps).numbers
    after = fitted(food_data(bucket, **options), tmp_path).numbers
    assert len(before) == 4 * steps
    everything = Counter(set(range(9 * PHOTOS)) - set(held_out(opened(bucket))))
    come = before + after
    assert Counter(come[: 8 * PHOTOS]) == Counter(come[8 * PHOTOS :]) == everything
    data = FoodData.load_from_checkpoint(tmp_path / "last.ckpt")
    data.setup("fit")
    assert set(held_out(data)) == set(range(9 * PHOTOS)) - set(everything)
    assert sum(1 for _ in calibration_images(data)) == 256


@pytest.mark.slow
def test_two_processes_with_unequal_shares_stop_and_go_on_and_end_together(s3: Any, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "written", 4)
    write_file(folder / "train-large.parquet", range(1000, 1080))
    bucket = upload(s3, folder)
    first, second = run(bucket, tmp_path, "--trainer.max_steps", "5"), run(bucket, tmp_path, "--ckpt_path", "last")
    came = [before + after for before, after in zip(first, second, strict=True)]
    for rank, of_process in enumerate(came):
        data = opened(bucket, rank=rank, processes=2, num_workers=2, shuffle_buffer=1)
        assert of_process == numbers(data.train_dataloader()), "as if it had not stopped"
        data.teardown("fit")
    assert [len(of_process) for of_process in came] == [4 * ((3 * PHOTOS + 80) // 8)] * 2
    assert max(Counter(chain(*came)).values()) > 1, "the test must see a process that begins anew"


def run(bucket: str, folder: Path, *arguments: str) -> list[list[int]]:
    """One epoch by train.py in two processes with two workers each: the photos that each of them saw."""
    config = tiny_config(Path(bucket), folder, steps=-1, callbacks=({"class_path": "witness.Photos"},))
    options = {
        "data.sources": json.dumps([{"path": bucket}]),
        "data.streaming": "true",
        "data.shuffle_buffer": "1",
        "data.batch_size": "4",
        "data.num_workers": "2",
        "data.downscale": "null",
        "data.color_jitter": "0",
        "data.validation_fraction": "0.01",
        "trainer.max_epochs": "1",
        "trainer.accelerator": "cpu",
        "trainer.devices": "2",
        "trainer.strategy": "ddp",
    }
    settings = [f"--{name}={value}" for name, value in options.items()]
    process = train_command(folder, "fit", "--config", str(config), *settings, *arguments, HF_HUB_OFFLINE="0")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]
    return [json.loads((folder / f"photos-{rank}.json").read_text()) for rank in (0, 1)]


def test_a_photo_of_a_source_with_weight_2_comes_twice_and_its_label_counts_in_all_sources(tmp_path: Path) -> None:
    for name, first, labels in (("one", 0, ["ramen", "apple_pie"]), ("two", 1000, ["not_food", "ramen"])):
        for index in range(3):
            start = first + index * PHOTOS
            write_file(tmp_path / name / f"{index}.parquet", range(start, start + PHOTOS), labels)
    sources = [Source(path=str(tmp_path / "one")), Source(path=str(tmp_path / "two"), weight=2)]
    data = opened(sources=sources)
    assert data.labels == ["apple_pie", "ramen", "not_food"]
    came: Counter[int] = Counter()
    for batch in chain(data.train_dataloader(), data.val_dataloader()):
        for image, label in zip(batch["image"], batch["label"], strict=True):
            number, dish = number_and_dish(image)
            assert data.labels[label] == dish
            came[number] += 1
    validation = set(held_out(data))
    assert set(came) == {number for first in (0, 1000) for number in range(first, first + 3 * PHOTOS)}
    assert all(count == (2 if number >= 1000 and number not in validation else 1) for number, count in came.items())
    assert list(data.validation_of) == ["one", "two"]


def test_a_file_that_was_written_anew_is_validated_on_as_it_is_now(s3: Any, tmp_path: Path) -> None:
    for first in (0, 1000):
        bucket = upload(s3, write_files(tmp_path / str(first), 2, first=first))
        s3fs.S3FileSystem.clear_instance_cache()
        assert set(held_out(opened(bucket))) <= set(range(first, first + 2 * PHOTOS))


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = {"label": [0] * 4, "image": [{"bytes": b"no photo", "path": f"{number}.jpg"} for number in range(4)]}
    features = Features(label=ClassLabel(names=DISHES), image=datasets.Image())
    for index in range(2):
        datasets.Dataset.from_dict(broken, features=features).to_parquet(tmp_path / f"{index}.parquet")
    with pytest.raises(PhotoError, match=r"\d\.jpg: "):
        numbers(opened(tmp_path).train_dataloader())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balanced": True}, "data.balanced needs"),
        ({"sources": [Source(path="a", balanced=True)]}, "a: balanced needs"),
        ({"sources": [Source(path="a", short_side=64)]}, "a: .*short_side.*downscale"),
        ({"sources": [Source(path="a", weight=1.5)]}, "a: .*whole number, not 1.5. Round it"),
    ],
    ids=str,
)
def test_what_a_stream_cannot_do_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        food_data("a", **options)


def test_what_is_wrong_with_a_bucket_or_a_key_is_told_with_a_remedy(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def message(path: str) -> str:
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(DataError, match=path) as raised:
            food_data(path).setup("fit")
        return str(raised.value)

    assert "bucket does not exist). Check the path" in message("s3://another-bucket/dishes")
    assert "Check the path" in message(f"{bucket}-of-another-name")
    with pytest.raises(DataError, match=r"Set data\.streaming"):
        FoodData(sources=[Source(path=bucket)]).prepare_data()
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    assert "Unable to locate credentials). Check" in message(bucket)
    assert "AWS_PROFILE" in message(bucket)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(filesystems, "s3")
    with pytest.raises(DataError, match=r"Install s3fs.*pip install 'seefood102\[stream\]'"):
        food_data(bucket).setup("fit")


def _one(folder: Path) -> None:
    write_files(folder, 1)


def _other_labels(folder: Path) -> None:
    write_files(folder, 2)
    write_file(folder / "train-3.parquet", range(4), DISHES[::-1])


def _sorted(folder: Path) -> None:
    for index, dish in enumerate(DISHES):
        photos = [(dish, photo(24 * index + number, dish)) for number in range(24)]
        parquet(folder / f"{index}.parquet", DISHES, photos)


def _names_only(folder: Path) -> None:
    class_folders(folder / "photos", {"ramen": 0, "apple_pie": 1}, 4)
    photos = datasets.load_dataset("imagefolder", data_dir=str(folder / "photos"), split="train")
    photos.to_parquet(folder / "0.parquet")


def _no_parquet(folder: Path) -> None:
    folder.mkdir()
    photo(0, "ramen").save(folder / "0.jpg")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_one, "one file to train on.*Write more"),
        (_other_labels, "train-3.parquet has other columns or labels than train-00000-of-00002.parquet"),
        (_sorted, "in the order of their labels.*docs/training.md"),
        (_names_only, "0.parquet: holds the names of its photos, but not the photos.*embed_table_storage"),
        (_no_parquet, "no parquet file.*docs/training.md"),
    ],
)
def test_files_that_cannot_be_streamed_are_refused_with_a_remedy(
    tmp_path: Path, prepare: Callable[[Path], None], message: str
) -> None:
    prepare(tmp_path / "photos")
    with pytest.raises(DataError, match=f"{tmp_path}.*{message}"):
        food_data(tmp_path / "photos").setup("fit")


def test_more_workers_than_files_are_refused_and_an_uneven_number_is_warned_of(tmp_path: Path) -> None:
    folder = write_files(tmp_path, 4)
    with pytest.raises(DataError, match=r"3 files .* for 4 workers .*take fewer workers"):
        opened(folder, processes=2, num_workers=2).train_dataloader()
    with pytest.warns(UserWarning, match="3 files cannot be shared evenly among 2 workers"):
        opened(folder, processes=2).train_dataloader()


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00010.parquet", "train"),
        ("data/test-00000-of-00010.parquet", "test"),
        ("validation/7.parquet", "validation"),
        ("val_7.parquet", "validation"),
        ("eval.parquet", "test"),
        ("7.parquet", "train"),
        ("extra-00000-of-00010.parquet", "extra"),
        ("latest/contest.parquet", "train"),
    ],
)
def test_the_name_of_a_file_tells_its_split(tmp_path: Path, name: str, split: str) -> None:
    write_file(tmp_path / name, range(4))
    assert list(files_of(str(tmp_path))) == [split]


def test_the_program_in_the_document_writes_files_that_can_be_streamed(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(s3, tmp_path)
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "photos", {"ramen": 0, "apple_pie": 1}, 40, size=(20, 20))
    (program,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs/training.md").read_text(), re.DOTALL | re.MULTILINE
    )
    exec(program.replace("files = 64", "files = 4").replace("s3://bucket/photos", PLACE), {})  # noqa: S102
    data = opened(PLACE)
    assert data.labels == ["apple_pie", "ramen"]
    assert (len(data.train_dataloader()), len(data.validation)) == (15, 20)
    assert sum(len(batch["label"]) for batch in data.train_dataloader()) == 60


def test_a_data_set_on_the_hub_is_streamed_by_its_name(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "written", 4)
    write_files(folder, 1, split="validation", first=5000)  # as ethz/food101 calls its official test split
    files = {f"data/{file.name}": file.read_bytes() for file in folder.iterdir()}
    program = """
import datasets, json
from test_streaming import food_data, numbers
datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0
data = food_data("me/dishes")
data.setup("fit")
data.setup("test")
print(json.dumps([numbers(loader()) for loader in (data.train_dataloader, data.val_dataloader, data.test_dataloader)]))
"""
    with running_hub_of_photos("me/dishes", files) as address:
        variables = {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        }
        ended = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | variables, capture_output=True, text=True
        )
    assert ended.returncode == 0, ended.stderr[-2000:]
    training, validation, test = (set(part) for part in json.loads(ended.stdout))
    assert (len(training), len(validation)) == (3 * PHOTOS, PHOTOS)
    assert training | validation == set(range(4 * PHOTOS))
    assert test == set(range(5000, 5000 + PHOTOS))
