"""What a model file says of itself: the facts that travel in the metadata of the ONNX file."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from seefood.errors import ModelError

_THRESHOLDS = {"sure": 0.5, "unsure": 0.2}  # of a model file that has none of its own


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Everything that an application has to know about a model file.

    Attributes:
        labels: names of the C outputs, in order, as the training data spells them.
        image_size: side S of the input in pixels.
        crop: share of a photo's short side that the input shows, in (0, 1].
        temperature: what the logits were divided by before the softmax.
        thresholds: named probabilities of the best answer: "sure", from which an application states it, and "unsure",
            below which it says that it knows no such dish.
        architecture: timm's name of the network.
        training_commit: version of this repository that trained it.
        created: date of the export, YYYY-MM-DD.
        metrics: what export.py measured on this file, by part of the data: {"validation": {"top1": 0.6, ...}, ...}.
    """

    labels: list[str]
    image_size: int
    crop: float
    temperature: float
    architecture: str
    training_commit: str
    created: str
    thresholds: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    def threshold(self, name: str) -> float:
        """One of `thresholds`, or what it is where the model file has none."""
        return (_THRESHOLDS | self.thresholds)[name]

    def to_properties(self) -> dict[str, str]:
        """One string of JSON for each fact, as ONNX keeps them."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}

    @classmethod
    def from_properties(cls, properties: dict[str, str]) -> Self:
        """The inverse of `to_properties`; facts it does not know are passed over.

        Raises:
            ModelError: a fact is missing or is no JSON.
        """
        facts: dict[str, Any] = {}
        for name in (fact.name for fact in fields(cls)):
            try:
                facts[name] = json.loads(properties[name])
            except (KeyError, ValueError) as error:
                raise ModelError(f"its metadata lacks {name!r}") from error
        return cls(**facts)
