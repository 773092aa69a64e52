"""The parquet files of a source that is streamed: what each holds, as its last bytes tell, and which are held out."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import datasets
import fsspec  # type: ignore[import-untyped]
import numpy as np
from datasets import ClassLabel, Dataset, Features, IterableDataset
from datasets.data_files import DataFilesList
from pyarrow import parquet

from seefood.errors import DataError
from seefood.training.sources import Source, first_line, image_and_label, image_and_label_columns, is_hub_name

CONNECTIONS = 16  # files that are looked at at a time: each costs one or two requests, and hardly a byte
SHARDED = r"(\w[\w.]*)-\d+-of-\d+"  # the Hub's name of a file: its split, its number, how many there are
WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
TELLING = 20  # photos in a row group, from which on it shows whether they are in the order of their labels


@dataclass(frozen=True)
class Shard:
    """A parquet file.

    Attributes:
        url: where it is.
        photos: how many it holds.
        features: of its columns.
        spans: the lowest and the highest label id in each of its row groups, where the file tells.
    """

    url: str
    photos: int
    features: Features
    spans: list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class ShardedSource:
    """A source's files, those of its train split as two parts: `train`, and `validation`, which is not streamed.

    Whole files are held out: nothing is read in vain, and no photo can be in both parts. So each file must be a random
    sample, but that a stream needs anyway: no buffer mixes what lies a million photos apart.

    Attributes:
        source: what it was made of.
        labels: the names of its labels, in the order of their ids.
        columns: the names of the columns of the images and of the labels.
        parts: the files of "train", "validation" and, if there is one, "test".
    """

    source: Source
    labels: list[str]
    columns: tuple[str, str]
    parts: dict[str, list[Shard]]

    @classmethod
    def of(cls, source: Source, fraction: float, seed: int) -> Self:
        """List the files, and read the end of each.

        Args:
            source: a folder of parquet files, in a bucket or here, or a data set of parquet files on the Hub.
            fraction: the share of the photos to hold out, in (0, 1); rounded up to whole files.
            seed: the same seed chooses the same files.

        Raises:
            DataError: the files cannot be read, number their labels differently, are in the order of their labels, or
                there is just one to train on.
        """
        path = source.expanded_path
        with reaching(path):
            urls = files_of(path)
            splits = source.splits_among(urls)
            with ThreadPoolExecutor(CONNECTIONS) as threads:
                shards = {part: list(threads.map(_shard, urls[split])) for part, split in splits.items()}
        every = [shard for part in shards.values() for shard in part]
        columns = image_and_label_columns(every[0].features, path)
        labels = _labels(every, columns, path)
        _check_order(shards["train"], path)
        held_out = _held_out(shards["train"], fraction, seed, path)
        parts = {"train": [shard for shard in shards["train"] if shard not in held_out], "validation": held_out}
        return cls(source=source, labels=labels, columns=columns, parts=shards | parts)

    def load(self, part: str) -> Dataset | None:
        """Download the files of a part; None if there are none."""
        if part not in self.parts:
            return None
        path, urls = self.source.expanded_path, [shard.url for shard in self.parts[part]]
        with reaching(path):
            # Left to itself, datasets takes a file that was written anew for the one that it has.
            versions = [(fsspec.core.url_to_fs(url)[0].ukey(url),) for url in urls]
            photos = datasets.load_dataset(
                "parquet",
                data_files={"train": DataFilesList(urls, versions)},
                download_config=datasets.DownloadConfig(use_etag=True),
                split="train",
            )
            return image_and_label(photos, path)

    def stream(self, labels: list[str]) -> IterableDataset:
        """The photos to train on, with the columns `image` (undecoded) and `label`, whose ids count in `labels`.

        A file is in it as often as the source's weight says.
        """
        urls = [shard.url for shard in self.parts["train"]] * int(self.source.weight)
        with reaching(self.source.expanded_path):
            stream = datasets.load_dataset(
                "parquet",
                data_files={"train": DataFilesList(urls, [])},
                columns=list(self.columns),
                split="train",
                streaming=True,
            )
        image, label = self.columns
        undecoded = datasets.Image(decode=False)
        return stream.cast_column(image, undecoded).map(
            _relabelled,
            fn_kwargs={"image": image, "label": label, "ids": [labels.index(name) for name in self.labels]},
            remove_columns=[image, label],
            features=Features(image=undecoded, label=ClassLabel(names=labels)),
        )


@contextmanager
def reaching(path: str) -> Iterator[None]:
    """Turn whatever goes wrong while files are looked for or read into a DataError that names their path."""
    try:
        yield
    except DataError:
        raise
    except ImportError as error:
        raise DataError(f"{path}: {first_line(error)}. For S3: pip install 'seefood102[stream]'.") from error
    except Exception as error:  # botocore, aiohttp, fsspec, datasets and pyarrow raise their own
        raise DataError(
            f"{path}: cannot be read ({first_line(error)}). Check the path, the network, and the keys: AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role."
        ) from error


def files_of(path: str) -> dict[str, list[str]]:
    """The parquet files of each split."""
    if is_hub_name(path) and not Path(path).exists():
        builder = datasets.load_dataset_builder(path)
        found = {str(split): list(files) for split, files in (builder.config.data_files or {}).items()}
        if not all(url.endswith(".parquet") for files in found.values() for url in files):
            raise DataError(f"{path}: is not stored as parquet, which streaming needs. Set data.streaming to false.")
        return found
    system, root = fsspec.core.url_to_fs(path)
    system.ls(root)  # says what is missing, which a search would pass over
    names = sorted(name for name in system.find(root) if name.endswith(".parquet"))
    if not names:
        raise DataError(
            f"{path}: has no parquet file, and a stream needs some. docs/training.md shows how to write them."
        )
    splits: dict[str, list[str]] = {}
    for name in names:
        url = name if "://" not in path else system.unstrip_protocol(name)
        splits.setdefault(_split_of(name.removeprefix(root)), []).append(url)
    return splits


def _split_of(name: str) -> str:
    """The split that a file's name or folder tells; "train" when they tell nothing."""
    if sharded := re.match(SHARDED, name.rpartition("/")[2]):
        return sharded[1]
    words = re.split(r"[^a-z]+", name.lower())
    return next((split for split, its_words in WORDS.items() if set(words) & set(its_words)), "train")


def _shard(url: str) -> Shard:
    with fsspec.open(url, "rb") as file:
        metadata = parquet.read_metadata(file)
    features = Features.from_arrow_schema(metadata.schema.to_arrow_schema())
    image, label = image_and_label_columns(features, url)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    if any(_statistic(group, f"{image}.bytes", "null_count") == group.num_rows for group in groups):
        raise DataError(
            f"{url}: holds the names of its photos, but not the photos. Write it as docs/training.md shows, with "
            "embed_table_storage."
        )
    telling = [group for group in groups if group.num_rows >= TELLING]
    spans = [(_statistic(group, label, "min"), _statistic(group, label, "max")) for group in telling]
    return Shard(url, metadata.num_rows, features, [span for span in spans if None not in span])


def _statistic(group: Any, column: str, name: str) -> Any:
    """What a row group tells of a column; None if it does not."""
    columns = (group.column(index) for index in range(group.num_columns))
    statistics = next((one.statistics for one in columns if one.path_in_schema == column), None)
    return getattr(statistics, name, None)


def _relabelled(row: dict[str, Any], image: str, label: str, ids: list[int]) -> dict[str, Any]:
    return {"image": row[image], "label": ids[row[label]]}


def _labels(shards: list[Shard], columns: tuple[str, str], path: str) -> list[str]:
    for shard in shards:
        if [shard.features.get(name) for name in columns] != [shards[0].features[name] for name in columns]:
            raise DataError(
                f"{path}: {shard.url.rpartition('/')[2]} has other columns or labels than "
                f"{shards[0].url.rpartition('/')[2]}, or numbers them differently. Write them alike."
            )
    return shards[0].features[columns[1]].names


def _check_order(shards: list[Shard], path: str) -> None:
    """A row group of photos in random order spans nearly all label ids; in the order of the labels, a few."""
    spans = np.array([span for shard in shards for span in shard.spans]).reshape(-1, 2)
    if len(spans) and np.median(spans[:, 1] - spans[:, 0]) < 0.5 * (spans[:, 1].max() - spans[:, 0].min()):
        raise DataError(
            f"{path}: its photos are in the order of their labels, which a stream cannot shuffle. "
            "Write the files anew, shuffled, as docs/training.md shows, or set data.streaming to false."
        )


def _held_out(shards: list[Shard], fraction: float, seed: int, path: str) -> list[Shard]:
    if len(shards) < 2:
        raise DataError(
            f"{path}: has one file to train on, and validation takes whole files. Write more, say of 1,000 photos each."
        )
    order = np.random.default_rng(seed).permutation(len(shards))
    before = np.cumsum([0] + [shards[index].photos for index in order])
    enough = int(np.searchsorted(before, fraction * before[-1]))
    return [shards[index] for index in sorted(order[: min(enough, len(shards) - 1)])]
