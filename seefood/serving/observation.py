"""What is noted of one photo on its way through the app, wherever on that way: by thread, task, and Gradio's queue."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from seefood.names import NOT_FOOD
from seefood.photo import PhotoFile, read_photo_file
from seefood.predictor import Prediction, Predictor
from seefood.statistics import image_statistics

_TOP = 5

current: ContextVar["Observation | None"] = ContextVar("observation", default=None)


class Observation:
    """One photo that is asked about, or one request that is refused.

    Attributes:
        error: class of the first error, which is the cause of those that follow.
        told: it has its line in the log, or what was observed within it has.
        file: the photo, once it is read.
    """

    def __init__(self, endpoint: str, request_id: str, tell: "Callable[[Observation], None]" = lambda _: None):
        self.endpoint, self.request_id, self._tell = endpoint, request_id, tell
        self.error: str | None = None
        self.told = False
        self.file: PhotoFile | None = None
        self._answer: tuple[np.ndarray, Prediction] | None = None
        self._start = time.perf_counter()
        self._seconds = {"decode": 0.0, "inference": 0.0}

    @contextmanager
    def observed(self, *, errors_only: bool = False) -> Iterator["Observation"]:
        """Observe what happens within, and tell of it at its end, unless something within it was told already.

        Args:
            errors_only: without an error there is nothing to tell.
        """
        outer, token = current.get(), current.set(self)
        try:
            yield self
        except BaseException as error:
            self.failed(error)
            raise
        finally:
            current.reset(token)
            if not self.told and (self.error or not errors_only):
                self._tell(self)
                self.told = True
            if outer and self.told:
                outer.told = True

    def part(self) -> AbstractContextManager["Observation"]:
        """Observe one of several photos, which is told by itself."""
        return Observation(self.endpoint, self.request_id, self._tell).observed()

    def failed(self, error: BaseException | str) -> None:
        """Note an error, or the class that it would have."""
        self.error = self.error or (error if isinstance(error, str) else type(error).__name__)

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """What happens within is reading the photo."""
        with self._timed("decode"):
            yield

    @contextmanager
    def inferring(self) -> Iterator[None]:
        """What happens within is running the model."""
        with self._timed("inference"):
            yield

    def answered(self, square: np.ndarray, prediction: Prediction) -> None:
        """Note what the model saw, and said."""
        self._answer = square, prediction

    def facts(self, unsure: float) -> dict[str, Any]:
        """What is known of it by now, by the names of `seefood.serving.telemetry.FIELDS`.

        Args:
            unsure: the probability below which an answer is of low confidence.
        """
        seconds = time.perf_counter() - self._start
        facts: dict[str, Any] = {
            "request_id": self.request_id,
            "endpoint": self.endpoint,
            "error": self.error,
            "seconds": seconds,
            "decode_seconds": self._seconds["decode"],
            "inference_seconds": self._seconds["inference"],
            "rest_seconds": seconds - sum(self._seconds.values()),
        }
        if self.file:
            facts |= {"bytes": self.file.bytes, "pixels": self.file.pixels, "format": self.file.format}
        if self._answer:
            square, prediction = self._answer
            best = prediction.top(_TOP)
            facts |= image_statistics(square)
            facts |= {
                "top": [{"label": label, "probability": round(probability, 6)} for label, probability in best],
                "confidence": best[0][1],
                "not_food": best[0][0] == NOT_FOOD,
                "low_confidence": best[0][1] < unsure,
            }
        return facts

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.failed(error)
            raise
        finally:
            self._seconds[part] += time.perf_counter() - start


def observation() -> Observation:
    """That of the photo at hand; one that nobody will read, if nobody asked."""
    return current.get() or Observation("", "")


def read_observed(source: str | PathLike[str] | bytes, *, name: str, at_least: int) -> Image.Image:
    """`seefood.photo.read_photo`, observed."""
    noted = observation()
    with noted.decoding():
        noted.file = read_photo_file(source, name=name, at_least=at_least)
    return noted.file.image


def predict_observed(predictor: Predictor, photo: Image.Image) -> Prediction:
    """`Predictor.predict`, observed."""
    noted = observation()
    with noted.decoding():
        square = predictor.input_of(photo)
    with noted.inferring():
        prediction = predictor.predict_square(square)
    noted.answered(square, prediction)
    return prediction
