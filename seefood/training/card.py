"""The model card: what export.py measured, as JSON, as figures, and as a page for people."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import EvalResult, ModelCardData
from matplotlib import pyplot
from torchmetrics.classification import MulticlassAccuracy

from seefood.metadata import Metadata
from seefood.names import NOT_FOOD, display_name
from seefood.training.evaluation import BATCH_SIZES, PARITY_PHOTOS, Answers
from seefood.training.metrics import CALIBRATION_BINS

_PAGE = """\
---
{header}
---

# Model card

`{metadata.architecture}` at {metadata.image_size} x {metadata.image_size} px, {labels} labels, trained by commit
`{metadata.training_commit}`, exported on {metadata.created}. {megabytes:.1f} MB with float16 weights, SHA-256
`{checks.digest}...`. This page is written by `export.py`; every figure on it was measured on this file, by the
pre-processing and the predictor that the app uses.

| part | photos | top-1 | top-5 | macro F1 | calibration error |
|---|---|---|---|---|---|
{metrics}

Photos: {sources}. Validation photos were held out of the training splits{twins}; a test split has no part in training
or in choosing. The temperature, {metadata.temperature}, was fitted on the validation photos, so that their calibration
error flatters; and figures on a handful of photos mean little.

## Checks it passed

- The float32 graph equals the PyTorch network: on {parity_photos} photos in batches of {batch_sizes}, no probability
  differs by more than {checks.parity:.1e}.
- With float16 weights {checks.agreement:.2%} of the validation photos keep their label.

## What it confuses most ({part})

| dish | answer | share of the dish's photos |
|---|---|---|
{mistakes}

![Share of right answers for each dish](dishes.png)

![Confidence against accuracy](calibration.png)

## Limits

- It knows the labels it was trained on and no others; it names a dish for a photo of anything else{unless}.
- The heat map is exact but coarse: one value for each of the network's last places, a few across.
- Its dishes look as those of its training photos do.{of_food101}
"""
_OF_FOOD101 = " Food-101 was gathered on a web site around 2014, and some of its\n  training labels are wrong."


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What export.py proved of a file before it wrote it.

    Attributes:
        parity: largest difference of a probability between the float32 graph and PyTorch.
        agreement: share of the validation photos with the same label from the shipped file and the float32 graph.
        bytes: size of the shipped file.
        digest: the first 12 hex digits of its SHA-256.
    """

    parity: float
    agreement: float
    bytes: int
    digest: str


def write_card(
    folder: Path, metadata: Metadata, checks: Checks, answers: dict[str, Answers], sources: list[str]
) -> None:
    """Write `metrics.json`, `calibration.png`, `dishes.png` and `README.md`.

    Args:
        folder: where to.
        metadata: of the shipped file, with its metrics.
        checks: what was proved of it.
        answers: of the shipped file, by part ("validation", "test"); the figures show the last part.
        sources: where the photos came from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part, shown = list(answers.items())[-1]
    facts = {
        "file": {"bytes": checks.bytes, "sha256": checks.digest, "created": metadata.created},
        "model": {
            "architecture": metadata.architecture,
            "image_size": metadata.image_size,
            "labels": len(metadata.labels),
            "temperature": metadata.temperature,
            "training_commit": metadata.training_commit,
        },
        "checks": {"parity": float(f"{checks.parity:.1e}"), "agreement": round(checks.agreement, 4)},
        "metrics": metadata.metrics,
    }
    (folder / "metrics.json").write_text(json.dumps(facts, indent=2) + "\n")
    _draw_calibration(shown, folder / "calibration.png")
    _draw_dishes(shown, metadata.labels, folder / "dishes.png")
    (folder / "README.md").write_text(_page(metadata, checks, answers, sources, part))


def _page(metadata: Metadata, checks: Checks, answers: dict[str, Answers], sources: list[str], part: str) -> str:
    columns = ("photos", "top1", "top5", "f1", "ece")
    return _PAGE.format(
        header=_header(metadata, sources),
        metadata=metadata,
        labels=len(metadata.labels),
        checks=checks,
        megabytes=checks.bytes / 1e6,
        metrics="\n".join(
            f"| {name} | " + " | ".join(f"{values[column]:g}" for column in columns) + " |"
            for name, values in metadata.metrics.items()
        ),
        sources=", ".join(f"`{source}`" for source in sources),
        parity_photos=PARITY_PHOTOS,
        batch_sizes=", ".join(map(str, BATCH_SIZES)),
        part=part,
        mistakes="\n".join(
            f"| {display_name(metadata.labels[dish])} | {display_name(metadata.labels[answer])} | {share:.0%} |"
            for dish, answer, share in _confusions(answers[part])
        ),
        twins=", and none of them was trained on in another size" if len(sources) > 1 else "",
        of_food101=_OF_FOOD101 if any("food101" in source for source in sources) else "",
        unless=", unless that looks like no food to it" if NOT_FOOD in metadata.labels else ", a cat included",
    )


def _header(metadata: Metadata, sources: list[str]) -> str:
    """The front matter that the Hugging Face hub reads."""
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="seefood",
            dataset_name=f"{', '.join(sources)} ({name})",
            dataset_split=name,
            metric_type="accuracy",
            metric_value=values["top1"],
        )
        for name, values in metadata.metrics.items()
    ]
    data = ModelCardData(
        license="apache-2.0",
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["food", "image-classification", "onnx", metadata.architecture],
        model_name="SeeFood102",
        eval_results=results,
    )
    return str(data.to_yaml()).strip()


def _confusions(answers: Answers, count: int = 8) -> list[tuple[int, int, float]]:
    """(dish, answer, share of the dish's photos) of the most frequent mistakes, most frequent first."""
    classes = answers.probability.shape[1]
    matrix = np.zeros((classes, classes))
    np.add.at(matrix, (answers.label, answers.answer), 1)
    matrix /= np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(matrix, 0)
    worst = np.argsort(-matrix, axis=None, kind="stable")[:count]
    pairs = (np.unravel_index(index, matrix.shape) for index in worst)
    return [(int(dish), int(answer), float(matrix[dish, answer])) for dish, answer in pairs if matrix[dish, answer]]


def _draw_calibration(answers: Answers, path: Path) -> None:
    """A reliability diagram."""
    confidence, is_right = answers.probability.max(axis=1), answers.answer == answers.label
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.digitize(confidence, edges[1:-1])
    filled = np.unique(bins)
    figure, axis = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axis.plot([0, 1], [0, 1], color="gray", linestyle="dashed", label="a perfect model")
    axis.plot(
        [confidence[bins == one].mean() for one in filled],
        [is_right[bins == one].mean() for one in filled],
        marker="o",
        label="this model",
    )
    axis.set(xlabel="confidence", ylabel="share of right answers", xlim=(0, 1), ylim=(0, 1), title="Calibration")
    axis.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _draw_dishes(answers: Answers, labels: list[str], path: Path) -> None:
    """The recall of each label, best first."""
    recall = MulticlassAccuracy(len(labels), average=None)(
        torch.from_numpy(answers.answer), torch.from_numpy(answers.label)
    ).numpy()
    order = np.argsort(recall)
    figure, axis = pyplot.subplots(figsize=(7, 1 + 0.17 * len(labels)), layout="constrained")
    axis.barh([display_name(labels[index]) for index in order], recall[order], color="#d97706")
    axis.set(xlabel="share of its photos that are named right", xlim=(0, 1))
    axis.tick_params(axis="y", labelsize=7)
    axis.margins(y=0.01)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
