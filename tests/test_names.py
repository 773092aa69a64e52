"""A label becomes a name that a person reads."""

import pytest

from seefood.names import display_name


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("pizza", "Pizza"),
        ("french_onion_soup", "French onion soup"),
        ("creme_brulee", "Crème brûlée"),
        ("cup_cakes", "Cupcakes"),
        ("not_food", "Not food"),
    ],
)
def test_a_name_has_spaces_one_capital_and_its_accents(label, name):
    assert display_name(label) == name


def test_no_two_labels_of_the_model_share_a_name(predictor):
    # /explain finds the label by its name.
    assert len({display_name(label) for label in predictor.labels}) == len(predictor.labels)
