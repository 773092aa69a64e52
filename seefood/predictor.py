"""The ONNX Runtime session: photo in, `Prediction` out."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime

from seefood.cpus import cpu_limit
from seefood.errors import ModelError
from seefood.metadata import Metadata
from seefood.photo import PhotoSource, read_photo, square
from seefood.settings import settings

onnxruntime.disable_telemetry_events()

# A large JPEG is decoded at reduced scale, but at no less than four times the size that the network sees. At twice, the
# decoder's averaging dims the finest detail that the network sees by a tenth, which moves probabilities; at four times
# they hardly move, as benchmarks/photo.py measures.
_MARGIN = 4


@dataclass(frozen=True)
class Prediction:
    """What the model says of one photo.

    Attributes:
        labels: the C names the model knows.
        probability: float32 [C], sums to 1.
        evidence: float32 [C, h, w]: what each place of the photo's central square adds to each label's logit, before
            temperature; its mean over the places is the logit.
    """

    labels: list[str]
    probability: np.ndarray
    evidence: np.ndarray

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most probable labels, at most `count` of them, best first, each with its probability."""
        best = np.argsort(-self.probability, kind="stable")[:count]
        return [(self.labels[index], float(self.probability[index])) for index in best]


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """How ONNX Runtime runs a model here, with so many threads for one call.

    0 means as many as the container was granted CPUs, and leaves the choice to ONNX Runtime where there is no limit.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cpu_limit()
    # Threads that spin while they wait take the CPU from the next photo: they double the CPU time of each.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class Predictor:
    """Classifies photos with a model file that export.py wrote.

        predictor = Predictor()  # or Predictor("path/to/model.onnx")
        prediction = predictor.predict("pizza.jpg")  # a path, bytes, or a PIL image
        label, probability = prediction.top(1)[0]

    Note that a predictor may be used from several threads at once.
    """

    def __init__(self, path: str | Path | None = None, *, threads: int | None = None):
        """
        Args:
            path: the model file; default: SEEFOOD_MODEL, `models/seefood.onnx`.
            threads: threads of ONNX Runtime for one call; default: SEEFOOD_THREADS. 0 means those granted.

        Raises:
            ModelError: the file does not exist, or is no model of SeeFood102.
        """
        path = Path(path or settings().model)
        options = session_options(settings().threads if threads is None else threads)
        try:
            model = path.read_bytes()
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self.metadata = Metadata.from_properties(self._session.get_modelmeta().custom_metadata_map)
        except FileNotFoundError as error:
            raise ModelError(f"{path}: no such model file. `make model` pulls the embedded one.") from error
        except Exception as error:  # ONNX Runtime has an error class of its own for each of its codes
            raise ModelError(f"{path}: no model of SeeFood102 ({error}). Make one with export.py.") from error
        outputs = self._session.get_outputs()[0].shape[1]
        if outputs != len(self.labels):
            raise ModelError(f"{path}: has {outputs} outputs and {len(self.labels)} labels. Export it again.")
        self.digest = hashlib.sha256(model).hexdigest()[:12]

    @property
    def labels(self) -> list[str]:
        """The data set's names: ["apple_pie", ..., "not_food"]."""
        return self.metadata.labels

    @property
    def short_side(self) -> int:
        """Pixels that a photo's short side must keep for the same answer: what `read_photo` takes as `at_least`."""
        return math.ceil(_MARGIN * self.metadata.image_size / self.metadata.crop)

    def predict(self, photo: PhotoSource) -> Prediction:
        """Classify one photo: a path, the bytes of a file, or a PIL image.

        Raises:
            PhotoError: the photo cannot be read; see `seefood.photo.read_photo`.
        """
        return self.predict_square(self.input_of(photo))

    def predict_square(self, square: np.ndarray) -> Prediction:
        """Classify what `input_of` gave of a photo."""
        return next(self.predict_squares(square[np.newaxis]))

    def predict_squares(self, squares: np.ndarray) -> Iterator[Prediction]:
        """Classify several at once, uint8 [N, S, S, 3]."""
        probability, evidence = self._session.run(["probability", "evidence"], {"image": squares})
        for row in zip(probability, evidence, strict=True):
            yield Prediction(self.labels, *row)

    def predict_many(self, photos: Iterable[PhotoSource], *, batch_size: int = 32) -> Iterator[Prediction]:
        """Classify any number of photos, `batch_size` at a time; the order is kept.

        Raises:
            PhotoError: names the photo that cannot be read; those of earlier batches have been yielded by then.
        """
        remaining = iter(photos)
        while batch := list(islice(remaining, batch_size)):
            yield from self.predict_squares(np.stack([self.input_of(photo) for photo in batch]))

    def input_of(self, photo: PhotoSource, *, name: str = "") -> np.ndarray:
        """What the network sees of a photo, uint8 [S, S, 3]; raises PhotoError, which calls the photo `name`."""
        photo = read_photo(photo, name=name, at_least=self.short_side)
        return np.asarray(square(photo, self.metadata.image_size, self.metadata.crop))
