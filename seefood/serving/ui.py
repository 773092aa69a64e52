"""The page, and the API that Gradio makes of it."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from gradio_client.utils import traverse
from PIL import Image

from seefood.errors import PhotoError
from seefood.heatmap import heat_map
from seefood.names import NOT_FOOD, display_name
from seefood.photo import read_photo
from seefood.predictor import Prediction, Predictor
from seefood.serving.limits import Desk
from seefood.serving.uploads import forget, lifetime
from seefood.settings import settings

EXAMPLES = Path(__file__).parents[2] / "examples"
BARS = 5
THRESHOLDS = {"sure": 0.5, "unsure": 0.2}  # of a model file that has none of its own

THEME = gr.themes.Soft(
    primary_hue="orange", secondary_hue="amber", font=["system-ui", "sans-serif"], font_mono=["monospace"]
)
CSS = """
.gradio-container { max-width: 1120px !important; margin: 0 auto !important; }
#title h1 { margin: 0.2rem 0 0; } #title p { margin: 0; }
#verdict { min-height: 1.6rem; }
#about { opacity: 0.75; font-size: 0.85rem; }
"""


class UploadsOnly(gr.Blocks):
    """Blocks whose events take no file but one that was uploaded.

    Gradio itself would open any path of the server that a request names, once it is mounted in another app, and would
    fetch any address.
    """

    desk: Desk  # where its events wait for their turn

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Refuse a request that names another file, before Gradio touches it."""
        for component, value in zip(block_fn.inputs, inputs, strict=False):
            if isinstance(component, gr.Image) and isinstance(value, str):
                raise _not_an_upload()
        traverse(inputs, _check_uploaded, lambda value: isinstance(value, dict))
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)

    async def call_function(self, *args: Any, **kwargs: Any) -> Any:
        """Call an event's function when it is its turn, among the callers of /classify."""
        async with self.desk.turns:
            return await super().call_function(*args, **kwargs)


class Page:
    """What the page's events and the API's endpoints do."""

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self.label_of = {display_name(label): label for label in predictor.labels}

    def predict(self, photo: dict[str, Any] | None) -> dict[str, float] | None:
        """Which dish is on the photo? Returns the five most probable labels, best first, with their probabilities."""
        if photo is None:
            return None
        return self._bars(self.predictor.predict(self._read(photo)))

    def explain(self, photo: dict[str, Any] | None, label: str | None = None) -> Image.Image | None:
        """Where did the model look? Returns the photo with the heat map of a label (default: the most probable one)."""
        if photo is None:
            return None
        image = self._read(photo)
        prediction = self.predictor.predict(image)
        return self._heat_map(image, prediction, label)

    def answer(self, photo: dict[str, Any] | None) -> tuple[dict[str, float] | None, Image.Image | None, str]:
        """What the page shows of a photo: the bars, the heat map, and a sentence."""
        if photo is None:
            return None, None, ""
        try:
            image = self._read(photo)
        except gr.Error as error:  # what it said of the photo before must not stay
            return None, None, error.message
        prediction = self.predictor.predict(image)
        return self._bars(prediction), self._heat_map(image, prediction), self._sentence(prediction)

    def explain_bar(self, photo: dict[str, Any] | None, bar: gr.SelectData) -> Image.Image | None:
        """The heat map of the bar that was clicked."""
        return self.explain(photo, bar.value)

    def about(self) -> str:
        """The footer: which model answers here."""
        facts = self.predictor.metadata
        part, measured = list(facts.metrics.items())[-1] if facts.metrics else ("", {})
        accuracy = (
            f" · top-1 {measured['top1']:.1%} on {measured['photos']:,} {part} photos" if "top1" in measured else ""
        )
        return (
            f"Model `{facts.architecture}` at {facts.image_size} px · {len(facts.labels)} labels{accuracy} · "
            f"{facts.created} · `{self.predictor.digest}`"
        )

    def _read(self, photo: dict[str, Any]) -> Image.Image:
        try:
            name = photo.get("orig_name") or "The photo"
            return read_photo(photo["path"], name=name, at_least=self.predictor.short_side)
        except PhotoError as error:
            forget(photo["path"])
            raise gr.Error(str(error), print_exception=False) from None

    def _bars(self, prediction: Prediction) -> dict[str, float]:
        return {display_name(label): probability for label, probability in prediction.top(BARS)}

    def _heat_map(self, image: Image.Image, prediction: Prediction, label: str | None = None) -> Image.Image:
        name = self.label_of.get(label, label) if label else prediction.top(1)[0][0]
        if name not in prediction.labels:
            raise gr.Error(f"{label!r} is no label of this model. Use one of /predict's.", print_exception=False)
        return heat_map(image, prediction, name, crop=self.predictor.metadata.crop)

    def _sentence(self, prediction: Prediction) -> str:
        label, probability = prediction.top(1)[0]
        thresholds = THRESHOLDS | self.predictor.metadata.thresholds
        if label == NOT_FOOD or probability < thresholds["unsure"]:
            return "I don't see a dish I know. This is what I considered."
        opening = "Looks like" if probability >= thresholds["sure"] else "Perhaps"
        return f"{opening} **{display_name(label).lower()}**. Click another bar to see where that one was seen."


def build_page(predictor: Predictor, desk: Desk) -> gr.Blocks:
    """The Gradio app. Its endpoints `/predict` and `/explain` are stable; the page's own are private.

    The events skip Gradio's pre-processing, so that the bytes of an upload reach `seefood.photo` first, and with it our
    limits and our words.
    """
    page = Page(predictor)
    examples = sorted(str(path) for path in EXAMPLES.glob("*.jpg"))
    with UploadsOnly(title="SeeFood102", analytics_enabled=False, delete_cache=lifetime()) as blocks:
        gr.Markdown("# SeeFood102\nWhich dish is on your photo? Drop one in, or click an example.", elem_id="title")
        with gr.Row():
            with gr.Column():
                photo = gr.Image(type="filepath", label="Photo", height=320, elem_id="photo", image_mode=None)
                gr.Examples(examples, photo, label="Example photos", examples_per_page=12, elem_id="examples")
            with gr.Column():
                sentence = gr.Markdown(elem_id="verdict")
                bars = gr.Label(label="Best guesses", num_top_classes=BARS, show_heading=False, elem_id="bars")
                heat = gr.Image(
                    label="Where it looked",
                    interactive=False,
                    height=280,
                    format="jpeg",
                    elem_id="heat",
                    buttons=["download", "fullscreen"],
                )
                label = gr.Textbox(label="label", visible=False)
        gr.Markdown(page.about(), elem_id="about")

        on = {"preprocess": False, "concurrency_limit": settings().concurrency, "concurrency_id": "model"}
        private = {**on, "api_visibility": "private", "show_progress": "hidden"}
        photo.change(page.answer, photo, [bars, heat, sentence], **private)
        bars.select(page.explain_bar, photo, heat, **private)
        # Endpoints of the API alone: no visitor can submit an invisible box.
        label.submit(page.predict, photo, bars, api_name="predict", **on)
        label.submit(page.explain, [photo, label], heat, api_name="explain", **on)
    blocks.desk = desk
    blocks.queue(max_size=settings().queue_length)
    return blocks


def _check_uploaded(photo: dict[str, Any]) -> None:
    path, uploads = photo.get("path"), Path(get_upload_folder()).resolve()
    if not isinstance(path, str) or not Path(path).resolve().is_relative_to(uploads):
        raise _not_an_upload()


def _not_an_upload() -> gr.Error:
    return gr.Error(
        "The photo: not an upload. Send a file (handle_file in gradio_client), or use /classify.", print_exception=False
    )
