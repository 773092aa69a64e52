"""FoodData: photos from one or several sources, split, augmented and batched for a Lightning `Trainer`."""

import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import datasets
import numpy as np
import torch
from datasets import Dataset, DatasetDict
from lightning import LightningDataModule
from PIL import Image
from torch.utils.data import DataLoader

from seefood.errors import DataError
from seefood.photo import read_photo, square
from seefood.training.augmentation import training_transform
from seefood.training.holdout import has_twin, held_out
from seefood.training.sampling import TrainingSampler, evaluation_sampler
from seefood.training.shards import ShardedSource
from seefood.training.sources import Source, label_names, unite_labels, with_labels
from seefood.training.streaming import StreamLoader, check_streamable, photos_of_an_epoch, united_stream


class FoodData(LightningDataModule):
    """Batches of `{"image": uint8 [N, S, S, 3] RGB, "label": int64 [N]}`.

        data = FoodData(sources=[Source(path="ethz/food101")], image_size=224)
        data.setup("fit")
        assert data.labels[0] == "apple_pie"

    Note that validation photos are taken from the training splits; a test split is read by `test` alone.
    """

    def __init__(
        self,
        *,
        sources: list[Source],
        image_size: int = 224,
        crop: float = 1.0,
        batch_size: int = 64,
        num_workers: int = 2,
        validation_fraction: float = 0.05,
        seed: int = 0,
        balanced: bool = False,
        streaming: bool = False,
        shuffle_buffer: int = 1000,
        downscale: tuple[int, int] | None = None,
        downscale_probability: float = 1.0,
        scale: tuple[float, float] = (0.35, 1.0),
        color_jitter: float = 0.2,
        auto_augment: str | None = None,
    ):
        """
        Args:
            sources: where the photos come from; their labels are united.
            image_size: side S of the photos in a batch, in pixels.
            crop: share of a photo's short side that evaluation sees (see `seefood.photo.square`), in (0, 1].
            batch_size: photos in a batch, on each device.
            num_workers: processes that decode and augment.
            validation_fraction: share of every class of every training split that is held out, in (0, 1).
            seed: chooses the photos that are held out.
            balanced: draw every class equally often, however many photos it has.
            streaming: read the photos to train on while they are needed, and leave them where they are: in a bucket, on
                the Hub or in a folder, as parquet files. Whole files are held out, of all classes together, and
                downloaded. Copies of a photo in another source are not looked for.
            shuffle_buffer: when streaming, so many photos wait in each worker, to leave in random order. They are lost
                when a run goes on from a checkpoint; with 1, none are.
            downscale: before anything else, shrink training photos to a short side drawn from this range (pixels,
                log-uniform), so that sharpness tells nothing about the source a photo comes from.
            downscale_probability: share of the training photos that are shrunk so.
            scale: share of a photo's area that a random crop takes.
            color_jitter: strength of random changes of brightness, contrast and saturation.
            auto_augment: a policy of timm, for example "rand-m7-mstd0.5"; it replaces the colour jitter.
        """
        super().__init__()
        self.save_hyperparameters()
        if not sources:
            raise DataError("No source of photos is given. Set data.sources, for example to [{path: ethz/food101}].")
        if streaming:
            check_streamable(sources, balanced=balanced)
        self.sources = sources
        self.image_size, self.crop = image_size, crop
        self.batch_size, self.num_workers = batch_size, num_workers
        self.validation_fraction, self.seed = validation_fraction, seed
        self.balanced, self.streaming, self.shuffle_buffer = balanced, streaming, shuffle_buffer
        self._stream_loader: StreamLoader | None = None
        self._stream_state: dict[str, Any] = {}
        self._augment = training_transform(
            image_size,
            downscale=downscale,
            downscale_probability=downscale_probability,
            scale=scale,
            color_jitter=color_jitter,
            auto_augment=auto_augment,
        )

    @cached_property
    def labels(self) -> list[str]:
        """The labels of all sources, in the order of their ids: alphabetical, `not_food` last."""
        if self.streaming:
            return unite_labels(source.labels for source in self._sharded)
        return unite_labels(label_names(splits["train"]) for splits in self._splits)

    @cached_property
    def _sharded(self) -> list[ShardedSource]:
        return [ShardedSource.of(source, self.validation_fraction, self.seed) for source in self.sources]

    @cached_property
    def _splits(self) -> list[DatasetDict]:
        return [source.load() for source in self.sources]

    @property
    def _paths(self) -> str:
        return ", ".join(source.path for source in self.sources)

    def prepare_data(self) -> None:
        """Download what is not on this machine yet, once on each, before the other processes look for it."""
        if self.streaming:
            for sharded in self._sharded:
                sharded.load("validation")
            return
        for source in self.sources:
            source.load()

    def setup(self, stage: str) -> None:
        """Split the sources.

        After it, `train` and `validation`, or `test`, are `datasets.Dataset`s; `validation_of` and `test_of` hold each
        source's part of them by the source's name, in the same order. When streaming, `train` is an `IterableDataset`.
        """
        if stage == "test":
            if self.streaming:
                tests = [source.load("test") for source in self._sharded]
            else:
                tests = [splits.get("test") for splits in self._splits]
            if not any(tests):
                raise DataError(
                    f"{self._paths}: no source has a test split. Set test_split, or look at the validation."
                )
            self.test_of = self._by_source(tests)
            self.test = self._evaluated([photos for photos in tests if photos])
        elif not hasattr(self, "train"):
            if self.streaming:
                self._open_stream()
            else:
                self._split_training()

    def _open_stream(self) -> None:
        validation = [source.load("validation") for source in self._sharded]
        self.validation_of = self._by_source(validation)
        self.validation = self._evaluated(validation)
        self.train = united_stream(self._sharded, self.labels, buffer=self.shuffle_buffer, seed=self.seed)

    def _split_training(self) -> None:
        training, validation = [], []
        for source, splits in zip(self.sources, self._splits, strict=True):
            photos = splits["train"]
            chosen = held_out(np.asarray(photos["label"][:]), self.validation_fraction, self.seed) & source.hold_out
            training.append(photos.select(np.flatnonzero(~chosen)))
            validation.append(photos.select(np.flatnonzero(chosen)))
        if not any(map(len, validation)):
            raise DataError(f"{self._paths}: no class has two photos, one to train on and one to validate. Add photos.")
        self.validation_of = self._by_source(validation)
        self.validation = self._evaluated(validation)
        if len(self.sources) > 1:  # one source may hold a photo of another, at another size
            training = [self._without_twins(photos, validation) for photos in training]
        self.photo_weights = self._weights(training)
        self.train = self._united(training).with_transform(self._augmented_batch)

    def _without_twins(self, photos: Dataset, validation: list[Dataset]) -> Dataset:
        seen = np.any([has_twin(photos, others) for others in validation], axis=0)
        return photos.select(np.flatnonzero(~seen))

    def _united(self, parts: list[Dataset]) -> Dataset:
        return datasets.concatenate_datasets([with_labels(part, self.labels) for part in parts])

    def _by_source(self, parts: Sequence[Dataset | None]) -> dict[str, Dataset]:
        named = zip(self.sources, parts, strict=True)
        return {source.name: self._evaluated([photos]) for source, photos in named if photos}

    def _evaluated(self, parts: list[Dataset]) -> Dataset:
        return self._united(parts).with_transform(self._evaluation_batch)

    def _weights(self, training: list[Dataset]) -> torch.Tensor | None:
        """Float64 [photos]: how often each is drawn, relative to the others; None when all are drawn alike."""
        ids = [np.asarray(with_labels(part, self.labels)["label"][:], dtype=np.int64) for part in training]
        drawn = np.concatenate(
            [
                source.weight * (_even(of_source) if source.balanced else np.ones(len(of_source)))
                for of_source, source in zip(ids, self.sources, strict=True)
            ]
        )
        if self.balanced:
            drawn = _even(np.concatenate(ids), drawn)
        return None if np.ptp(drawn) == 0 else torch.from_numpy(drawn)

    def _augmented_batch(self, batch: dict[str, list[Any]]) -> dict[str, Any]:
        return {"image": [self._augmented(image) for image in batch["image"]], "label": batch["label"]}

    def _augmented_row(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"image": self._augmented(row["image"]), "label": row["label"]}

    def _augmented(self, image: dict[str, Any]) -> torch.Tensor:
        return self._augment(_decode(image)).permute(1, 2, 0)

    def _evaluation_batch(self, batch: dict[str, list[Any]]) -> dict[str, Any]:
        images = [np.array(square(_decode(image), self.image_size, self.crop)) for image in batch["image"]]
        return {"image": images, "label": batch["label"]}

    def train_dataloader(self) -> DataLoader | StreamLoader:
        if self.streaming:
            return self._loader_of_stream()
        sampler = TrainingSampler(
            self.train, self.photo_weights, **self._share, seed=int(os.getenv("PL_GLOBAL_SEED", 0))
        )
        drop_last = len(sampler) >= self.batch_size  # keeps batch-norm and mixup from a last batch of one
        loader = self._loader(self.train, sampler=sampler, drop_last=drop_last)
        if self.trainer:  # Lightning counts on where it stopped, and leaves it to the loader to leave out what was seen
            epoch, batches = divmod(self.trainer.fit_loop.total_batch_idx + 1, len(loader))
            sampler.go_on(epoch, seen=batches * self.batch_size)
            warnings.filterwarnings("ignore", ".*your dataloader is not resumable")
        return loader

    def _loader_of_stream(self) -> StreamLoader:
        self._stream_loader = StreamLoader(
            self.train,
            self._augmented_row,
            photos=photos_of_an_epoch(self._sharded),
            **self._share,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
        )
        self._stream_loader.load_state_dict(self._stream_state)
        return self._stream_loader

    # Lightning, too, keeps a loader's state, but does not give it to one whose length the schedule has asked for.
    def state_dict(self) -> dict[str, Any]:
        return {"stream": self._stream_loader.state_dict()} if self._stream_loader else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._stream_state = state_dict["stream"]

    def teardown(self, stage: str) -> None:
        if self._stream_loader:
            self._stream_loader.close()

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.validation, sampler=evaluation_sampler(self.validation, **self._share))

    def test_dataloader(self) -> DataLoader:
        return self._loader(self.test, sampler=evaluation_sampler(self.test, **self._share))

    @property
    def _share(self) -> dict[str, int]:
        """Which part of the photos is this process's."""
        if not self.trainer:
            return {"processes": 1, "rank": 0}
        return {"processes": self.trainer.world_size, "rank": self.trainer.global_rank}

    def _loader(self, photos: Dataset, **options: Any) -> DataLoader:
        return DataLoader(
            photos,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


def _even(label_ids: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Float64 [N]: the weights (1 where none are given), scaled so that each class has the same sum, and N in all."""
    weights = np.ones(len(label_ids)) if weights is None else weights
    of_class = np.bincount(label_ids, weights)
    return weights / of_class[label_ids] * len(label_ids) / np.count_nonzero(of_class)


def _decode(image: dict[str, Any]) -> Image.Image:
    return read_photo(image["bytes"] or image["path"], name=str(image["path"] or ""))
