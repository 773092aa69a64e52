"""The model card: what export.py measured, as JSON, as figures, and as a page for people and the hub."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from PIL import Image

from seefood.metadata import Metadata
from seefood.names import NOT_FOOD, display_name
from seefood.predictor import Predictor
from seefood.training.evaluation import BATCH_SIZES, PARITY_PHOTOS, Answers
from seefood.training.plots import confusion_matrix, draw_card, recall_by_label
from seefood.training.variants import Variant

EXAMPLES = Path(__file__).parents[2] / "examples"
FOOD_COLUMNS = ("top1", "top5", "recall", "f1", "ece", "food_refused")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What export.py found out about a file.

    Attributes:
        file: the model file that ships.
        metadata: of that file, with its metrics.
        training: how it was trained, in a few words.
        sources: where the photos came from.
        answers: of the file, by part ("validation", "test") and source; the figures show the last part.
        parity: largest difference of a probability between the float32 graph and PyTorch.
        storage: how the file holds the network, as `export` takes it.
        agreement: share of the validation photos with the same answer from the file that ships and from float32.
        variants: the file beside others of the same network; may be empty.
    """

    file: Path
    metadata: Metadata
    training: str
    sources: list[str]
    answers: dict[str, dict[str, Answers]]
    parity: float
    storage: str
    agreement: float
    variants: list[Variant]

    @cached_property
    def joined(self) -> dict[str, Answers]:
        """The answers by part, all sources together."""
        return {part: Answers.joined(of_source.values()) for part, of_source in self.answers.items()}

    @property
    def shown(self) -> Answers:
        """The answers that the figures show."""
        return list(self.joined.values())[-1]

    @cached_property
    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """The 95 % interval of each metric, by part."""
        return {part: answers.intervals() for part, answers in self.joined.items()}


def write_card(folder: Path, report: Report) -> None:
    """Write `metrics.json`, `README.md` and the figures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(report.file)
    facts = _facts(report, predictor.digest)
    (folder / "metrics.json").write_text(json.dumps(facts, indent=2) + "\n")
    draw_card(folder, report.shown, predictor, sorted(EXAMPLES.glob("*.jpg")))
    template = Path(__file__).with_name("card_template.md")
    page = ModelCard.from_template(_header(report), template_path=str(template), **_page(report, predictor))
    (folder / "README.md").write_text(str(page))


def _facts(report: Report, digest: str) -> dict[str, Any]:
    metadata = report.metadata
    return {
        "file": {"bytes": report.file.stat().st_size, "sha256": digest, "created": metadata.created},
        "model": {
            "architecture": metadata.architecture,
            "image_size": metadata.image_size,
            "labels": len(metadata.labels),
            "temperature": metadata.temperature,
            "storage": report.storage,
            "training_commit": metadata.training_commit,
            "training": report.training,
        },
        "checks": {"parity": float(f"{report.parity:.1e}"), "agreement": round(report.agreement, 4)},
        "metrics": metadata.metrics,
        "intervals": report.intervals,
        "sources": {
            part: {name: answers.metrics() for name, answers in of_source.items()}
            for part, of_source in report.answers.items()
        },
        "variants": [asdict(variant) for variant in report.variants],
    }


def _page(report: Report, predictor: Predictor) -> dict[str, Any]:
    """What the template fills in."""
    metadata, names = report.metadata, ", ".join(report.sources)
    return {
        "model": metadata,
        "labels": len(metadata.labels),
        "training": report.training,
        "megabytes": report.file.stat().st_size / 1e6,
        "digest": predictor.digest,
        "knows_other": NOT_FOOD in metadata.labels,
        "food": list(_rows(report, "photos", FOOD_COLUMNS)),
        "other": list(_rows(report, "other_photos", ("other_refused",))),
        "several_sources": len(report.sources) > 1,
        "part": list(report.answers)[-1],
        "extremes": _extremes(report.shown),
        "mistakes": _mistakes(report.shown),
        "variants": [_variant_row(variant) for variant in report.variants],
        "parity": report.parity,
        "parity_photos": PARITY_PHOTOS,
        "batch_sizes": ", ".join(map(str, BATCH_SIZES)),
        "storage": report.storage,
        "agreement": report.agreement,
        "sources": ", ".join(f"`{source}`" for source in dict.fromkeys(report.sources)),
        "is_food101": "food101" in names,
        "is_small": "food101-64" in names,
        "places": "x".join(map(str, predictor.predict(Image.new("RGB", (9, 9))).evidence.shape[1:])),
    }


def _rows(report: Report, count: str, columns: Sequence[str]) -> Iterator[list[str]]:
    """A row for each part and, where it has several sources, for each of them."""
    for part, of_source in report.answers.items():
        whole = report.metadata.metrics[part]
        if count in whole:
            yield [part, str(whole[count]), *(_share(whole, name, report.intervals[part]) for name in columns)]
        for source, answers in of_source.items() if len(of_source) > 1 else ():
            measured = answers.metrics()
            if count in measured:
                yield [f"{part}: {source}", str(measured[count]), *(_share(measured, name) for name in columns)]


def _share(measured: dict[str, float], name: str, intervals: dict[str, tuple[float, float]] | None = None) -> str:
    if name not in measured:
        return ""
    low, high = (intervals or {}).get(name, (None, None))
    return f"{measured[name]:.3f}" + ("" if low is None else f" ({low:.3f}-{high:.3f})")


def _extremes(answers: Answers, count: int = 10) -> list[list[str]]:
    """The dishes with the highest share of right answers beside those with the lowest."""
    known, recall = recall_by_label(answers[answers.is_food])
    named = [[display_name(answers.labels[index]), f"{share:.0%}"] for index, share in zip(known, recall, strict=True)]
    return [best + worst for best, worst in zip(named[:count], named[::-1][:count], strict=True)]


def _mistakes(answers: Answers, count: int = 10) -> list[list[str]]:
    """The most frequent mistakes: label, answer, share of the label's photos."""
    matrix = confusion_matrix(answers)
    np.fill_diagonal(matrix, 0)
    worst = np.argsort(-matrix, axis=None, kind="stable")[:count]
    pairs = [np.unravel_index(index, matrix.shape) for index in worst]
    names = [display_name(label) for label in answers.labels]
    return [[names[pair[0]], names[pair[1]], f"{matrix[pair]:.0%}"] for pair in pairs if matrix[pair]]


def _variant_row(variant: Variant) -> list[str]:
    return [
        variant.name,
        f"{variant.bytes / 1e6:.1f}",
        f"{variant.milliseconds:.1f}",
        f"{variant.ratio:.2f}",
        *(_share(variant.metrics, name) for name in ("top1", "top5", "ece")),
        f"{variant.agreement:.2%}",
        f"{variant.heat_map:.3f}",
    ]


def _header(report: Report) -> ModelCardData:
    """The front matter that the Hugging Face hub reads."""
    metadata = report.metadata
    results = [
        result
        for part, values in metadata.metrics.items()
        for result in eval_results(values, part, sources=report.sources, names=report.answers[part])
    ]
    return ModelCardData(
        license="apache-2.0",
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["food", "image-classification", "onnx", metadata.architecture],
        model_name="SeeFood102",
        eval_results=results,
    )


def eval_results(
    measured: Mapping[str, float], part: str, *, sources: Collection[str], names: Collection[str]
) -> Iterator[EvalResult]:
    """The metrics that the Hugging Face hub has a name for, as it reads them in a card's front matter.

    Args:
        measured: metrics by name, "top1" and "f1" among them or not.
        part: which photos they were measured on: "validation" or "test".
        sources: the paths of the sources of these photos.
        names: what people call the sources.
    """
    for name, metric in (("top1", "accuracy"), ("f1", "f1")):
        if name in measured:
            yield EvalResult(
                task_type="image-classification",
                dataset_type="ethz/food101" if "food101" in " ".join(sources) else "imagefolder",
                dataset_name=", ".join(names),
                dataset_split=part,
                metric_type=metric,
                metric_value=measured[name],
            )
