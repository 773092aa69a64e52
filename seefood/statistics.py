"""What a photo looks like in three numbers, so that a change of light, camera or focus shows without the photo."""

import math

import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114], np.float32) / 255  # ITU-R BT.601, as JPEG has it


def image_statistics(square: np.ndarray) -> dict[str, float]:
    """Brightness, contrast and sharpness of what the model sees.

    Args:
        square: uint8 [S, S, 3], RGB, as `Predictor.input_of` gives it.

    Returns:
        `brightness`: mean of the luma, in 0..1; `contrast`: its standard deviation; `sharpness`: mean absolute
        difference of neighbours, side by side and one above the other.
    """
    luma = (square.reshape(-1, 3).astype(np.float32) @ _LUMA).reshape(square.shape[:2])
    mean = luma.sum() / luma.size
    apart = (luma - mean).ravel()
    across, down = np.abs(luma[:, 1:] - luma[:, :-1]), np.abs(luma[1:] - luma[:-1])
    return {  # by sums, which are quick: np.mean and np.std would double the time
        "brightness": float(mean),
        "contrast": math.sqrt(float(apart @ apart) / luma.size),
        "sharpness": float(across.sum() / across.size + down.sum() / down.size) / 2,
    }
