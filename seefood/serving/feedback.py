""" "Is this right?": where visitors' answers are kept, one JSON line for each.

A line has the `time`, the `model`'s hash, the SHA-256 of the `photo`, the five best guesses as `prediction`, whether
the best was `right`, and the `dish` that it is. The photo itself is kept only when the visitor agreed to that: as
`photos/<SHA-256>.jpg`, upright and without its EXIF block, which may tell where it was taken.
"""

import hashlib
import io
import json
import logging
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
import numpy as np
from PIL import Image

from seefood.errors import SettingsError
from seefood.predictor import Prediction

_GUESSES = 5

log = logging.getLogger(__name__)


class Store(Protocol):
    """Where feedback is kept."""

    def add_line(self, line: str) -> None:
        """Keep one line of JSON, without its line feed."""

    def add_photo(self, name: str, content: bytes) -> None:
        """Keep a photo, once for each name."""


class FolderStore:
    """A folder: lines are appended to `feedback.jsonl`, photos lie in `photos/`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.Lock()
        try:
            (folder / "photos").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"SEEFOOD_FEEDBACK={folder}: {error.strerror}. Name another folder.") from None

    def add_line(self, line: str) -> None:
        """Append to `feedback.jsonl`."""
        with self._lock, (self.folder / "feedback.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def add_photo(self, name: str, content: bytes) -> None:
        """Write to `photos/`."""
        (self.folder / "photos" / name).write_bytes(content)


class S3Store:
    """A bucket, or a prefix in one: an object for each line and each photo, since S3 cannot append.

    Keys and region come from boto3's standard chain.
    """

    def __init__(self, address: str):
        try:
            import boto3
        except ImportError:
            raise SettingsError(
                f"SEEFOOD_FEEDBACK={address}: needs boto3. Install the extra: pip install '.[s3]'."
            ) from None
        self.bucket, _, prefix = address.removeprefix("s3://").partition("/")
        if not self.bucket:
            raise SettingsError(f"SEEFOOD_FEEDBACK={address}: names no bucket. Write s3://bucket/prefix.")
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._client = boto3.client("s3")

    def add_line(self, line: str) -> None:
        """Put one object whose key begins with the time, so that a listing has them in order."""
        now = datetime.now(UTC).strftime("%Y-%m-%d/%H%M%S")
        self._put(f"lines/{now}-{uuid.uuid4().hex[:12]}.jsonl", f"{line}\n".encode(), "application/x-ndjson")

    def add_photo(self, name: str, content: bytes) -> None:
        """Put one object below photos/."""
        self._put(f"photos/{name}", content, "image/jpeg")

    def _put(self, key: str, content: bytes, kind: str) -> None:
        self._client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=content, ContentType=kind)


class Feedback:
    """Answers of visitors, in a store.

    feedback = Feedback(FolderStore(Path("answers")))
    feedback.note(prediction, model=predictor.digest, file=Path("pizza.jpg"), dish="lasagna")
    """

    def __init__(self, store: Store):
        self.store = store

    def note(
        self,
        prediction: Prediction,
        *,
        model: str,
        file: Path,
        dish: str | None = None,
        photo: Image.Image | None = None,
    ) -> None:
        """Keep one answer.

        Args:
            prediction: what the model said.
            model: hash of the model file.
            file: the photo as it was uploaded.
            dish: what the visitor says it is; None if the best guess is right.
            photo: the photo, if it may be kept.

        Raises:
            gr.Error: the store did not take it.
        """
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        best = prediction.top(_GUESSES)
        answer: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": model,
            "photo": digest,
            "prediction": [[label, round(probability, 4)] for label, probability in best],
            "right": dish is None or dish == best[0][0],
            "dish": dish or best[0][0],
            "photo_kept": photo is not None,
        }
        try:
            if photo is not None:
                self.store.add_photo(f"{digest}.jpg", _jpeg(photo))
            self.store.add_line(json.dumps(answer, ensure_ascii=False))
        except Exception:  # a full disk, a bucket that is gone: the visitor cannot mend it, the log has the reason
            log.exception("feedback was not stored")
            raise gr.Error("Your answer could not be stored. Please try again later.", print_exception=False) from None


def open_feedback(place: str) -> Feedback | None:
    """The feedback that SEEFOOD_FEEDBACK names: a folder, or s3://bucket/prefix; None when it is empty.

    Raises:
        SettingsError: it cannot be used.
    """
    if not place:
        return None
    return Feedback(S3Store(place) if place.startswith("s3://") else FolderStore(Path(place)))


def _jpeg(photo: Image.Image) -> bytes:
    content = io.BytesIO()
    bare = Image.fromarray(np.asarray(photo))  # without an EXIF block
    bare.save(content, "JPEG", quality=95)
    return content.getvalue()
