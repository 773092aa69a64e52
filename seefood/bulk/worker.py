"""One worker: a process that holds the model, reads and classifies a list of photos, and writes their answers."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from tempfile import NamedTemporaryFile

import numpy as np
import pyarrow as pa
import ray

from seefood.bulk.answers import TOP, Answers
from seefood.bulk.places import ahead, reader_of
from seefood.errors import PhotoError
from seefood.names import NOT_FOOD
from seefood.predictor import Predictor


class Worker:
    """What Ray Data makes a process of: called with a list of files, it writes one file of answers.

    What it returns is small: how many photos there were of each kind (None when answered, else the reason in short),
    and when it began and ended, in seconds since 1970.
    """

    def __init__(self, *, photos: str, answers: str, model: ray.ObjectRef):
        """
        Args:
            photos: the address that the photos are below.
            answers: the address to write to.
            model: the content of the model file. The machines of a cluster need not have it.
        """
        with NamedTemporaryFile(suffix=".onnx") as file:
            file.write(ray.get(model))
            file.flush()
            self._predictor = Predictor(file.name, threads=1)  # the machine's cores have a worker each
        self._answers = Answers(answers, model=self._predictor.digest)
        self._read = reader_of(photos)

    def __call__(self, files: pa.Table) -> pa.Table:
        """Classify the photos of a table of `path` and `size`."""
        began = time.time()
        paths = files["path"].to_pylist()
        contents = ahead(self._read, files.to_pylist())
        rows = [self._row(path, content) for path, content in zip(paths, contents, strict=True)]
        self._answers.write(rows)
        kinds = Counter(_kind(row) for row in rows)
        table = pa.table({"kind": pa.array(kinds, pa.string()), "photos": list(kinds.values())})
        for name, moment in {"began": began, "ended": time.time()}.items():
            table = table.append_column(name, pa.array(np.full(len(table), moment)))
        return table

    def _row(self, path: str, content: Callable[[], bytes]) -> dict[str, object]:
        try:
            square = self._predictor.input_of(content(), name=os.path.basename(path))
        except PhotoError as error:
            return {"path": path, "error": str(error)}
        prediction = self._predictor.predict_square(square)
        labels, probabilities = zip(*prediction.top(TOP), strict=True)
        of_label = dict(zip(prediction.labels, prediction.probability, strict=True))
        not_food = of_label.get(NOT_FOOD)  # a model may know only dishes
        return {"path": path, "labels": labels, "probabilities": probabilities, "not_food": not_food}


def _kind(row: dict[str, object]) -> str | None:
    """What is wrong with a photo, without the file's name, what is in parentheses, the numbers and the remedy."""
    if "error" not in row:
        return None
    reason = str(row["error"]).removeprefix(f"{os.path.basename(str(row['path']))}: ")
    return re.sub(r"[\d.]+(?= )", "...", re.split(r" \(|\. ", reason)[0])
