"""Feedback in a bucket, on moto's S3 server."""

import json
import logging

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from serving import EXAMPLES, color_model

from seefood.errors import SettingsError
from seefood.predictor import Predictor
from seefood.serving.feedback import open_feedback


@pytest.fixture
def bucket(s3):
    s3.create_bucket(Bucket="answers", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return s3


@pytest.fixture
def prediction(tmp_path):
    return Predictor(color_model(tmp_path / "color.onnx")).predict(EXAMPLES[0])


def keys(client):
    return sorted(entry["Key"] for entry in client.list_objects_v2(Bucket="answers").get("Contents", []))


@pytest.mark.parametrize("prefix", ["", "/seefood/feedback/"], ids=["bucket", "prefix"])
def test_each_answer_is_an_object_and_the_photo_is_there_only_if_it_may_be_kept(prefix, bucket, prediction):
    feedback = open_feedback(f"s3://answers{prefix}")
    feedback.note(prediction, model="abc", file=EXAMPLES[0])
    (line,) = keys(bucket)
    answer = json.loads(bucket.get_object(Bucket="answers", Key=line)["Body"].read())
    assert line.startswith(f"{prefix.lstrip('/')}lines/{answer['time'][:10]}/")
    assert answer["right"]
    assert not answer["photo_kept"]

    feedback.note(prediction, model="abc", file=EXAMPLES[0], dish="ramen", photo=Image.open(EXAMPLES[0]))
    photo = f"{prefix.lstrip('/')}photos/{answer['photo']}.jpg"
    assert photo in keys(bucket)
    assert len(keys(bucket)) == 3
    kept = Image.open(bucket.get_object(Bucket="answers", Key=photo)["Body"])
    assert np.abs(np.asarray(kept, float) - np.asarray(Image.open(EXAMPLES[0]), float)).mean() < 3


def test_a_bucket_that_is_gone_is_an_error_in_a_sentence_and_its_reason_is_in_the_log(bucket, prediction, caplog):
    feedback = open_feedback("s3://another")
    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error, match="could not be stored"):
        feedback.note(prediction, model="abc", file=EXAMPLES[0])
    assert "NoSuchBucket" in caplog.text


def test_an_address_without_a_bucket_is_refused():
    with pytest.raises(SettingsError, match="names no bucket"):
        open_feedback("s3://")
