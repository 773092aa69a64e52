"""Answers of a model that the tests make themselves."""

import numpy as np

from seefood.training.evaluation import Answers

NAMES = ["apple_pie", "ramen", "not_food"]


def answers(labels: np.ndarray, classes: int = 3) -> Answers:
    """Answers that are right, with a probability of 0.8."""
    probability = np.full((len(labels), classes), 0.2 / (classes - 1), dtype=np.float32)
    probability[np.arange(len(labels)), labels] = 0.8
    return Answers(NAMES[:classes], probability, np.log(probability), labels)
