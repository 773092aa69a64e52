"""The same network as several files, measured side by side: size, speed, accuracy, heat map."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from datasets import Dataset

from seefood.predictor import Predictor, session_options
from seefood.training.evaluation import Answers, agreement_of, photos_of
from seefood.training.graph import ServedNetwork, export_onnx
from seefood.training.model import FoodClassifier

THREADS = 2
REFERENCE = "tf_efficientnet_lite0", 224
HEAT_MAPS = 200


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to write the network into a file.

    Attributes:
        name: "float32", "float16", "int8 weights" or "int8".
        bytes: size of the file.
        milliseconds: for one photo at batch 1 with two threads, pre-processing not included; the median of many.
        ratio: that, as a multiple of EfficientNet-Lite0's at 224 px in float32, timed in turns.
        metrics: on the validation photos.
        agreement: share of the validation photos with the same answer as float32.
        heat_map: correlation of the heat maps with float32's, over the places of some photos.
    """

    name: str
    bytes: int
    milliseconds: float
    ratio: float
    metrics: dict[str, float]
    agreement: float
    heat_map: float


def compare_variants(files: Mapping[str, Path], answers: Mapping[str, Answers], photos: Dataset) -> list[Variant]:
    """Measure several files of one network.

    Args:
        files: by name, "float32" first; the others are compared with it.
        answers: of each file, on the validation photos.
        photos: the validation photos.
    """
    times, reference = _milliseconds(files)
    maps = {name: _heat_maps(Predictor(path), answers["float32"], photos) for name, path in files.items()}
    return [
        Variant(
            name=name,
            bytes=path.stat().st_size,
            milliseconds=times[name],
            ratio=times[name] / reference,
            metrics=answers[name].metrics(),
            agreement=agreement_of(answers[name], answers["float32"]),
            heat_map=float(np.corrcoef(maps[name], maps["float32"])[0, 1]),
        )
        for name, path in files.items()
    ]


def _heat_maps(predictor: Predictor, answers: Answers, photos: Dataset) -> np.ndarray:
    """The evidence for float32's answer at each place of the first photos, in one row."""
    some = photos.select(range(min(HEAT_MAPS, len(photos))))
    predictions = predictor.predict_many(photos_of(some))
    return np.ravel([one.evidence[label] for one, label in zip(predictions, answers.answer, strict=False)])


def _milliseconds(files: Mapping[str, Path], *, runs: int = 200) -> tuple[dict[str, float], float]:
    """The median time of each file and of the reference for one photo, taken in turns, so that noise hits all alike."""
    architecture, size = REFERENCE
    labels = [str(index) for index in range(1000)]
    network = FoodClassifier(labels=labels, image_size=size, architecture=architecture, weights="random")
    reference = files["float32"].with_name("reference.onnx")
    export_onnx(ServedNetwork(network), reference)
    sessions = {path: _session(path) for path in (*files.values(), reference)}
    times: dict[Path, list[float]] = {path: [] for path in sessions}
    for _ in range(runs):
        for path, session in sessions.items():
            image = np.zeros((1, *session.get_inputs()[0].shape[1:]), dtype=np.uint8)
            start = time.perf_counter()
            session.run(None, {"image": image})
            times[path].append(1000 * (time.perf_counter() - start))
    medians = {path: float(np.median(values)) for path, values in times.items()}
    return {name: medians[path] for name, path in files.items()}, medians[reference]


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, session_options(THREADS), providers=["CPUExecutionProvider"])
