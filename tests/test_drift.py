"""`make drift`, the real command in its own environment: no alarm for photos as in validation, one for others."""

import io
import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta

import boto3
import pandas as pd
import pytest
from drift_lines import line, row_of
from PIL import Image, ImageEnhance, ImageFilter
from serving import ROOT

PYTHON = ROOT / ".drift-venv/bin/python"
REFERENCE = ROOT / "docs/model/reference.csv.gz"


@pytest.fixture(scope="module", autouse=True)
def _environment():
    if not (ROOT / ".drift-venv/.installed").exists():
        pytest.skip("Evidently is not installed; `make .drift-venv/.installed` does it")


@pytest.fixture
def drift(tmp_path):
    """Look for drift in lines: the exit code, the verdict, and what was printed."""

    def look(lines, *options, log=None):
        if lines is not None:
            (tmp_path / "log").mkdir(exist_ok=True)
            (tmp_path / "log/app.log").write_text("\n".join(lines))
        command = [PYTHON, "-m", "deploy.drift", log or tmp_path / "log", "--out", tmp_path / "out", *options]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=500)
        verdict = tmp_path / "out/verdict.json"
        return done.returncode, json.loads(verdict.read_text()) if verdict.exists() else None, done.stdout + done.stderr

    return look


def drawn(count, seed=0):
    """Photos drawn from the reference, with replacement."""
    return pd.read_csv(REFERENCE, dtype={"model": str}).sample(count, replace=True, random_state=seed)


def lines_of(table):
    return [line(row) for row in table.to_dict("records")]


def drifted(verdict):
    return {name for name, column in verdict["columns"].items() if column["drift"]}


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, 20_000])
def test_photos_drawn_from_the_reference_give_no_alarm_be_they_few_or_many(drift, tmp_path, count):
    code, verdict, printed = drift(lines_of(drawn(count)))
    assert (code, verdict["drift"], verdict["share"], verdict["photos"]) == (0, False, 0, count), printed
    assert verdict["model"] == drawn(1).model.iloc[0]
    assert "No drift: 0%" in printed
    page = (tmp_path / "out/report.html").read_text()
    assert "sharpness" in page
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']https?://", page), "it calls no other host"


SHIFTED = {
    "dark": (lambda t: t.assign(brightness=0.4 * t.brightness, contrast=0.4 * t.contrast), {"brightness", "contrast"}),
    "blurred": (
        lambda t: t.assign(sharpness=0.5 * t.sharpness, confidence=0.7 * t.confidence),
        {"sharpness", "confidence"},
    ),
    "no food": (lambda t: t[t.not_food].sample(400, replace=True, random_state=0), {"not_food", "label"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHIFTED)
def test_what_has_shifted_gives_an_alarm_that_names_the_columns(drift, kind):
    shift, columns = SHIFTED[kind]
    code, verdict, printed = drift(lines_of(shift(drawn(400))))
    assert (code, verdict["drift"]) == (1, True), printed
    assert drifted(verdict) >= columns
    assert verdict["share"] == round(len(drifted(verdict)) / 7, 4)


def test_of_too_few_photos_nothing_is_said_and_no_metric_is_set(drift, tmp_path):
    dark = drawn(199).assign(brightness=0.01, contrast=0.01)
    code, verdict, printed = drift(lines_of(dark), "--prometheus", tmp_path / "drift.prom")
    assert (code, verdict["drift"], verdict["share"], verdict["photos"]) == (0, False, None, 199)
    assert "Too few to tell: it takes 200" in printed
    assert not (tmp_path / "drift.prom").exists()
    assert not (tmp_path / "out/report.html").exists()


@pytest.mark.slow
def test_the_metric_is_the_share_in_cloudwatch_and_in_a_file_for_prometheus(drift, tmp_path, s3):
    s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    lines = lines_of(drawn(300).assign(brightness=0.9, contrast=0.01))
    s3.put_object(Bucket="logs", Key="week/app.log", Body="\n".join(lines).encode())
    options = ["--namespace", "SeeFood102", "--service", "mine", "--prometheus", tmp_path / "drift.prom"]
    code, verdict, printed = drift(None, *options, log="s3://logs/week")
    assert code == 1, printed
    assert verdict["share"] == pytest.approx(2 / 7, abs=1e-4)
    assert f"\nseefood_drift {verdict['share']}\n" in (tmp_path / "drift.prom").read_text()
    cloudwatch, now = boto3.client("cloudwatch"), datetime.now(UTC)
    found = cloudwatch.get_metric_statistics(
        Namespace="SeeFood102",
        MetricName="seefood_drift",
        Dimensions=[{"Name": "service", "Value": "mine"}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=60,
        Statistics=["Maximum"],
    )
    assert [point["Maximum"] for point in found["Datapoints"]] == [verdict["share"]]


@pytest.mark.slow
def test_a_period_of_ones_own_can_be_the_reference(drift, tmp_path):
    phones = lines_of(drawn(300).assign(sharpness=0.2, brightness=0.7))
    own = tmp_path / "own.csv.gz"
    assert drift(phones, "--write-reference", own)[0] == 0
    assert drift(phones)[0] == 1
    code, verdict, printed = drift(phones, "--reference", own)
    assert (code, verdict["share"]) == (0, 0), printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--reference", "nowhere.csv.gz"], "nowhere.csv.gz: no such file. export.py writes it"),
        (["--reference", "pyproject.toml"], "pyproject.toml: no reference"),
        (["--since", "yesterday"], "invalid moment value: 'yesterday'"),
    ],
)
def test_what_cannot_be_looked_for_is_no_drift(drift, options, words):
    code, verdict, printed = drift(lines_of(drawn(1)), *options)
    assert (code, verdict) == (2, None)
    assert words in printed


# --- On real photos


def photos_of(folder, split, count):
    """The bytes of some photos of a data set."""
    from datasets import Image as ImageFeature
    from datasets import load_dataset

    photos = load_dataset("parquet", data_dir=f"{os.environ['SEEFOOD_DATA']}/{folder}", split=split)
    photos = photos.cast_column("image", ImageFeature(decode=False))
    return [image["bytes"] for image in photos.shuffle(seed=0).select(range(count))["image"]]


@pytest.fixture(scope="module")
def kinds():
    """Photos that neither training nor validation has seen, as in both: food, and one in ten of no food."""
    if not os.environ.get("SEEFOOD_DATA"):
        pytest.skip("SEEFOOD_DATA is not set to the folder of the photos")
    food = photos_of("food101-64", "test", 450)
    other = photos_of("nonfood-160", "test", 20) + photos_of("nonfood-32", "test", 30)
    return {
        "usual": food + other,
        "no food": photos_of("nonfood-160", "test", 150) + photos_of("nonfood-32", "test", 150),
    }


def blurred(image):
    return image.filter(ImageFilter.GaussianBlur(image.width / 30))


def dark(image):
    return ImageEnhance.Brightness(image).enhance(0.35)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    ("kind", "change", "columns"),
    [
        ("usual", None, set()),
        ("usual", blurred, {"sharpness"}),
        ("usual", dark, {"brightness", "contrast", "sharpness"}),
        ("no food", None, {"not_food", "label"}),
    ],
    ids=["as in training", "blurred", "dark", "no food"],
)
def test_real_photos_as_in_training_give_no_alarm_and_others_do(drift, predictor, kinds, kind, change, columns):
    images = (Image.open(io.BytesIO(photo)).convert("RGB") for photo in kinds[kind])
    rows = [row_of(predictor, change(image) if change else image) for image in images]
    code, verdict, printed = drift([line(row) for row in rows])
    assert (code, verdict["drift"]) == ((1, True) if columns else (0, False)), printed
    assert drifted(verdict) >= columns, printed
