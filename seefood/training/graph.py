"""What export.py writes into the ONNX graph around the network.

A network that ends in average pooling and an affine head computes `head(mean of features)`, which is the mean over the
places of `head(features)`. The exported graph applies the head at each place first: that is the evidence, and the
logits are its mean. So the heat map is exact and free.
"""

import copy
import math
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from seefood.errors import ExportError
from seefood.training.model import FoodClassifier

OPSET = 20
TEMPERATURE = "temperature"


class ServedNetwork(nn.Module):
    """uint8 [N, S, S, 3] -> probability float32 [N, C], evidence float32 [N, C, h, w]."""

    temperature: Tensor
    head_weight: Tensor
    head_bias: Tensor

    def __init__(self, classifier: FoodClassifier, *, flip: bool = False):
        """
        Args:
            classifier: the trained network; it is copied, and the copy evaluates in float32 on the CPU.
            flip: look at the photo and at its mirror image, and answer the mean of the two; twice the work.

        Raises:
            ExportError: the architecture does not end in average pooling and an affine head.
        """
        super().__init__()
        self.flip = flip
        self.classifier = copy.deepcopy(classifier).cpu().float().eval()
        self.register_buffer(TEMPERATURE, torch.ones(1))
        weight, bias = _affine_head(self.classifier)
        self.register_buffer("head_weight", weight[:, :, None, None])
        self.register_buffer("head_bias", bias)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        evidence = self._evidence(torch.cat([image, image.flip(2)]) if self.flip else image)
        if self.flip:
            upright, mirrored = evidence.unflatten(0, (2, -1)).unbind()
            evidence = (upright + mirrored.flip(3)) / 2
        logits = evidence.mean(dim=(2, 3))
        return torch.softmax(logits / self.temperature, dim=1), evidence

    def _evidence(self, image: Tensor) -> Tensor:
        features = self.classifier.network.forward_features(self.classifier.normalize(image))
        return nn.functional.conv2d(_as_map(features), self.head_weight, self.head_bias)

    def expected_logits(self, image: Tensor) -> Tensor:
        """The logits as the classifier itself has them, pooled before the head: what a check compares with."""
        if self.flip:
            return (self.classifier(image) + self.classifier(image.flip(2))) / 2
        return self.classifier(image)


def export_onnx(network: ServedNetwork, path: Path) -> None:
    """Write the network as one ONNX file with float32 weights and a free batch size."""
    size = network.classifier.hparams["image_size"]
    torch.onnx.export(
        network,
        (torch.zeros(2, size, size, 3, dtype=torch.uint8),),
        path,
        input_names=["image"],
        output_names=["probability", "evidence"],
        dynamic_shapes={"image": {0: torch.export.Dim("photos")}},
        opset_version=OPSET,
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    model = onnx.load(path)
    _strip(model)
    onnx.save(model, path)
    onnx.checker.check_model(path, full_check=True)


def _strip(model: onnx.ModelProto) -> None:
    """Forget what the exporter notes for debugging, among it the paths of the machine it ran on."""
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer, graph, model):
        del part.metadata_props[:]
        part.doc_string = ""


def set_temperature(model: onnx.ModelProto, temperature: float) -> None:
    """Change the number that the graph divides its logits by."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith(TEMPERATURE):
            tensor.CopyFrom(numpy_helper.from_array(np.array([temperature], dtype=np.float32), tensor.name))
            return
    raise ExportError("The exported graph has lost its temperature; the exporter must have folded it.")


def _affine_head(classifier: FoodClassifier) -> tuple[Tensor, Tensor]:
    """Read the head as a matrix [C, F] and a bias [C], by what it answers; in float64, so that nothing is lost."""
    network = copy.deepcopy(classifier.network).double()
    size = classifier.hparams["image_size"]
    try:
        with torch.no_grad():
            features = network.forward_features(torch.rand(2, 3, size, size, dtype=torch.float64))
            width = _as_map(features).shape[1]
            zero_and_unit = torch.cat([torch.zeros(1, width), torch.eye(width)]).double()
            answers = network.forward_head(_like(zero_and_unit, features))
            bias, weight = answers[0], (answers[1:] - answers[0]).T
            probe = torch.randn_like(features)
            is_affine = torch.allclose(
                _as_map(probe).mean(dim=(2, 3)) @ weight.T + bias, network.forward_head(probe), atol=1e-6
            )
    except (RuntimeError, ValueError):  # features of another layout
        is_affine = False
    if not is_affine:
        raise ExportError(
            f"{classifier.hparams['architecture']} does not end in average pooling and an affine head, which the heat "
            "map needs. Train an architecture that does, such as levit_256, efficientnet_lite0 or resnet50."
        )
    return weight.float(), bias.float()


def _as_map(features: Tensor) -> Tensor:
    """[N, F, h, w], or the [N, L, F] of a transformer on a square of L places -> [N, F, h, w]."""
    if features.ndim == 4:
        return features
    side = math.isqrt(features.shape[1])
    return features.transpose(1, 2).unflatten(2, (side, side))


def _like(rows: Tensor, features: Tensor) -> Tensor:
    """Rows [M, F] as features of one place, in the layout of `features`."""
    return rows[:, None, :] if features.ndim == 3 else rows[:, :, None, None]
