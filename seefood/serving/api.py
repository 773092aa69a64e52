"""The API: what the endpoints answer, and how Gradio's generated page describes them.

The endpoints belong to components that no visitor sees. They skip Gradio's pre-processing, so that the bytes of an
upload reach `seefood.photo` first, and with it our limits and our words.
"""

from typing import Any

import gradio as gr
from PIL import Image

from seefood.errors import PhotoError
from seefood.heatmap import heat_map
from seefood.names import display_name
from seefood.predictor import Prediction, Predictor
from seefood.serving.lifetime import forget, keep
from seefood.serving.telemetry import observation, predict_observed, read_observed
from seefood.serving.uploads import CallError, name_of, read_upload

BARS = 5
BATCH = 64  # photos in one call of /predict_batch
API = {"predict": "/predict", "explain": "/explain", "predict_batch": "/predict_batch"}  # Gradio's names, and ours
COLUMNS = ["file", "label", "confidence", "second label", "second confidence", "error"]


class Classifier:
    """What the endpoints do with an upload: a dictionary whose "path" is a file that Gradio stored."""

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self.label_of = {display_name(label): label for label in predictor.labels}

    def predict(self, photo: dict[str, Any] | None) -> dict[str, float]:
        """Which dish is on the photo? Returns the five most probable labels, best first, with their probabilities.

        Args:
            photo: a JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF file
        """
        return bars_of(predict_observed(self.predictor, self.read(photo)))

    def explain(self, photo: dict[str, Any] | None, label: str | None = None) -> str:
        """Where did the model look? Returns the photo with the heat map of a label.

        Args:
            photo: a JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF file
            label: a name that /predict gave; without one, the most probable
        """
        image = self.read(photo)
        return self.paint(image, predict_observed(self.predictor, image), label)

    def predict_batch(self, photos: list[dict[str, Any]] | None) -> list[list[str | float | None]]:
        """Which dishes are on up to 64 photos? Returns a table, one row for each file, in the order given.

        A file that cannot be read spoils its own row alone: it has an error and no label.

        Args:
            photos: up to 64 files
        """
        if not photos:
            raise CallError("The photos: missing. Send a list of files.")
        if len(photos) > BATCH:
            raise CallError(f"{len(photos)} photos are over the limit of {BATCH}. Send them in several calls.")
        return [self._row(photo) for photo in photos]

    def read(self, photo: dict[str, Any] | None) -> Image.Image:
        """The upright photo, at no more than the size that the model needs; raises CallError."""
        return read_upload(photo, self.predictor.short_side)

    def paint(self, image: Image.Image, prediction: Prediction, label: str | None = None) -> str:
        """The file of the heat map of a label, as a person or the data set writes it; default: the most probable."""
        name = self.label_of.get(label, label) if label else prediction.top(1)[0][0]
        if name not in prediction.labels:
            raise CallError(f"{label!r} is no label of this model. Use one of /predict's.")
        return keep(heat_map(image, prediction, name, crop=self.predictor.metadata.crop))

    def _row(self, photo: dict[str, Any]) -> list[str | float | None]:
        name = name_of(photo)
        with observation().part():
            try:
                image = read_observed(photo["path"], name=name, at_least=self.predictor.short_side)
            except PhotoError as error:
                forget(photo["path"])
                return [name, None, None, None, None, str(error)]
            best = predict_observed(self.predictor, image).top(2)
        guesses = [part for label, probability in best for part in (display_name(label), probability)]
        return [name, *guesses, *[None] * (4 - len(guesses)), None]


def bars_of(prediction: Prediction) -> dict[str, float]:
    """The most probable labels with their probabilities, best first, as `gr.Label` takes them."""
    return {display_name(label): probability for label, probability in prediction.top(BARS)}


def add_endpoints(classifier: Classifier, **event: Any) -> None:
    """Add `/predict`, `/explain` and `/predict_batch` to the Blocks that are being built.

    Args:
        classifier: what answers.
        event: more arguments for each event.
    """
    photo = _described(
        gr.Image(type="filepath", label="photo", visible=False),
        "the photo: a file that was uploaded",
        _file("examples/donuts.jpg"),
    )
    photos = _described(
        gr.File(file_count="multiple", label="photos", visible=False),
        f"up to {BATCH} photos: files that were uploaded",
        [_file("examples/donuts.jpg"), _file("examples/pizza.jpg")],
    )
    label = _described(
        gr.Textbox(label="label", visible=False),
        "a label that /predict gave; without one, the most probable",
        "Donuts",
    )
    guesses = _described(
        gr.Label(label="Best guesses", num_top_classes=BARS, visible=False),
        "the most probable label, and the five most probable with their probabilities, best first",
        {"label": "Donuts", "confidences": [{"label": "Donuts", "confidence": 0.92}]},
    )
    heat = _described(
        gr.Image(label="Heat map", format="jpeg", visible=False),
        "the photo with the heat map: a JPEG file",
        _file("heat.jpg"),
    )
    table = _described(
        gr.Dataframe(label="Table", headers=COLUMNS, visible=False),
        f"one row for each file: {', '.join(COLUMNS)}",
        {"headers": COLUMNS, "data": [["donuts.jpg", "Donuts", 0.92, "Churros", 0.03, None]]},
    )
    # No visitor can submit an invisible box.
    label.submit(classifier.predict, photo, guesses, api_name="predict", **event)
    label.submit(classifier.explain, [photo, label], heat, api_name="explain", **event)
    label.submit(classifier.predict_batch, photos, table, api_name="predict_batch", **event)


def _file(name: str) -> dict[str, Any]:
    """An upload as the generated page shows it: Python's `handle_file('donuts.jpg')`."""
    return {"path": name, "url": name, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def _described(component: Any, meaning: str, example: Any) -> Any:
    """Say on Gradio's generated page what a component of the API means, and what a call looks like."""
    schema = {**component.api_info(), "description": meaning, "additional_description": meaning}
    component.api_info = lambda: schema
    component.example_payload = lambda: example
    return component
