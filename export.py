"""Turn a checkpoint into the model that ships: one ONNX file, proven equal, measured, with a model card.

    python export.py --ckpt runs/default/checkpoints/best.ckpt            measured on the validation photos
    python export.py --ckpt runs/default/checkpoints/best.ckpt --test     on the official test split too, once

The photos are those the checkpoint was trained on; it remembers where they are. Then make it the version that ships:
    make model-version && git add models.dvc .dvc docs/model
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import onnx
import torch

from seefood.errors import ExportError, SeeFoodError
from seefood.metadata import Metadata
from seefood.predictor import Predictor
from seefood.training.card import Checks, write_card
from seefood.training.data import FoodData
from seefood.training.evaluation import Answers, check_agreement, check_parity, fitted_temperature
from seefood.training.graph import ServedNetwork, export_onnx, halve_weights, set_temperature
from seefood.training.model import FoodClassifier


def export(checkpoint: Path, model: Path, card: Path, *, test: bool = False) -> Metadata:
    """Export a checkpoint of train.py.

    Args:
        checkpoint: what `ModelCheckpoint` saved.
        model: the file to write; it is replaced only when every check has passed.
        card: the folder of the model card.
        test: measure on the test splits, too.

    Returns:
        The metadata of the file, with its metrics.

    Raises:
        ExportError: a check failed; nothing was written.
    """
    classifier = FoodClassifier.load_from_checkpoint(checkpoint, map_location="cpu", weights="random")
    data = FoodData.load_from_checkpoint(checkpoint)
    if data.labels != classifier.labels:
        raise ExportError(
            f"The sources have the labels {data.labels}, the checkpoint was trained on {classifier.labels}. "
            "Restore the photos as they were, or train again."
        )
    data.setup("fit")
    network = ServedNetwork(classifier)
    metadata = Metadata(
        labels=classifier.labels,
        image_size=data.image_size,
        crop=data.crop,
        temperature=1.0,
        architecture=classifier.hparams["architecture"],
        training_commit=torch.load(checkpoint, map_location="cpu").get("commit", "unknown"),
        created=date.today().isoformat(),
    )
    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder, "float32.onnx"), Path(folder, "float16.onnx")
        export_onnx(network, full)
        graph = onnx.load(full)
        _save(graph, metadata, full)
        parity = check_parity(network, Predictor(full), data.validation)
        of_full = Answers.of(Predictor(full), data.validation, "validation, float32")

        metadata = replace(metadata, temperature=fitted_temperature(of_full))
        set_temperature(graph, metadata.temperature)
        halve_weights(graph)
        _save(graph, metadata, small)
        answers = {"validation": Answers.of(Predictor(small), data.validation, "validation, float16")}
        agreement = check_agreement(answers["validation"], of_full)
        if test:
            data.setup("test")
            answers["test"] = Answers.of(Predictor(small), data.test, "test, float16")

        metadata = replace(metadata, metrics={part: measured.metrics() for part, measured in answers.items()})
        model.parent.mkdir(parents=True, exist_ok=True)
        _save(graph, metadata, model)
    checks = Checks(parity=parity, agreement=agreement, bytes=model.stat().st_size, digest=Predictor(model).digest)
    write_card(card, metadata, checks, answers, [source.path for source in data.sources])
    return metadata


def _save(graph: onnx.ModelProto, metadata: Metadata, path: Path) -> None:
    onnx.helper.set_model_props(graph, metadata.to_properties())
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True, help="checkpoint of train.py")
    parser.add_argument("--test", action="store_true", help="measure on the test splits, too")
    parser.add_argument("--model", type=Path, default=Path("models/seefood.onnx"), help="file to write")
    parser.add_argument("--card", type=Path, default=Path("docs/model"), help="folder of the model card")
    arguments = parser.parse_args()
    metadata = export(arguments.ckpt, arguments.model, arguments.card, test=arguments.test)
    for part, values in metadata.metrics.items():
        print(f"{part}: " + ", ".join(f"{name} {value:g}" for name, value in values.items()))
    print(f"{arguments.model} and {arguments.card}/README.md are written.")


if __name__ == "__main__":
    try:
        main()
    except SeeFoodError as error:
        sys.exit(f"export.py: {error}")
