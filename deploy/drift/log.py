"""The app's log of a period: where its lines lie, and what is in them of each photo."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NUMBERS = ("brightness", "contrast", "sharpness", "confidence")
FLAGS = ("not_food", "low_confidence")
CLOUDWATCH, S3 = "cloudwatch:", "s3://"


class DriftError(Exception):
    """Drift cannot be looked for; the message says why, for a person."""


@dataclass(frozen=True)
class Period:
    """From `since` on, and before `until`."""

    since: datetime
    until: datetime

    def __contains__(self, time: datetime) -> bool:
        return self.since <= time < self.until

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} {self.until:%Z}"


@dataclass
class Photos:
    """What a log says of the photos of a period that one model was asked about.

    Attributes:
        rows: of each photo `NUMBERS`, `FLAGS` and `label`, the most probable.
        passed_over: number of lines without a photo: a request that was refused, or words of another program.
        other_time: number of photos outside of the period.
        other_model: number of photos in the period that another model answered.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    passed_over: int = 0
    other_time: int = 0
    other_model: int = 0


def photos_of(lines: Iterable[bytes], period: Period, model: str) -> Photos:
    """Read the lines of a log; `model` is the hash that a line must have."""
    found = Photos()
    for line in lines:
        photo = _photo_in(line)
        if photo is None:
            found.passed_over += 1
        elif photo.pop("time") not in period:
            found.other_time += 1
        elif photo.pop("model") != model:
            found.other_model += 1
        else:
            found.rows.append(photo)
    return found


def _photo_in(line: bytes) -> dict[str, Any] | None:
    """The photo of a line, with its time and model; None without one. CloudWatch exports a time before each line."""
    try:
        entry = json.loads(line[line.index(b"{") :])
        return {
            "time": datetime.fromisoformat(entry["time"]).astimezone(UTC),
            "model": str(entry["model"]),
            "label": str(entry["top"][0]["label"]),
            **{name: float(entry[name]) for name in NUMBERS},
            **{name: bool(entry[name]) for name in FLAGS},
        }
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def lines_of(place: str, period: Period) -> Iterator[bytes]:
    """The lines of a log that may be of a period.

    Args:
        place: a file or folder; `s3://bucket/prefix`; or `cloudwatch:` and the name of a log group. Files and objects
            are text or gzip, whatever their names. Keys and region come from the standard AWS chain.
        period: what a bucket and CloudWatch are asked for; it leaves the rest to `photos_of`.

    Raises:
        DriftError: there is no such place, or a file in it is damaged.
    """
    if place.startswith(CLOUDWATCH):
        yield from _of_cloudwatch(place.removeprefix(CLOUDWATCH), period)
        return
    for name, content in _of_bucket(place, period) if place.startswith(S3) else _of_folder(Path(place)):
        try:
            text = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        except (EOFError, OSError, zlib.error) as error:
            raise DriftError(f"{name}: damaged ({error}). Copy it again, or leave it out.") from error
        yield from (line for line in text.splitlines() if line.strip())


def _of_folder(place: Path) -> Iterator[tuple[str, bytes]]:
    if not place.exists():
        raise DriftError(f"{place}: no such file or folder. Give it the folder of the app's log lines.")
    for path in [place] if place.is_file() else sorted(place.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()


def _of_bucket(place: str, period: Period) -> Iterator[tuple[str, bytes]]:
    import boto3

    bucket, _, prefix = place.removeprefix(S3).partition("/")
    client = boto3.client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            if entry["LastModified"] >= period.since:  # an object that is older holds no later line
                key = entry["Key"]
                yield f"{S3}{bucket}/{key}", client.get_object(Bucket=bucket, Key=key)["Body"].read()


def _of_cloudwatch(group: str, period: Period) -> Iterator[bytes]:
    import boto3

    pages = (
        boto3.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=group,
            startTime=int(period.since.timestamp() * 1000),
            endTime=int(period.until.timestamp() * 1000),
            filterPattern='{ $.event = "request" }',
        )
    )
    for page in pages:
        yield from (event["message"].encode() for event in page["events"])
