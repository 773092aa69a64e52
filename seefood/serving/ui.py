"""The page: a photo on the left; what is on it, and where the model looked, on the right."""

import json
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.processing_utils import move_files_to_cache

from seefood.answers import NOTHING_ELSE
from seefood.names import NOT_FOOD, display_name
from seefood.predictor import Prediction, Predictor
from seefood.serving.api import API, BARS, Classifier, add_endpoints, bars_of
from seefood.serving.examples import example_gallery
from seefood.serving.feedback import Feedback, open_feedback
from seefood.serving.lifetime import lifetime
from seefood.serving.limits import Desk
from seefood.serving.telemetry import Telemetry, predict_observed
from seefood.serving.uploads import UploadsOnly
from seefood.settings import settings

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.jpg"))
_SESSIONS = (
    64  # that Gradio remembers, at 30 kB each, every API call being one; all that a visitor sees is in the browser
)

Upload = dict[str, Any] | None  # a photo as Gradio describes one
Shown = list[Any]  # values of the components that show an answer: bars, heat map, sentence, and those of feedback


class Page(Classifier):
    """What the page's events do."""

    def __init__(self, predictor: Predictor, feedback: Feedback | None):
        super().__init__(predictor)
        self.feedback = feedback
        self.examples: list[dict[str, Any]] = []

    def answer(self, photo: Upload) -> Shown:
        """What the page shows of a photo."""
        try:
            image = self.read(photo)
        except gr.Error as error:  # what it said of the photo before must not stay
            return self.shown(sentence=error.message)
        prediction = predict_observed(self.predictor, image)
        best = display_name(prediction.top(1)[0][0])
        return self.shown(
            bars=bars_of(prediction),
            heat=_heat(best, self.paint(image, prediction)),
            sentence=self.sentence(prediction),
            asked=self.feedback is not None,
        )

    def show_example(self, click: gr.EventData) -> list[Any]:
        """The example photo that was clicked, and what the page shows of it."""
        photo = self.examples[click.index]
        return [gr.update(value=photo["path"]), *self.answer(photo)]

    def explain_bar(self, photo: Upload, bar: gr.SelectData) -> Any:
        """The heat map of the bar that was clicked."""
        return gr.update() if photo is None else _heat(bar.value, self.explain(photo, bar.value))

    def confirm(self, photo: Upload, keep_photo: bool) -> list[Any]:
        """Note that the best guess is right."""
        return self._note(photo, keep_photo, None)

    def correct(self, photo: Upload, keep_photo: bool, dish: str | None) -> list[Any]:
        """Note which dish it is instead."""
        if dish not in [*self.predictor.labels, NOTHING_ELSE]:
            return [gr.update(), "Choose what it is first."]
        return self._note(photo, keep_photo, dish)

    def sentence(self, prediction: Prediction) -> str:
        """What the page says of a photo."""
        label, probability = prediction.top(1)[0]
        threshold = self.predictor.metadata.threshold
        if label == NOT_FOOD or probability < threshold("unsure"):
            return "I don't see a dish I know. This is what I considered."
        opening = "Looks like" if probability >= threshold("sure") else "Perhaps"
        return f"{opening} **{display_name(label).lower()}**. Click a bar to see where it was seen."

    def about(self) -> str:
        """The footer: which model answers here, and what is kept."""
        facts = self.predictor.metadata
        part, measured = list(facts.metrics.items())[-1] if facts.metrics else ("", {})
        accuracy = (
            f" · top-1 {measured['top1']:.1%} on {measured['photos']:,} {part} photos" if "top1" in measured else ""
        )
        hours = "an hour" if settings().upload_hours == 1 else f"{settings().upload_hours} hours"
        kept = (
            "."
            if self.feedback is None
            else ", unless you say whether it was right: that, and the photo if you tick so."
        )
        return (
            f"Model `{facts.architecture}` at {facts.image_size} px · {len(facts.labels)} labels{accuracy} · "
            f"{facts.created} · `{self.predictor.digest}`\n\n"
            f"Your photo stays on this server and is deleted after about {hours}. Nothing else is kept{kept}"
        )

    def shown(self, *, sentence: str = "", bars: Any = None, heat: Any = None, asked: bool = False) -> Shown:
        """What the components show; without arguments, nothing."""
        heat = heat or gr.update(value=None, label="Where it looked", alt_text=None)
        shown = [bars or {}, heat, sentence]
        # Of each photo the visitor is asked anew, also whether it may be kept.
        return shown if self.feedback is None else [*shown, gr.update(visible=asked), "", "", False]

    def _note(self, photo: Upload, keep_photo: bool, dish: str | None) -> list[Any]:
        assert self.feedback is not None, "the controls are not on the page without a store"  # noqa: S101
        image = self.read(photo)
        self.feedback.note(
            self.predictor.predict(image),
            model=self.predictor.digest,
            file=Path(photo["path"]) if photo else Path(),
            dish=dish,
            photo=image if keep_photo else None,
        )
        return [gr.update(visible=False), "Thank you, noted." if not keep_photo else "Thank you, noted with the photo."]


def build_page(predictor: Predictor, desk: Desk, telemetry: Telemetry) -> gr.Blocks:
    """The Gradio app. Its endpoints (`seefood.serving.api`) are stable; the page's own are private."""
    page = Page(predictor, open_feedback(settings().feedback))
    on = {"preprocess": False, "concurrency_limit": settings().concurrency, "concurrency_id": "model"}
    with UploadsOnly(title="SeeFood102", analytics_enabled=False, delete_cache=lifetime()) as blocks:
        gr.Markdown("# SeeFood102\nWhich dish is on your photo? Drop one in, or click an example.", elem_id="title")
        with gr.Row():
            with gr.Column():
                photo = gr.Image(
                    type="filepath", label="Photo", height=330, elem_id="photo", image_mode=None, alt_text="Your photo"
                )
                gallery = example_gallery(EXAMPLES)
            with gr.Column():
                sentence = gr.Markdown(elem_id="verdict")
                bars = gr.Label(label="Best guesses", num_top_classes=BARS, show_heading=False, elem_id="bars")
                heat = gr.Image(
                    label="Where it looked",
                    interactive=False,
                    height=220,
                    format="jpeg",
                    elem_id="heat",
                    buttons=["download", "fullscreen"],
                )
                shown = [bars, heat, sentence]
                if page.feedback:
                    shown += _feedback_controls(page, photo, on)
        gr.Markdown(page.about(), elem_id="about")

        page.examples = [_cached(path, photo) for path in EXAMPLES]
        private = {**on, "api_visibility": "private", "show_progress": "hidden"}
        answers = [
            photo.upload(page.answer, photo, shown, trigger_mode="always_last", **private),
            gallery.click(page.show_example, None, [photo, *shown], trigger_mode="always_last", **private),
            bars.select(page.explain_bar, photo, heat, trigger_mode="always_last", **private),
        ]
        # In the browser, at once: a new photo comes right behind when it was dropped onto another.
        nothing = json.dumps(page.shown())
        photo.clear(
            None, None, shown, js=f"() => {nothing}", cancels=answers, api_visibility="private", show_progress="hidden"
        )
        add_endpoints(page, **on)
    blocks.desk, blocks.telemetry = desk, telemetry
    blocks.asked = {"answer": "page", "show_example": "page", "explain_bar": "page", **API}
    blocks.state_session_capacity = _SESSIONS
    blocks.queue(max_size=settings().queue_length)
    return blocks


def _feedback_controls(page: Page, photo: gr.Image, on: dict[str, Any]) -> list[gr.blocks.Block]:
    """ "Is this right?": the controls, hidden until there is an answer, the place of the thanks, and the two inputs."""
    dishes = sorted((display_name(label), label) for label in page.predictor.labels)
    with gr.Column(visible=False, elem_id="feedback") as controls:
        with gr.Row(elem_classes="answer"):
            gr.Markdown("Is this right?")
            yes = gr.Button("Yes", size="sm", min_width=64)
            dish = gr.Dropdown(
                [("No, it is …", ""), *dishes, ("Something else", NOTHING_ELSE)],
                value="",
                label="No, it is",
                show_label=False,
                container=False,
                info=None,
                min_width=140,
            )
            no = gr.Button("Send", size="sm", min_width=64)
        keep = gr.Checkbox(label="Keep my photo with the answer, to learn from it", container=False)
    thanks = gr.Markdown(elem_id="thanks")
    private = {**on, "api_visibility": "private", "show_progress": "hidden"}
    yes.click(page.confirm, [photo, keep], [controls, thanks], **private)
    no.click(page.correct, [photo, keep, dish], [controls, thanks], **private)
    return [controls, thanks, dish, keep]


def _heat(label: str, picture: Any) -> Any:
    return gr.update(value=picture, label=f"Where it looked for {label}", alt_text=f"Heat map of {label} on your photo")


def _cached(path: Path, photo: gr.Image) -> dict[str, Any]:
    """An example among the uploads, where no event refuses it and nothing deletes it."""
    return move_files_to_cache(ImageData(path=str(path), orig_name=path.name).model_dump(), photo, keep_in_cache=True)
