"""What a photo looks like in three numbers, so that a change of light, camera or focus shows without the photo."""

import numpy as np

_LUMA = np.float32([0.299, 0.587, 0.114]) / 255  # ITU-R BT.601, as JPEG has it


def image_statistics(square: np.ndarray) -> dict[str, float]:
    """Brightness, contrast and sharpness of what the model sees.

    Args:
        square: uint8 [S, S, 3], RGB, as `Predictor.input_of` gives it.

    Returns:
        `brightness`: mean of the luma, in 0..1; `contrast`: its standard deviation; `sharpness`: mean absolute
        difference of neighbours, side by side and one above the other.
    """
    luma = square @ _LUMA
    across, down = luma[:, 1:] - luma[:, :-1], luma[1:] - luma[:-1]
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "sharpness": float(np.abs(across).mean() + np.abs(down).mean()) / 2,
    }
