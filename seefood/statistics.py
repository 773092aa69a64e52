"""Figures of what a photo looks like, by which drift shows before anyone complains."""

import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's mode L


def image_statistics(square: np.ndarray) -> dict[str, float]:
    """How bright, rich in contrast and sharp a photo is, by its luma in [0, 1].

    Args:
        square: what the model sees, uint8 [S, S, 3], RGB, S at least 2.

    Returns:
        `brightness`: the mean; `contrast`: the standard deviation; `sharpness`: the mean absolute difference of
        neighbours, beside and below each other.
    """
    luma = square @ _LUMA / 255
    steps = [np.abs(np.diff(luma, axis=axis)).mean() for axis in (0, 1)]
    return {"brightness": float(luma.mean()), "contrast": float(luma.std()), "sharpness": float(np.mean(steps))}
