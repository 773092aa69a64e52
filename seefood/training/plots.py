"""The figures of a model card, and the confusion matrix that TensorBoard shows, too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure
from torchmetrics.functional.classification import multiclass_confusion_matrix

from seefood.names import display_name
from seefood.photo import read_photo, square
from seefood.predictor import Predictor
from seefood.training.evaluation import Answers
from seefood.training.metrics import CALIBRATION_BINS

ORANGE = "#d97706"


def draw_card(folder: Path, answers: Answers, predictor: Predictor, examples: Sequence[Path]) -> None:
    """Write the figures of a model card as PNG files: `calibration`, `coverage`, `dishes`, `confusion`, `examples`.

    Args:
        folder: where to.
        answers: of the shipped file, on the photos of one part.
        predictor: the shipped file.
        examples: photos that may be shown; without any, `examples.png` is not written.
    """
    figures = {
        "calibration": calibration(answers),
        "coverage": coverage(answers),
        "dishes": dishes(answers),
        "confusion": confusion(confusion_matrix(answers), answers.labels),
    }
    if examples:
        figures["examples"] = example_grid(predictor, examples)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=80)
        pyplot.close(figure)


def calibration(answers: Answers) -> Figure:
    """A reliability diagram: how often the model is right when it is so sure, over how many photos."""
    confidence, is_right = answers.probability.max(axis=1), answers.answer == answers.label
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.digitize(confidence, edges[1:-1])
    filled = np.unique(bins)
    figure, (axis, counts) = pyplot.subplots(
        2, 1, figsize=(5, 6), height_ratios=(4, 1), sharex=True, layout="constrained"
    )
    axis.plot([0, 1], [0, 1], color="gray", linestyle="dashed", label="a perfect model")
    axis.plot(
        [confidence[bins == one].mean() for one in filled],
        [is_right[bins == one].mean() for one in filled],
        marker="o",
        color=ORANGE,
        label="this model",
    )
    axis.set(ylabel="share of right answers", xlim=(0, 1), ylim=(0, 1), title="Calibration")
    axis.legend()
    counts.hist(confidence, edges, color=ORANGE)
    counts.set(xlabel="confidence", ylabel="photos")
    return figure


def coverage(answers: Answers) -> Figure:
    """The accuracy on the photos it is surest of, for any share of them: what it gains when it may abstain."""
    surest_first = np.argsort(-answers.probability.max(axis=1), kind="stable")
    is_right = (answers.answer == answers.label)[surest_first]
    count = np.arange(1, len(is_right) + 1)
    figure, axis = pyplot.subplots(figsize=(5, 4), layout="constrained")
    axis.plot(count / len(is_right), np.cumsum(is_right) / count, color=ORANGE)
    axis.set(xlabel="share of the photos it answers, the surest first", ylabel="accuracy on them", xlim=(0, 1))
    axis.set(ylim=(0, 1.01), title="Accuracy when it may abstain")
    axis.grid(alpha=0.3)
    return figure


def dishes(answers: Answers) -> Figure:
    """The share of right answers for each label, best first."""
    known, recall = recall_by_label(answers)
    figure, axis = pyplot.subplots(figsize=(7, 1 + 0.17 * len(known)), layout="constrained")
    names = [display_name(answers.labels[index]) for index in known]
    axis.barh(names[::-1], recall[::-1], color=ORANGE)
    axis.set(xlabel="share of its photos that are named right", xlim=(0, 1))
    axis.tick_params(axis="y", labelsize=7)
    axis.margins(y=0.01)
    return figure


def confusion(matrix: np.ndarray, labels: Sequence[str]) -> Figure:
    """A confusion matrix, [C, C] in [0, 1], rows the truth."""
    figure, axis = pyplot.subplots(figsize=(10, 10), layout="constrained")
    axis.imshow(matrix, cmap="viridis", vmin=0, vmax=1)
    size = 4 if len(labels) > 50 else 9
    names = [display_name(label) for label in labels]
    axis.set_xticks(range(len(labels)), names, rotation=90, fontsize=size)
    axis.set_yticks(range(len(labels)), names, fontsize=size)
    axis.set(xlabel="answer", ylabel="dish")
    return figure


def example_grid(predictor: Predictor, photos: Sequence[Path], *, columns: int = 3) -> Figure:
    """Photos with the first two answers to each."""
    rows = -(-len(photos) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3 * columns, 3.5 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, path in zip(axes.flat, photos, strict=False):
        axis.imshow(square(read_photo(path), 300))
        answers = predictor.predict(path).top(2)
        axis.set_title("\n".join(f"{display_name(label)} {share:.0%}" for label, share in answers), fontsize=11)
    return figure


def recall_by_label(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """The ids of the labels that have photos here, and the share of these that is named right, best first."""
    matrix = confusion_matrix(answers)
    known = np.flatnonzero(np.bincount(answers.label, minlength=len(answers.labels)))
    known = known[np.argsort(-matrix.diagonal()[known], kind="stable")]
    return known, matrix.diagonal()[known]


def confusion_matrix(answers: Answers) -> np.ndarray:
    """Float [C, C]: of the photos of each label (row), the share that got each answer; 0 for a label without photos."""
    answer, label = torch.from_numpy(answers.answer), torch.from_numpy(answers.label)
    counts = multiclass_confusion_matrix(answer, label, num_classes=len(answers.labels)).numpy()
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
