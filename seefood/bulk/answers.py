"""The answers: Parquet files in a folder or prefix, a row for each photo. They are all that a run leaves and needs.

A file appears whole or not at all, and is named by its model and its photos, so that a worker which is started again
writes the same file. (Ray Data's own `write_parquet` leaves half a file where it is killed, and names it anew; its
checkpoints hold every path in the memory of each worker.)
"""

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet
from pyarrow.fs import FileSelector, LocalFileSystem

from seefood.bulk.places import filesystem_of
from seefood.errors import BulkError

TOP = 5
SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "labels": pa.list_(pa.string()),
        "probabilities": pa.list_(pa.float32()),
        "not_food": pa.float32(),
        "error": pa.string(),
        "model": pa.string(),
    }
)


class Answers:
    """The answers of one model at `address`, which is whole: a folder, or s3://bucket/prefix.

        answers = Answers("/data/answers", model=predictor.digest)
        todo = answers.without_answer(files)
        answers.write(rows)

    Each method but `write` raises BulkError when the address cannot be listed, or has answers of another model.
    """

    def __init__(self, address: str, *, model: str):
        self._address, self._model = address, model
        self._filesystem, self._folder = filesystem_of(address)

    def without_answer(self, files: pa.Table) -> pa.Table:
        """The rows of `files` whose `path` has no answer yet."""
        done = pyarrow.dataset.dataset(self._files(), schema=SCHEMA, filesystem=self._filesystem, format="parquet")
        paths = done.to_table(columns=["path"])["path"].cast(pa.large_string())
        return files.filter(pc.invert(pc.is_in(files["path"], value_set=paths)))

    def forget_errors(self) -> int:
        """Take out the rows that have an error, so that those photos have no answer; returns how many."""
        forgotten = 0
        for path in self._files():
            table = pyarrow.parquet.read_table(path, filesystem=self._filesystem)
            good = table.filter(pc.is_null(table["error"]))
            if len(good) < len(table):
                self._put(path, good)
                forgotten += len(table) - len(good)
        return forgotten

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write one file of rows that have the columns of SCHEMA but the last."""
        table = pa.Table.from_pylist([{**row, "model": self._model} for row in rows], SCHEMA)
        paths = "\n".join(row["path"] for row in rows)
        digest = hashlib.sha256(paths.encode()).hexdigest()[:16]
        self._put(f"{self._folder}/{self._model}-{digest}.parquet", table)

    def _put(self, path: str, table: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pyarrow.parquet.write_table(table, buffer, compression="zstd")
        local = isinstance(self._filesystem, LocalFileSystem)  # an object in S3 is whole from its first moment
        folder, _, name = path.rpartition("/")
        written = f"{folder}/.{name}" if local else path
        if local:
            self._filesystem.create_dir(folder)
        with self._filesystem.open_output_stream(written) as file:
            file.write(buffer.getvalue())
        if local:
            self._filesystem.move(written, path)

    def _files(self) -> list[str]:
        """Paths of the Parquet files, in order; what a killed worker was writing begins with a dot."""
        try:
            entries = self._filesystem.get_file_info(FileSelector(self._folder, allow_not_found=True))
        except OSError as error:
            raise BulkError(f"{self._address}: cannot be listed ({error}). Check the address.") from error
        files = [each for each in entries if each.extension == "parquet" and each.base_name[0] != "."]
        if foreign := [each.base_name for each in files if not each.base_name.startswith(f"{self._model}-")]:
            told = f"holds {foreign[0]}, which is not of the model {self._model}"
            raise BulkError(f"{self._address}: {told}. Name another folder.")
        return sorted(each.path for each in files)
