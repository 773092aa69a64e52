"""What photos and answers are like when all is well: those of validation, for deploy/drift to compare others with."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from seefood.names import NOT_FOOD
from seefood.predictor import Predictor
from seefood.statistics import image_statistics
from seefood.training.evaluation import Answers, photos_of

FILE = "reference.csv.gz"


def write_reference(
    folder: Path, predictor: Predictor, answers: Mapping[str, Answers], photos: Mapping[str, Dataset]
) -> None:
    """Write `reference.csv.gz`: a row for each photo, with the fields that the log of a request has, too, as far as
    drift is looked for in them, and with its true label.

    Args:
        folder: the folder of the model card.
        predictor: of the file that ships.
        answers: of that file, by source.
        photos: by source, those that were asked about.
    """
    squares = (predictor.input_of(photo) for part in photos.values() for photo in photos_of(part))
    table = reference_of(predictor, Answers.joined(answers.values()), squares)
    # Without the time of writing in it: the same photos and answers make the same file.
    table.to_csv(folder / FILE, index=False, compression={"method": "gzip", "mtime": 0})


def reference_of(predictor: Predictor, answers: Answers, squares: Iterable[np.ndarray]) -> pd.DataFrame:
    """The reference as a table; `squares` are uint8 [S, S, 3], in the order of the answers."""
    names, confidence = np.array(answers.labels), answers.probability.max(axis=1)
    table = pd.DataFrame([image_statistics(square) for square in squares])
    table.insert(0, "label_true", names[answers.label])
    table["confidence"] = confidence
    table["not_food"] = names[answers.answer] == NOT_FOOD
    table["low_confidence"] = confidence < predictor.metadata.thresholds["unsure"]
    table["label"] = names[answers.answer]
    table["model"] = predictor.digest
    return table.round(4)
