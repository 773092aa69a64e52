"""Static int8: weights and activations as 8-bit integers, calibrated on training photos."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from seefood.photo import read_photo, square
from seefood.training.data import FoodData
from seefood.training.evaluation import photos_of

CALIBRATION_PHOTOS = 256


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
            reduce_range=True,  # 7 bits: CPUs without VNNI add two products in 16 bits, which weights of 8 overflow
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
    if data.streaming:
        photos = data.train.take(CALIBRATION_PHOTOS)  # it is shuffled
    else:
        photos = data.train.select(np.unique(np.linspace(0, len(data.train) - 1, CALIBRATION_PHOTOS).astype(int)))
    for photo in photos_of(photos):
        yield np.asarray(square(read_photo(photo), data.image_size, data.crop))[None]
