"""Measure a model file: its answers on labelled photos, by the path that the app takes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torchmetrics.classification import MulticlassF1Score, MulticlassRecall
from tqdm import tqdm

from seefood.errors import ExportError
from seefood.names import NOT_FOOD
from seefood.photo import PhotoSource
from seefood.predictor import Predictor
from seefood.training.graph import ServedNetwork
from seefood.training.metrics import food_metrics

PARITY_PHOTOS = 70  # a multiple of each of the batch sizes
BATCH_SIZES = (1, 2, 7)
FEW_PHOTOS = 200


@dataclass(frozen=True)
class Answers:
    """What a model file says of N labelled photos.

    Attributes:
        labels: names of the C classes.
        probability: float32 [N, C].
        logits: float32 [N, C], before temperature.
        label: int64 [N].
    """

    labels: list[str]
    probability: np.ndarray
    logits: np.ndarray
    label: np.ndarray

    @classmethod
    def of(cls, predictor: Predictor, photos: Dataset, name: str) -> Self:
        """Ask the predictor about every photo; `name` is what the progress bar calls them."""
        progress = tqdm(photos_of(photos), total=len(photos), desc=name, unit="photo", mininterval=2)
        pairs = [(one.probability, one.evidence.mean(axis=(1, 2))) for one in predictor.predict_many(progress)]
        probability, logits = (np.stack(rows) for rows in zip(*pairs, strict=True))
        return cls(predictor.labels, probability, logits, np.asarray(photos.with_format(None)["label"][:]))

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """The answers of several parts as one, in order."""
        labels, *columns = zip(*((one.labels, one.probability, one.logits, one.label) for one in parts), strict=True)
        return cls(labels[0], *map(np.concatenate, columns))

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: np.ndarray) -> Self:
        """The answers on some of the photos, chosen by their numbers or by a mask."""
        return replace(self, probability=self.probability[rows], logits=self.logits[rows], label=self.label[rows])

    def at(self, temperature: float) -> Self:
        """The answers of the same network at another temperature."""
        return replace(self, probability=torch.from_numpy(self.logits / temperature).softmax(dim=1).numpy())

    @property
    def answer(self) -> np.ndarray:
        """int64 [N]: the most probable label of each photo."""
        return self.probability.argmax(axis=1)

    @property
    def is_food(self) -> np.ndarray:
        """Bool [N]: whether each photo shows a dish, by its label."""
        return np.array([label != NOT_FOOD for label in self.labels])[self.label]

    def metrics(self) -> dict[str, float]:
        """The number of photos that show a dish, `food_metrics` of them and the recall (top-1 class by class); then,
        when the labels include `not_food`, the share of them that are called that, and the number of the other photos
        and the share of those that are.

        A class without a photo here does not count in what is averaged class by class.
        """
        measured: dict[str, float] = {}
        is_food = self.is_food
        if is_food.any():
            probability, label = torch.from_numpy(self.probability[is_food]), torch.from_numpy(self.label[is_food])
            values = food_metrics(len(self.labels))(probability, label)
            for name, metric in (("recall", MulticlassRecall), ("f1", MulticlassF1Score)):
                values[name] = metric(len(self.labels), average="none")(probability, label)[label.unique()].mean()
            measured = {"photos": len(label), **{name: value.item() for name, value in values.items()}}
        if NOT_FOOD in self.labels:
            refused = self.answer == self.labels.index(NOT_FOOD)
            if is_food.any():
                measured["food_refused"] = refused[is_food].mean()
            if not is_food.all():
                measured |= {"other_photos": int((~is_food).sum()), "other_refused": refused[~is_food].mean()}
        return {name: value if isinstance(value, int) else round(float(value), 4) for name, value in measured.items()}

    def intervals(self, *, resamples: int = 500) -> dict[str, tuple[float, float]]:
        """The 95 % interval of each metric: how it varies over photos drawn anew from these (percentile bootstrap,
        Efron and Tibshirani, 1993)."""
        random = np.random.default_rng(0)
        drawn = [self[random.integers(0, len(self), len(self))].metrics() for _ in range(resamples)]
        shares = [name for name in self.metrics() if not name.endswith("photos")]
        return {
            name: (float(low), float(high))
            for name in shares
            # of few photos a draw may hold none of a kind
            for low, high in [np.quantile([one[name] for one in drawn if name in one], (0.025, 0.975)).round(4)]
        }


def answers_of(file: Path, parts: Mapping[str, Dataset]) -> dict[str, Answers]:
    """What a model file says of each part, by the part's name."""
    predictor = Predictor(file)
    return {name: Answers.of(predictor, photos, f"{file.stem}, {name}") for name, photos in parts.items()}


def photos_of(photos: Dataset) -> Iterator[PhotoSource]:
    """The photos as files: bytes, or a path."""
    for row in photos.with_format(None):
        yield row["image"]["bytes"] or row["image"]["path"]


def fitted_temperature(answers: Answers) -> float:
    """The temperature in [0.25, 4] whose softmax gives the labels the highest likelihood (Guo et al., 2017,
    arXiv:1706.04599), searched on a grid with steps of 0.7 %.

    On fewer than 200 photos it is at least 1: a handful that happen to be right would make it sure of everything.
    """
    logits, label = torch.from_numpy(answers.logits), torch.from_numpy(answers.label)
    candidates = np.geomspace(0.25, 4, 401)
    losses = [torch.nn.functional.cross_entropy(logits / candidate, label).item() for candidate in candidates]
    best = round(float(candidates[np.argmin(losses)]), 4)
    return best if len(label) >= FEW_PHOTOS else max(best, 1.0)


def check_parity(network: ServedNetwork, predictor: Predictor, photos: Dataset, *, limit: float = 1e-4) -> float:
    """Compare a model file with the PyTorch network it came from, one photo at a time, in twos and in sevens.

    Args:
        network: the PyTorch network, with temperature 1.
        predictor: the file with float32 weights, with temperature 1.
        photos: real photos; when they are fewer than 70, noise makes up the number.
        limit: the largest difference of a probability that passes.

    Returns:
        The largest difference.

    Raises:
        ExportError: it is over the limit.
    """
    metadata = predictor.metadata
    sources = list(photos_of(photos.select(range(min(PARITY_PHOTOS, len(photos))))))
    noise = np.random.default_rng(0).integers(0, 256, (PARITY_PHOTOS - len(sources), 64, 64, 3), dtype=np.uint8)
    sources += [Image.fromarray(one) for one in noise]
    image = torch.from_numpy(np.stack([predictor.input_of(source) for source in sources]))
    with torch.no_grad():
        expected = network.expected_logits(image).softmax(dim=1).numpy()
    difference = 0.0
    for batch_size in BATCH_SIZES:
        rows = [one.probability for one in predictor.predict_many(sources, batch_size=batch_size)]
        difference = max(difference, float(np.abs(np.stack(rows) - expected).max()))
    if not difference < limit:
        raise ExportError(
            f"The ONNX file of {metadata.architecture} is not the network: a probability differs by {difference:.1e}, "
            f"over the limit of {limit:.0e}. Do not ship it; try another version of torch or opset."
        )
    return difference


def agreement_of(some: Answers, others: Answers) -> float:
    """The share of photos that get the same answer from both, in [0, 1]."""
    return float((some.answer == others.answer).mean())


def check_agreement(small: Answers, full: Answers, *, limit: float = 0.995) -> float:
    """The share of photos that the file with float16 weights and the float32 file give the same label.

    Raises:
        ExportError: it is under the limit.
    """
    agreement = agreement_of(small, full)
    if agreement < limit:
        raise ExportError(
            f"With float16 weights {1 - agreement:.1%} of the validation photos get another label, over the limit of "
            f"{1 - limit:.1%}. Do not ship it; look for weights that float16 cannot hold."
        )
    return agreement


def check_cost(small: Answers, full: Answers, *, limit: float = 0.005) -> float:
    """How much top-1 a file loses against the float32 file, in [-1, 1].

    Raises:
        ExportError: it is over the limit.
    """
    cost = round(full.metrics()["top1"] - small.metrics()["top1"], 4)
    if cost > limit:
        raise ExportError(
            f"In the small file the top-1 on the validation photos falls by {100 * cost:.1f} points, over the limit of "
            f"{100 * limit:.1f}. Do not ship it; export without --int8 or --int8-weights."
        )
    return cost
