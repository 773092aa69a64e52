"""Where the model looked: a photo with the evidence for one label painted over it."""

import numpy as np
from PIL import Image

from seefood.predictor import Prediction

LONG_SIDE = 768  # pixels of the picture at most
_FAINTEST = 0.35  # brightness of the photo where nothing speaks for the label
_STOPS = np.array([0.0, 0.35, 0.7, 1.0])
_COLORS = np.array([[20, 20, 40], [180, 30, 90], [245, 130, 30], [255, 235, 120]], dtype=np.float32)


def heat_map(photo: Image.Image, prediction: Prediction, label: str, *, crop: float = 1.0) -> Image.Image:
    """Paint the evidence for a label over the part of the photo that the model saw.

    The evidence of a place is what it adds to the label's logit, less what it adds to the average label's: a place that
    speaks for every label alike tells nothing. The colours are scaled to the strongest place of this photo; places that
    speak against the label are dark, and so is what the model did not see.

    Args:
        photo: upright RGB photo, as `seefood.photo.read_photo` gives it.
        prediction: what the model said of it.
        label: one of `prediction.labels`.
        crop: share of the photo's short side that the model saw.

    Returns:
        An RGB image of the photo's shape, its long side at most 768 px.
    """
    evidence = prediction.evidence[prediction.labels.index(label)] - prediction.evidence.mean(axis=0)
    evidence = np.clip(evidence / max(float(evidence.max()), 1e-6), 0, 1).astype(np.float32)

    picture = photo.copy()
    picture.thumbnail((LONG_SIDE, LONG_SIDE))
    side = max(1, round(crop * min(picture.size)))
    seen = Image.fromarray(evidence).resize((side, side), Image.Resampling.BICUBIC)
    heat = Image.new("F", picture.size)
    heat.paste(seen, ((picture.width - side) // 2, (picture.height - side) // 2))

    strength = np.clip(np.asarray(heat), 0, 1)
    color = np.stack([np.interp(strength, _STOPS, channel) for channel in _COLORS.T], axis=2)
    light = _FAINTEST + (1 - _FAINTEST) * strength[..., None]
    painted = 0.65 * light * np.asarray(picture, dtype=np.float32) + 0.35 * strength[..., None] * color
    return Image.fromarray(np.clip(painted, 0, 255).astype(np.uint8))
