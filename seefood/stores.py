"""Where feedback is kept: in a folder, or in a bucket.

A store holds photos, and journals: lines of JSON that are only ever added. "feedback" is what visitors said, "review"
what was decided about it (`seefood.answers`).
"""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from seefood.errors import FeedbackError, PhotoError

Journal = Literal["feedback", "review"]

_AT_ONCE = 16  # objects of a bucket that are read at the same time


class Store(Protocol):
    """Where feedback is kept."""

    def add_line(self, journal: Journal, line: str) -> None:
        """Keep one line of JSON, without its line feed."""

    def add_photo(self, name: str, content: bytes) -> None:
        """Keep a photo, once for each name."""

    def lines(self, journal: Journal) -> Iterator[str]:
        """The lines of a journal, oldest first; none where there is no such journal.

        Raises:
            FeedbackError: the store cannot be read.
        """

    def photo(self, name: str) -> bytes:
        """A photo that was kept.

        Raises:
            PhotoError: it is gone.
            FeedbackError: the store cannot be read.
        """


class FolderStore:
    """A folder: lines are appended to `<journal>.jsonl`, photos lie in `photos/`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.Lock()

    def make(self) -> None:
        """Make the folder, unless it is there.

        Raises:
            FeedbackError: it cannot be made.
        """
        try:
            (self.folder / "photos").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FeedbackError(f"{self.folder}: {error.strerror}. Name another folder.") from None

    def add_line(self, journal: Journal, line: str) -> None:
        """Append to the journal's file."""
        with self._lock, self._file(journal).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def add_photo(self, name: str, content: bytes) -> None:
        """Write to `photos/`."""
        (self.folder / "photos" / name).write_bytes(content)

    def lines(self, journal: Journal) -> Iterator[str]:
        """Read the journal's file."""
        if self._file(journal).is_file():
            with self._file(journal).open(encoding="utf-8", errors="replace") as file:
                yield from file

    def photo(self, name: str) -> bytes:
        """Read from `photos/`."""
        try:
            return (self.folder / "photos" / name).read_bytes()
        except OSError as error:
            raise PhotoError(f"{name}: cannot be opened ({error.strerror}). Leave it out.") from None

    def _file(self, journal: Journal) -> Path:
        return self.folder / f"{journal}.jsonl"


class S3Store:
    """A bucket, or a prefix in one: an object for each line and each photo, since S3 cannot append.

    Keys and region come from boto3's standard chain.
    """

    def __init__(self, address: str):
        try:
            import boto3
        except ImportError:
            raise FeedbackError(f"{address}: needs boto3. Install the extra: pip install '.[s3]'.") from None
        self.bucket, _, prefix = address.removeprefix("s3://").partition("/")
        if not self.bucket:
            raise FeedbackError(f"{address}: names no bucket. Write s3://bucket/prefix.")
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._client = boto3.client("s3")

    def add_line(self, journal: Journal, line: str) -> None:
        """Put one object whose key begins with the time, so that a listing has them in order."""
        now = datetime.now(UTC).strftime("%Y-%m-%d/%H%M%S.%f")
        key = f"{self._folder(journal)}{now}-{uuid.uuid4().hex[:12]}.jsonl"
        self._put(key, f"{line}\n".encode(), "application/x-ndjson")

    def add_photo(self, name: str, content: bytes) -> None:
        """Put one object below photos/."""
        self._put(f"{self.prefix}photos/{name}", content, "image/jpeg")

    def lines(self, journal: Journal) -> Iterator[str]:
        """List the journal's objects and get them, several at a time."""
        listing = self._client.get_paginator("list_objects_v2")
        with self._troubles_named():
            pages = listing.paginate(Bucket=self.bucket, Prefix=self._folder(journal))
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
            with ThreadPoolExecutor(_AT_ONCE) as readers:
                for content in readers.map(self._get, keys):
                    yield content.decode(errors="replace")

    def photo(self, name: str) -> bytes:
        """Get one object below photos/."""
        with self._troubles_named():
            try:
                return self._get(f"{self.prefix}photos/{name}")
            except self._client.exceptions.NoSuchKey:
                raise PhotoError(f"{name}: is not in the bucket. Leave it out.") from None

    @contextmanager
    def _troubles_named(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise FeedbackError(f"s3://{self.bucket}: {error}. Check the bucket, and the keys of AWS.") from error

    def _folder(self, journal: Journal) -> str:
        return self.prefix + {"feedback": "lines/", "review": "review/"}[journal]

    def _put(self, key: str, content: bytes, kind: str) -> None:
        self._client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=kind)

    def _get(self, key: str) -> bytes:
        content: bytes = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content


def open_store(place: str) -> FolderStore | S3Store:
    """The store at a place: a folder, or s3://bucket/prefix. Nothing is made or read yet.

    Raises:
        FeedbackError: the place names none.
    """
    return S3Store(place) if place.startswith("s3://") else FolderStore(Path(place))
