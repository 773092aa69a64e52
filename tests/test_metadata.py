"""The facts of a model travel in its file."""

from dataclasses import MISSING, fields, replace

import pytest

from seefood.errors import ModelError
from seefood.metadata import Metadata

FACTS = Metadata(
    labels=["crème_brûlée", "pizza", "not_food"],
    image_size=128,
    crop=0.875,
    temperature=1.2345678901,
    architecture="efficientnet_lite0",
    training_commit="0123abc",
    created="2000-01-01",
    thresholds={"not_food": 0.5},
    metrics={"validation": {"top1": 0.61, "photos": 5050.0}},
)


def test_facts_come_back_from_the_properties_of_a_file_as_they_went_in():
    properties = FACTS.to_properties()
    assert all(isinstance(text, str) for text in properties.values())
    assert Metadata.from_properties({**properties, "a later version's fact": "7"}) == FACTS


def test_a_threshold_is_that_of_the_file_or_else_the_usual_one():
    facts = replace(FACTS, thresholds={"unsure": 0.3})
    assert (facts.threshold("unsure"), facts.threshold("sure")) == (0.3, 0.5)


@pytest.mark.parametrize("name", [fact.name for fact in fields(Metadata) if fact.default is MISSING])
@pytest.mark.parametrize("text", [None, "{not json"])
def test_a_file_without_a_fact_is_refused_by_the_name_of_the_fact(name, text):
    properties = FACTS.to_properties()
    del properties[name]
    if text:
        properties[name] = text
    with pytest.raises(ModelError, match=repr(name)):
        Metadata.from_properties(properties)
