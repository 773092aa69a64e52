"""The run: which photos have no answer yet, and the workers that Ray Data keeps busy until all have."""

import logging
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Before Ray is imported: it would report to its makers; and on one machine it listens to that machine alone.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if "RAY_ADDRESS" not in os.environ:
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # on Linux, too

import pyarrow as pa
import ray.data
from tqdm import tqdm

from seefood.bulk.answers import Answers
from seefood.bulk.places import listed, whole
from seefood.bulk.worker import Worker
from seefood.cpus import cpu_limit
from seefood.errors import BulkError
from seefood.predictor import Predictor
from seefood.settings import settings

ROWS_PER_FILE = 5000
_FILES_PER_WORKER = 8  # at least, so that none waits long for the last one
# A photo that kills the worker which opens it must not stop a million others. The next start cuts what was left without
# an answer into shorter lists, in the end into single photos.
_RETRIES, _LISTS_LEFT = 2, 10


@dataclass
class Report:
    """What a run did.

    Attributes:
        there: photos that had an answer before.
        photos: those that have one now, by kind: None for what was classified, else the reason in short.
        start: seconds from the call to the first photo: list, start Ray, load the model.
        work: seconds from then to the last answer, as the workers' clocks have it.
    """

    there: int
    photos: Counter[str | None] = field(default_factory=Counter)
    start: float = 0.0
    work: float = 0.0

    @property
    def errors(self) -> int:
        """Photos that have an error now."""
        return sum(self.photos.values()) - self.photos[None]

    def __str__(self) -> str:
        count = sum(self.photos.values())
        parts = [f"{count:,} photos, {self.errors:,} errors"]
        if self.there:
            parts.append(f"{self.there:,} had an answer before")
        if count:
            parts.append(f"{self.start:.1f} s to start, {self.work:.1f} s of work, {count / self.work:.1f} a second")
        kinds = [f"  {number:,} {kind}" for kind, number in self.photos.most_common() if kind]
        return "\n".join(["; ".join(parts), *kinds])


def classify(
    photos: str,
    answers: str,
    *,
    workers: int | None = None,
    rows_per_file: int = ROWS_PER_FILE,
    retry_errors: bool = False,
) -> Report:
    """Classify every file below `photos` that has no answer in `answers` yet.

    Args:
        photos: a folder, or s3://bucket/prefix.
        answers: the same; Parquet files with the columns of `seefood.bulk.answers.SCHEMA`.
        workers: processes, each with one thread of ONNX Runtime; default: one for each CPU, of the cluster if
            RAY_ADDRESS names one.
        rows_per_file: photos in one file of answers, at most.
        retry_errors: take the photos that have an error for photos without answer.

    Raises:
        BulkError: an address cannot be used, or photos were left without an answer. Those that have one keep it.
        ModelError: there is no model; see `Predictor`.
    """
    began = time.time()
    photos, answers = whole(photos), whole(answers)
    if f"{answers}/".startswith(f"{photos}/"):
        raise BulkError(f"{answers}: lies in {photos}, and would be taken for photos. Name another folder.")
    store = Answers(answers, model=Predictor(threads=1).digest)
    if retry_errors:
        store.forget_errors()
    files = pa.concat_tables(listed(photos))
    todo = store.without_answer(files)
    report = Report(there=len(files) - len(todo))
    if not len(todo):
        return report
    workers = _connect(workers)
    size = min(rows_per_file, -(-len(todo) // (workers * _FILES_PER_WORKER)))
    lists = [todo.slice(start, size) for start in range(0, len(todo), size)]
    first, last = float("inf"), 0.0
    stopped: Exception | None = None
    with tqdm(total=len(todo), desc="photos", unit="photo", mininterval=2) as progress:
        try:
            for outcome in _outcomes(lists, photos, answers, workers):
                report.photos[outcome["kind"]] += outcome["photos"]
                first, last = min(first, outcome["began"]), max(last, outcome["ended"])
                progress.update(outcome["photos"])
        except Exception as error:  # of a worker: Ray Data raises it as it was, or wrapped in one of its own
            stopped = error
    ray.shutdown()
    if left := len(todo) - sum(report.photos.values()):
        raise BulkError(
            f"{left:,} of {len(todo):,} photos have no answer yet, for the reasons above. Start it again."
        ) from stopped
    report.start, report.work = first - began, last - first
    return report


def _outcomes(lists: list[pa.Table], photos: str, answers: str, workers: int) -> Iterator[dict[str, Any]]:
    """What the workers return of the lists, as they come."""
    model = ray.put(settings().model.read_bytes())
    # Ray 2.64 will have another way to say how often a list is tried.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
    outcomes = ray.data.from_arrow(lists).map_batches(
        Worker,
        fn_constructor_kwargs={"photos": photos, "answers": answers, "model": model},
        batch_size=None,  # a list as it is
        batch_format="pyarrow",
        # No list waits at a worker: it would be tried, and given up, with the one that kills it.
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
        max_task_retries=_RETRIES,
    )
    yield from outcomes.iter_rows()


def _connect(workers: int | None) -> int:
    """Connect to the cluster that RAY_ADDRESS names, or start Ray on this machine; returns the number of workers."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = _LISTS_LEFT
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" in os.environ:
        # The workers of a cluster have the settings of its nodes; ours are passed on.
        variables = {name: value for name, value in os.environ.items() if name.startswith("SEEFOOD_")}
        try:
            ray.init(runtime_env={"env_vars": variables}, **options)
        except ConnectionError as error:
            told = f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: no cluster that lets us in ({error})"
            raise BulkError(f"{told}. Check the address, and RAY_AUTH_MODE.") from error
        return workers or int(ray.cluster_resources()["CPU"])
    workers = workers or cpu_limit() or os.cpu_count() or 1
    ray.init("local", num_cpus=workers, include_dashboard=False, **options)
    return workers
