"""Turn a checkpoint into the model that ships: one ONNX file, proven equal, measured, with a model card.

    python export.py --ckpt runs/default/checkpoints/best.ckpt            measured on the validation photos
    python export.py --ckpt runs/default/checkpoints/best.ckpt --test     on the official test split too, once
    python export.py --ckpt runs/default/checkpoints/best.ckpt --compare  all ways to store it beside each other
    python export.py --ckpt second.ckpt first.ckpt                        the mean of their weights

The photos are those the checkpoint was trained on; it remembers where they are. Then make it the version that ships:
    make model-version && git add models.dvc .dvc docs/model
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import onnx
import torch
from lightning.pytorch.trainer.states import RunningStage

from seefood.errors import ExportError, SeeFoodError
from seefood.metadata import Metadata
from seefood.predictor import Predictor
from seefood.training.averaging import mean_checkpoint
from seefood.training.card import Report, write_card
from seefood.training.data import FoodData
from seefood.training.evaluation import (
    Answers,
    agreement_of,
    answers_of,
    check_agreement,
    check_cost,
    check_parity,
    fitted_temperature,
)
from seefood.training.graph import ServedNetwork, export_onnx, set_temperature
from seefood.training.model import FoodClassifier
from seefood.training.quantization import calibration_images, quantize
from seefood.training.reference import write_reference
from seefood.training.storage import halve_weights, quarter_weights
from seefood.training.variants import compare_variants

# Right more often than not, and wrong four times of five: with a calibrated model, a probability is that share.
THRESHOLDS = {"sure": 0.5, "unsure": 0.2}


def export(
    checkpoints: Sequence[Path],
    model: Path,
    card: Path,
    *,
    test: bool = False,
    image_size: int | None = None,
    flip: bool = False,
    storage: str = "float16",
    compare: bool = False,
) -> Metadata:
    """Export a checkpoint of train.py, or the mean of several.

    Args:
        checkpoints: what `ModelCheckpoint` saved. Of several runs that began with the same weights, or of one that went
            on from another, the mean of the weights often generalises better than each (arXiv:2203.05482); one that is
            named twice counts twice.
        model: the file to write; it is replaced only when every check has passed.
        card: the folder of the model card.
        test: measure on the test splits, too.
        image_size: side of the input in pixels; default: that of the training. A network that was trained on random
            crops sees things enlarged, and often answers better to a larger photo (arXiv:1906.06423).
        flip: answer the mean of the photo and its mirror image.
        storage: how the file that ships holds the network: "float16" or "int8 weights", computed with as float32, or
            "int8", computed with as integers.
        compare: make all of these, and float32, and show them side by side on the card.

    Returns:
        The metadata of the file, with its metrics.

    Raises:
        ExportError: a check failed; nothing was written.
    """
    classifier, data, facts, training = _restored(checkpoints, image_size)
    network = ServedNetwork(classifier, flip=flip)
    names = ("float32", "float16", "int8 weights", "int8") if compare else ("float32", storage)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, f"{name}.onnx") for name in names}
        export_onnx(network, files["float32"])
        graph = onnx.load(files["float32"])
        _save(graph, facts, files["float32"])
        parity = check_parity(network, Predictor(files["float32"]), data.validation)
        of_float32 = Answers.joined(answers_of(files["float32"], data.validation_of).values())

        of_dishes = of_float32[of_float32.is_food]  # no food is told apart with ease, and would make it too sure
        metadata = replace(facts, temperature=fitted_temperature(of_dishes))
        set_temperature(graph, metadata.temperature)
        for name in names[1:]:
            _save(_stored(graph, name, data), metadata, files[name])
        small = {name: answers_of(files[name], data.validation_of) for name in names[1:]}
        validation = {"float32": of_float32.at(metadata.temperature)}
        validation |= {name: Answers.joined(parts.values()) for name, parts in small.items()}
        if storage == "float16":
            check_agreement(validation[storage], of_float32)
        check_cost(validation[storage], of_float32)
        answers = {"validation": small[storage]}
        if test:
            data.setup("test")
            answers["test"] = answers_of(files[storage], data.test_of)
        variants = compare_variants(files, validation, data.validation) if compare else []

        metrics = {part: Answers.joined(of_source.values()).metrics() for part, of_source in answers.items()}
        metadata = replace(metadata, metrics=metrics)
        model.parent.mkdir(parents=True, exist_ok=True)
        _save(onnx.load(files[storage]), metadata, model)
    report = Report(
        metadata=metadata,
        training=training,
        answers=answers,
        parity=parity,
        storage=storage,
        agreement=agreement_of(validation[storage], of_float32),
        variants=variants,
        file=model,
        sources=[source.path for source in data.sources],
    )
    write_card(card, report)
    write_reference(card, Predictor(model), answers["validation"], data.validation_of)
    return metadata


def _restored(checkpoints: Sequence[Path], image_size: int | None) -> tuple[FoodClassifier, FoodData, Metadata, str]:
    """What checkpoints hold: the network, the photos of the first, the facts about it, and how it was trained."""
    state = mean_checkpoint(checkpoints)
    size = {"image_size": image_size} if image_size else {}
    classifier = FoodClassifier.load_from_checkpoint(checkpoints[0], map_location="cpu", weights="random", **size)
    data = FoodData.load_from_checkpoint(checkpoints[0], **size)
    if data.labels != classifier.labels:
        raise ExportError(
            f"The sources have the labels {data.labels}, the checkpoint was trained on {classifier.labels}. "
            "Restore the photos as they were, or train again."
        )
    classifier.load_state_dict(state["state_dict"])
    data.setup("fit")
    facts = Metadata(
        labels=classifier.labels,
        image_size=data.image_size,
        crop=data.crop,
        temperature=1.0,
        thresholds=THRESHOLDS,
        architecture=classifier.hparams["architecture"],
        training_commit=state.get("commit", "unknown"),
        created=date.today().isoformat(),
    )
    return classifier, data, facts, _training(state, data.batch_size)


def _training(state: dict[str, Any], batch_size: int) -> str:
    """What a checkpoint cost, in a few words; with the time, if Lightning's `Timer` was among the callbacks.

    Of a checkpoint that goes on from another one, what that one cost, too.
    """
    steps, weights = state["global_step"], state["hyper_parameters"]["weights"]
    seconds = state["callbacks"].get("Timer", {}).get("time_elapsed", {}).get(RunningStage.TRAINING.value)
    duration = f" in {seconds / 60:.0f} minutes" if seconds else ""
    cost = f"{steps:,} steps of {batch_size} photos{duration}, from the weights `{weights}`"
    if paths := state.get("mean_of"):
        parts = ", ".join(f"{paths.count(path)} of `{path}`" for path in dict.fromkeys(paths))
        cost += f"; the weights are the mean of {parts}"
    if Path(weights).suffix == ".ckpt" and Path(weights).exists():
        first = torch.load(weights, map_location="cpu")
        cost += f"; `{weights}` by {_training(first, first['datamodule_hyper_parameters']['batch_size'])}"
    return cost


def _stored(graph: onnx.ModelProto, storage: str, data: FoodData) -> onnx.ModelProto:
    match storage:
        case "float16":
            return halve_weights(graph)
        case "int8 weights":
            return quarter_weights(graph)
        case "int8":
            return quantize(graph, calibration_images(data))
    raise ExportError(f"{storage!r}: no way to store a network. Choose 'float16', 'int8 weights' or 'int8'.")


def _save(graph: onnx.ModelProto, metadata: Metadata, path: Path) -> None:
    onnx.helper.set_model_props(graph, metadata.to_properties())
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--ckpt", dest="checkpoints", type=Path, nargs="+", required=True, help="checkpoint of train.py, or several"
    )
    parser.add_argument("--test", action="store_true", help="measure on the test splits, too")
    parser.add_argument("--image-size", type=int, help="side of the input in pixels, if not that of the training")
    parser.add_argument("--flip", action="store_true", help="answer the mean of the photo and its mirror image")
    parser.add_argument("--compare", action="store_true", help="show all ways to store the network on the card")
    storage = parser.add_mutually_exclusive_group()
    for name in ("int8 weights", "int8"):
        storage.add_argument(
            f"--{name.replace(' ', '-')}",
            dest="storage",
            action="store_const",
            const=name,
            default="float16",
            help=f"ship {name}, if that costs at most 0.5 points of top-1",
        )
    parser.add_argument("--model", type=Path, default=Path("models/seefood.onnx"), help="file to write")
    parser.add_argument("--card", type=Path, default=Path("docs/model"), help="folder of the model card")
    arguments = parser.parse_args()
    metadata = export(**vars(arguments))
    for part, values in metadata.metrics.items():
        print(f"{part}: " + ", ".join(f"{name} {value:g}" for name, value in values.items()))
    print(f"{arguments.model} and {arguments.card}/README.md are written.")


if __name__ == "__main__":
    try:
        main()
    except SeeFoodError as error:
        sys.exit(f"export.py: {error}")
