"""One worker: a process that holds the model, reads and classifies a list of photos, and writes their answers."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from seefood.bulk.answers import TOP, Answers
from seefood.bulk.places import ahead, reader_of
from seefood.errors import PhotoError
from seefood.names import NOT_FOOD
from seefood.predictor import Predictor

Row = dict[str, Any]
_BATCH = 8  # photos that the network sees at once: a tenth faster than one by one, and more are not faster


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
        photos = zip(paths, contents, strict=True)
        rows: list[Row] = []
        while batch := list(islice(photos, _BATCH)):
            rows += self._rows(batch)
        self._answers.write(rows)
        kinds = Counter(_kind(row) for row in rows)
        columns = {"photos": list(kinds.values()), "began": [began] * len(kinds), "ended": [time.time()] * len(kinds)}
        return pa.table({"kind": pa.array(list(kinds), pa.string()), **columns})

    def _rows(self, photos: list[tuple[str, Callable[[], bytes]]]) -> list[Row]:
        rows: list[Row] = []
        squares = []
        for path, content in photos:
            row: Row = {"path": path}
            try:
                squares.append(self._predictor.input_of(content(), name=os.path.basename(path)))
            except PhotoError as error:
                row["error"] = str(error)
            rows.append(row)
        if squares:
            answered = (row for row in rows if "error" not in row)
            for row, prediction in zip(answered, self._predictor.predict_squares(np.stack(squares)), strict=True):
                row["labels"], row["probabilities"] = zip(*prediction.top(TOP), strict=True)
                if NOT_FOOD in prediction.labels:
                    row["not_food"] = prediction.probability[prediction.labels.index(NOT_FOOD)]
        return rows


def _kind(row: Row) -> str | None:
    """What is wrong with a photo, without the file's name, what is in parentheses, the numbers and the remedy."""
    if "error" not in row:
        return None
    reason = str(row["error"]).removeprefix(f"{os.path.basename(str(row['path']))}: ")
    return re.sub(r"[\d.]+(?= )", "...", re.split(r" \(|\. ", reason)[0])
