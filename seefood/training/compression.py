"""How the file is made small: large weights as float16, or weights and activations as 8-bit integers."""

import copy
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from seefood.photo import read_photo, square
from seefood.training.data import FoodData
from seefood.training.evaluation import photos_of

CALIBRATION_PHOTOS = 256


def halve_weights(model: onnx.ModelProto, *, smallest: int = 20_000) -> onnx.ModelProto:
    """The graph with its large weights as float16 in the file; it casts them back and computes in float32.

    ONNX Runtime folds the casts when it loads the file, so that they cost nothing afterwards. Small tensors (biases,
    the stem, depthwise kernels) stay as they are: they weigh 5 % of an EfficientNet-Lite0, and rounding them moves its
    logits four times as much as rounding all the others.

    Args:
        model: float32; it stays as it is.
        smallest: tensors with fewer elements stay float32.
    """
    model, casts = copy.deepcopy(model), []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims) >= smallest:
            name, half = tensor.name, f"{tensor.name}.float16"
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), half))
            casts.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def quantize(model: onnx.ModelProto, images: Iterable[np.ndarray]) -> onnx.ModelProto:
    """The graph with static int8 weights (by channel) and activations, as QuantizeLinear and DequantizeLinear pairs.

    The head and what follows it stay float32: their logits are the evidence.

    Args:
        model: float32.
        images: uint8 [N, S, S, 3], photos to measure the range of the activations on.
    """
    with TemporaryDirectory() as folder:
        full, prepared, small = (Path(folder, name) for name in ("full.onnx", "prepared.onnx", "int8.onnx"))
        onnx.save(model, full)
        quant_pre_process(full, prepared, skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        head = max(index for index, node in enumerate(nodes) if node.op_type == "Conv")
        quantize_static(
            prepared,
            small,
            _Photos(images),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "Add", "Clip"],
            nodes_to_exclude=[node.name for node in nodes[head:]],
        )
        return onnx.load(small)


class _Photos(CalibrationDataReader):
    def __init__(self, images: Iterable[np.ndarray]):
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image}


def calibration_images(data: FoodData) -> Iterator[np.ndarray]:
    """Training photos as the app would see them, one by one, uint8 [1, S, S, 3]; at most 256, drawn evenly."""
    photos = data.train.with_format(None)
    for index in np.unique(np.linspace(0, len(photos) - 1, CALIBRATION_PHOTOS).astype(int)):
        photo = read_photo(next(photos_of(photos.select([index]))))
        yield np.asarray(square(photo, data.image_size, data.crop))[None]
