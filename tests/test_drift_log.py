"""The log that drift is looked for in: every form it comes in is read, and what is left out is counted."""

import gzip
import time
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from drift_lines import YESTERDAY, line, row_of
from serving import EXAMPLES, classify

from deploy.drift.log import DriftError, Period, lines_of, photos_of
from seefood.photo import read_photo

MODEL = "5e0287393344"
WEEK = Period(YESTERDAY - timedelta(days=6), YESTERDAY + timedelta(days=1))
ROW = {
    "brightness": 0.5,
    "contrast": 0.2,
    "sharpness": 0.04,
    "label": "pizza",
    "confidence": 0.9,
    "not_food": False,
    "low_confidence": False,
    "model": MODEL,
}
PHOTO = {name: value for name, value in ROW.items() if name != "model"}


def photos(place):
    return photos_of(lines_of(str(place), WEEK), WEEK, MODEL)


def test_text_gzip_and_what_cloudwatch_exports_are_read_from_a_folder_and_the_folders_in_it(tmp_path):
    (tmp_path / "app.log").write_text(f"{line(ROW)}\n\n{line(ROW)}\n")
    (tmp_path / "app.log.1").write_bytes(gzip.compress(line(ROW).encode()))
    export = tmp_path / "exports" / "6a1f" / "app-seefood102-0123"
    export.mkdir(parents=True)
    (export / "000000.gz").write_bytes(gzip.compress(f"2026-11-20T10:00:00.000Z {line(ROW)}\n".encode()))
    found = photos(tmp_path)
    assert found.rows == [PHOTO] * 4
    assert found.passed_over == 0
    assert photos(tmp_path / "app.log").rows == [PHOTO] * 2


def test_a_photo_that_the_running_app_was_asked_about_is_read_with_all_its_columns(server, predictor):
    since = datetime.now(UTC) - timedelta(seconds=1)
    assert classify(server.url, EXAMPLES[2].read_bytes())[0] == 200
    now = Period(since, since + timedelta(minutes=1))
    deadline = time.monotonic() + 10
    while not (found := photos_of(lines_of(str(server.output), now), now, predictor.digest)).rows:
        assert time.monotonic() < deadline, server.output.read_text()
    expected = row_of(predictor, read_photo(EXAMPLES[2]))
    assert expected.pop("model") == predictor.digest
    assert found.rows == [{name: pytest.approx(value, abs=1e-4) for name, value in expected.items()}]


@pytest.mark.parametrize(
    "other",
    [
        "Permission Check Successful",  # CloudWatch leaves such an object in the bucket
        "Traceback (most recent call last): {",
        '{"event": "start"}',
        line(ROW).replace('"confidence": 0.9', '"confidence": null'),
        line(ROW).replace('"top": [{', '"tops": [{'),
        '{"time": "2026-11-20T10:00:00.000Z", "event": "request", "error": "PhotoError", "model": "5e0287393344"}',
        "[1, 2]",
        "\udcff{",
    ],
)
def test_a_line_without_a_photo_is_passed_over_and_counted(tmp_path, other):
    lines = f"{line(ROW)}\n{other}\n{line(ROW)}\n"
    (tmp_path / "app.log").write_bytes(lines.encode(errors="surrogateescape"))
    found = photos(tmp_path)
    assert (len(found.rows), found.passed_over) == (2, 1)


def test_photos_of_another_time_or_model_are_left_out_and_counted():
    lines = [
        line(ROW, time=WEEK.since),
        line(ROW, time=WEEK.until),
        line(ROW, time=WEEK.since - timedelta(milliseconds=1)),
        line(ROW | {"model": "000000000000"}),
        line(ROW | {"model": "000000000000"}, time=WEEK.until),
    ]
    found = photos_of((one.encode() for one in lines), WEEK, MODEL)
    assert (len(found.rows), found.other_time, found.other_model, found.passed_over) == (1, 3, 1, 0)


def test_no_folder_and_a_damaged_file_are_told_by_name(tmp_path):
    with pytest.raises(DriftError, match="nowhere: no such file or folder"):
        photos(tmp_path / "nowhere")
    (tmp_path / "half.gz").write_bytes(gzip.compress(line(ROW).encode())[:-20])
    with pytest.raises(DriftError, match=r"half\.gz: damaged"):
        photos(tmp_path)


def test_a_bucket_is_read_below_the_prefix_and_only_what_is_young_enough(s3):
    s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket="logs", Key="exports/6a1f/000000.gz", Body=gzip.compress(line(ROW).encode()))
    s3.put_object(Bucket="logs", Key="exports/aws-logs-write-test", Body=b"Permission Check Successful")
    s3.put_object(Bucket="logs", Key="feedback/1.jsonl", Body=line(ROW).encode())
    found = photos("s3://logs/exports")
    assert (found.rows, found.passed_over) == ([PHOTO], 1)
    assert len(photos("s3://logs").rows) == 2
    tomorrow = Period(datetime.now(UTC) + timedelta(days=1), datetime.now(UTC) + timedelta(days=2))
    assert list(lines_of("s3://logs/exports", tomorrow)) == []


def test_cloudwatch_is_asked_for_the_period(s3):
    client = boto3.client("logs")
    client.create_log_group(logGroupName="/ecs/seefood102")
    client.create_log_stream(logGroupName="/ecs/seefood102", logStreamName="app/1")
    times = [YESTERDAY - timedelta(days=8), YESTERDAY, YESTERDAY + timedelta(minutes=1)]
    events = [{"timestamp": int(one.timestamp() * 1000), "message": line(ROW, time=one)} for one in times]
    client.put_log_events(logGroupName="/ecs/seefood102", logStreamName="app/1", logEvents=events)
    found = photos("cloudwatch:/ecs/seefood102")
    assert (len(found.rows), found.other_time) == (2, 0)
