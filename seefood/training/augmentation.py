"""What is done to a photo before it is trained on, at random."""

import math
import random
from collections.abc import Callable

import torch
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import Compose, RandomApply


def training_transform(
    image_size: int,
    *,
    downscale: tuple[int, int] | None,
    downscale_probability: float,
    scale: tuple[float, float],
    color_jitter: float,
    auto_augment: str | None,
) -> Callable[[Image.Image], torch.Tensor]:
    """From an RGB photo to uint8 [3, S, S], with S the image size; the other arguments are those of `FoodData`."""
    shrinks = [RandomApply([RandomDownscale(*downscale)], downscale_probability)] if downscale else []
    crops = create_transform(
        image_size,
        is_training=True,
        scale=scale,
        color_jitter=color_jitter,
        auto_augment=auto_augment,
        interpolation="random",
        normalize=False,
    )
    return Compose([*shrinks, crops])


class RandomDownscale:
    """Shrinks a photo to a short side drawn log-uniformly from [shortest, longest] pixels; never enlarges it."""

    def __init__(self, shortest: int, longest: int):
        assert 0 < shortest <= longest, "The range of the downscale must be positive and in order."
        self.range = math.log(shortest), math.log(longest)

    def __call__(self, photo: Image.Image) -> Image.Image:
        factor = math.exp(random.uniform(*self.range)) / min(photo.size)
        if factor >= 1:
            return photo
        width, height = (max(1, round(factor * side)) for side in photo.size)
        return photo.resize((width, height), random.choice((Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)))
