"""How the weights lie in the file: large ones as float16 or as 8-bit integers, computed with as float32.

The graph begins with the nodes that restore them. ONNX Runtime folds these when it loads the file, so that they cost
nothing afterwards.
"""

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

_HALF, _INTEGER, _SCALE = ".float16", ".int8", ".scale"
_LARGE = 20_000
_Restored = tuple[list[TensorProto], list[NodeProto]]


def halve_weights(model: onnx.ModelProto, *, smallest: int = _LARGE) -> onnx.ModelProto:
    """The graph with its large weights as float16, half of the file.

    Small tensors (biases, the stem, depthwise kernels) stay as they are: they weigh 5 % of an EfficientNet-Lite0, and
    rounding them moves its logits four times as much as rounding all the others.

    Args:
        model: float32; it stays as it is.
        smallest: tensors with fewer elements stay float32.
    """
    return _stored(model, smallest, _as_float16)


def quarter_weights(model: onnx.ModelProto, *, smallest: int = _LARGE) -> onnx.ModelProto:
    """The graph with its large weights as int8, a quarter of the file: for each slice along the first axis (each output
    of a convolution) one scale, so that the largest weight is 127.

    Args:
        model: float32; it stays as it is.
        smallest: tensors with fewer elements stay float32.
    """
    return _stored(model, smallest, _as_int8)


def restored_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weights of a graph by name, float32, whichever of these ways they are stored."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = {}
    for name, values in stored.items():
        if name.endswith(_INTEGER):
            name = name.removesuffix(_INTEGER)
            values = values.astype(np.float32) * stored[name + _SCALE]
        if not name.endswith(_SCALE):
            weights[name.removesuffix(_HALF)] = values.astype(np.float32)
    return weights


def _stored(
    model: onnx.ModelProto, smallest: int, as_stored: Callable[[str, np.ndarray], _Restored]
) -> onnx.ModelProto:
    model = copy.deepcopy(model)
    restoring: list[NodeProto] = []
    tensors = list(_large(model, smallest))
    for tensor in tensors:
        stored, nodes = as_stored(tensor.name, numpy_helper.to_array(tensor))
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(stored)
        restoring += nodes
    nodes = [*restoring, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _large(model: onnx.ModelProto, smallest: int) -> Iterator[TensorProto]:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims) >= smallest:
            yield tensor


def _as_float16(name: str, weights: np.ndarray) -> _Restored:
    stored = numpy_helper.from_array(weights.astype(np.float16), name + _HALF)
    return [stored], [helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT)]


def _as_int8(name: str, weights: np.ndarray) -> _Restored:
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    scales = np.maximum(largest, np.finfo(np.float32).tiny) / np.float32(127)
    stored = numpy_helper.from_array(np.round(weights / scales).astype(np.int8), name + _INTEGER)
    scale = numpy_helper.from_array(scales, name + _SCALE)
    # Not DequantizeLinear: ONNX Runtime keeps that where it stands, and would restore the weights at every call.
    return [stored, scale], [
        helper.make_node("Cast", [stored.name], [f"{name}.whole"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.whole", scale.name], [name]),
    ]
