"""What is said of a model is what its answers give, and stops an export when it is too bad."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from made_answers import answers
from training_fixtures import small_process  # noqa: F401

from seefood.errors import ExportError
from seefood.training.evaluation import (
    Answers,
    check_agreement,
    check_cost,
    fitted_temperature,
)
from seefood.training.reference import write_reference


def test_agreement_is_the_share_of_equal_answers_and_has_a_limit() -> None:
    full = answers(np.arange(400) % 3)
    for changed in (1, 4):
        label = full.label.copy()
        label[:changed] = (label[:changed] + 1) % 3
        if changed == 1:
            assert check_agreement(answers(label), full) == pytest.approx(1 - 1 / 400)
        else:
            with pytest.raises(ExportError, match=r"1\.0% of the validation photos get another label"):
                check_agreement(answers(label), full)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    torch.manual_seed(0)
    honest = 2 * torch.randn(10_000, 5)
    label = torch.multinomial(honest.softmax(dim=1), 1).squeeze(1)
    made = Answers(list("abcde"), honest.softmax(dim=1).numpy(), (honest * temperature).numpy(), label.numpy())
    assert fitted_temperature(made) == pytest.approx(temperature, rel=0.06)


def test_a_handful_of_right_answers_does_not_make_the_model_sure_of_everything() -> None:
    assert fitted_temperature(answers(np.array([0, 1, 2]))) == 1.0


def test_metrics_of_answers_are_those_computed_by_hand() -> None:
    labels = ["apple_pie", "pizza", "ramen"]
    right = replace(answers(np.array([0, 0, 1, 2])), labels=labels)
    wrong = replace(right, label=np.array([0, 1, 1, 2]))
    assert wrong.metrics() == {
        "photos": 4,
        "top1": 0.75,
        "top5": 1.0,  # of three labels
        "recall": round(5 / 6, 4),
        "f1": round(7 / 9, 4),  # 2/3 for the labels 0 and 1, 1 for 2
        "ece": 0.05,  # 0.8 sure, 3/4 right
    }


def test_metrics_tell_food_from_what_is_none() -> None:
    said = answers(np.array([0, 1, 1, 2, 2, 2, 0]))
    measured = replace(said, label=np.array([0, 1, 1, 1, 2, 2, 2])).metrics()
    assert (measured["photos"], measured["other_photos"]) == (4, 3)
    assert (measured["top1"], measured["food_refused"]) == (0.75, 0.25)
    assert measured["other_refused"] == round(2 / 3, 4)
    assert measured["recall"] == round((1 + 2 / 3) / 2, 4), "the mean of the two dishes; not_food is no dish"
    assert set(answers(np.array([2, 2])).metrics()) == {"other_photos", "other_refused"}


def test_the_interval_of_a_share_is_that_of_the_binomial_law() -> None:
    label = np.zeros(400, dtype=int)
    label[:100] = 1
    said = answers(np.zeros(400, dtype=int), 2)
    low, high = replace(said, label=label).intervals(resamples=200)["top1"]
    error = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == (pytest.approx(0.75 - error, abs=0.015), pytest.approx(0.75 + error, abs=0.015))


def test_the_intervals_of_few_photos_are_told_though_a_draw_may_hold_none_of_no_food() -> None:
    few = replace(answers(np.array([0, 1, 2])), label=np.array([0, 0, 2]))
    intervals = few.intervals()
    assert intervals["top1"] == (0, 1)
    assert intervals["other_refused"] == (1, 1)


def test_int8_may_cost_half_a_point_and_no_more() -> None:
    full = answers(np.arange(1000) % 2)
    for wrong in (5, 6):
        label = full.label.copy()
        label[:wrong] = 1 - label[:wrong]
        if wrong == 5:
            assert check_cost(replace(answers(label), label=full.label), full) == pytest.approx(0.005)
        else:
            with pytest.raises(ExportError, match=r"falls by 0\.6 points.*without --int8"):
                check_cost(replace(answers(label), label=full.label), full)


def test_the_reference_tells_what_is_no_food_and_what_is_unsure_and_is_the_same_file_each_time(tmp_path: Path) -> None:
    said = answers(np.array([0, 2, 1]))
    said.probability[2] = [0.1, 0.15, 0.12]
    predictor = Mock(digest="0123456789ab", input_of=lambda photo: np.full((2, 2, 3), photo[0], dtype=np.uint8))
    predictor.metadata.thresholds = {"unsure": 0.2}
    files = [{"image": {"bytes": bytes([value]), "path": None}, "label": 0} for value in (0, 51, 255)]
    photos = {"one": datasets.Dataset.from_list(files[:1]), "two": datasets.Dataset.from_list(files[1:])}
    of_source = {"one": said[np.array([0])], "two": said[np.array([1, 2])]}
    for folder in ("first", "again"):
        (tmp_path / folder).mkdir()
        write_reference(tmp_path / folder, predictor, of_source, photos)
    table = pd.read_csv(tmp_path / "first" / "reference.csv.gz", dtype={"model": str})
    assert list(table.label) == ["apple_pie", "not_food", "ramen"]
    assert list(table.not_food) == [False, True, False]
    assert list(table.low_confidence) == [False, False, True]
    assert list(table.brightness) == [0, 0.2, 1]
    assert set(table.model) == {predictor.digest}
    first, again = ((tmp_path / folder / "reference.csv.gz").read_bytes() for folder in ("first", "again"))
    assert first == again
