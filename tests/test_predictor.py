"""What README.md and the docstrings promise of `Predictor`."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from serving import COLORS, EXAMPLES, color_model

from seefood.errors import ModelError, PhotoError
from seefood.predictor import Predictor


def test_a_prediction_is_a_distribution_over_the_labels(predictor):
    prediction = predictor.predict(EXAMPLES[0])
    assert prediction.labels == predictor.labels
    assert prediction.probability.dtype == np.float32
    assert prediction.probability.shape == (len(predictor.labels),)
    assert prediction.probability.min() >= 0
    assert prediction.probability.sum() == pytest.approx(1, abs=1e-5)


def test_top_gives_the_most_probable_labels_best_first(predictor):
    prediction = predictor.predict(EXAMPLES[0])
    labels, probabilities = zip(*prediction.top(5), strict=True)
    assert list(probabilities) == sorted(prediction.probability.tolist(), reverse=True)[:5]
    assert [prediction.probability[predictor.labels.index(label)] for label in labels] == list(probabilities)
    everything = prediction.top(len(predictor.labels) + 1)
    assert sorted(label for label, _ in everything) == sorted(predictor.labels)


def test_the_evidence_of_the_places_is_what_the_probability_is_made_of(predictor):
    prediction = predictor.predict(EXAMPLES[0])
    assert prediction.evidence.dtype == np.float32
    assert prediction.evidence.ndim == 3
    assert len(prediction.evidence) == len(predictor.labels)
    assert prediction.evidence.std(axis=(1, 2)).max() > 0
    logits = prediction.evidence.astype(np.float64).mean(axis=(1, 2)) / predictor.metadata.temperature
    softmax = np.exp(logits - logits.max())
    np.testing.assert_allclose(prediction.probability, softmax / softmax.sum(), rtol=1e-3, atol=1e-6)


def test_a_path_bytes_and_an_image_give_one_prediction(predictor):
    path = EXAMPLES[0]
    expected = predictor.predict(path).probability
    for source in (str(path), path.read_bytes(), Image.open(path)):
        np.testing.assert_array_equal(predictor.predict(source).probability, expected)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_predict_many_equals_predict_in_order(predictor, batch_size):
    many = list(predictor.predict_many(iter(EXAMPLES), batch_size=batch_size))
    assert len(many) == len(EXAMPLES)
    for path, prediction in zip(EXAMPLES, many, strict=True):
        expected = predictor.predict(path)
        np.testing.assert_allclose(prediction.probability, expected.probability, atol=1e-5)
        np.testing.assert_allclose(prediction.evidence, expected.evidence, atol=1e-3)


def test_predict_many_names_the_photo_that_it_cannot_read_after_the_batches_before_it(predictor, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    predictions = predictor.predict_many([*EXAMPLES[:3], bad], batch_size=2)
    for _ in range(2):
        next(predictions)
    with pytest.raises(PhotoError, match=r"^bad\.jpg: "):
        next(predictions)


def test_several_threads_may_use_one_predictor(predictor):
    expected = [predictor.predict(path).probability for path in EXAMPLES]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(predictor.predict, EXAMPLES * 2))
    for answer, probability in zip(answers, expected * 2, strict=True):
        np.testing.assert_allclose(answer.probability, probability, atol=1e-6)


def test_the_model_sees_the_photo_in_rgb_and_upright(tmp_path):
    predictor = Predictor(color_model(tmp_path / "color.onnx"))
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down: the red half that is stored above belongs below
    photo = Image.new("RGB", (100, 100), (0, 0, 200))
    photo.paste((200, 0, 0), (0, 0, 100, 60))
    photo.save(tmp_path / "photo.png", exif=exif)
    prediction = predictor.predict(tmp_path / "photo.png")
    assert [label for label, _ in prediction.top(3)] == [COLORS[0], COLORS[2], COLORS[1]]
    assert prediction.evidence[0, -1].min() > 0.7 > 0.1 > prediction.evidence[0, 0].max()


def test_a_file_that_is_no_model_of_ours_is_refused_with_its_name_and_the_remedy(tmp_path):
    text, foreign = tmp_path / "text.onnx", color_model(tmp_path / "foreign.onnx", metadata=False)
    text.write_text("no model")
    with pytest.raises(ModelError, match=r"missing\.onnx: no such model file.*make model"):
        Predictor(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match=r"text\.onnx: no model of SeeFood102.*export\.py"):
        Predictor(text)
    with pytest.raises(ModelError, match=r"foreign\.onnx: no model of SeeFood102.*'labels'.*export\.py"):
        Predictor(foreign)
