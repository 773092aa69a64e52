"""Measure a model file: its answers on labelled photos, by the path that the app takes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from tqdm import tqdm

from seefood.errors import ExportError
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
        probability: float32 [N, C].
        logits: float32 [N, C], before temperature.
        label: int64 [N].
    """

    probability: np.ndarray
    logits: np.ndarray
    label: np.ndarray

    @classmethod
    def of(cls, predictor: Predictor, photos: Dataset, name: str) -> "Answers":
        """Ask the predictor about every photo; `name` is what the progress bar calls them."""
        progress = tqdm(photos_of(photos), total=len(photos), desc=name, unit="photo", mininterval=2)
        pairs = [(one.probability, one.evidence.mean(axis=(1, 2))) for one in predictor.predict_many(progress)]
        probability, logits = (np.stack(rows) for rows in zip(*pairs, strict=True))
        return cls(probability, logits, np.asarray(photos.with_format(None)["label"][:]))

    @property
    def answer(self) -> np.ndarray:
        """int64 [N]: the most probable label of each photo."""
        return self.probability.argmax(axis=1)

    def metrics(self) -> dict[str, float]:
        """Top-1, top-5, macro F1, calibration error, all in [0, 1], and the number of photos."""
        collection = food_metrics(self.probability.shape[1])
        measured = collection(torch.from_numpy(self.probability), torch.from_numpy(self.label))
        return {"photos": len(self.label), **{name: round(value.item(), 4) for name, value in measured.items()}}


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
        expected = network.classifier(image).softmax(dim=1).numpy()
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


def check_agreement(small: Answers, full: Answers, *, limit: float = 0.995) -> float:
    """The share of photos that the shipped file and the float32 file give the same label.

    Raises:
        ExportError: it is under the limit.
    """
    agreement = float((small.answer == full.answer).mean())
    if agreement < limit:
        raise ExportError(
            f"With float16 weights {1 - agreement:.1%} of the validation photos get another label, over the limit of "
            f"{1 - limit:.1%}. Do not ship it; look for weights that float16 cannot hold."
        )
    return agreement
