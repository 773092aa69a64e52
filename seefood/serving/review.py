"""Review what visitors said of their photos: accept it, correct it, or drop the photo.

    python -m seefood.serving.review answers/                 a folder
    python -m seefood.serving.review s3://bucket/prefix       a bucket

A page on this machine alone, at the address that it prints. Each decision is kept at once, beside the answers, so that
a review goes on where it stopped; the last one about a photo counts.
"""

import argparse
import base64
import html
import sys
from typing import Any

import gradio as gr

from seefood.answers import KeptPhoto, bare_jpeg, decide, read_answers, read_kept_photo
from seefood.errors import FeedbackError, PhotoError, SeeFoodError
from seefood.names import display_name
from seefood.predictor import Predictor
from seefood.serving.api import BARS
from seefood.serving.look import CSS, THEME
from seefood.stores import Store, open_store

_SIDE = 640  # pixels of the photo on the page
_CSS = """
#kept img { max-width: 100%; max-height: 440px; display: block; margin: 0 auto; border-radius: 8px; }
#kept, #said, #progress, #progress p, #said p { margin: 0; }
@media (max-width: 640px) { #kept img { max-height: 260px; } }
"""

Shown = list[Any]  # values of the page's components


class Review:
    """What the page's events do. They name the photo that they are about, so that none is taken for another."""

    def __init__(self, store: Store, place: str, labels: list[str]):
        """
        Args:
            store: what is reviewed, and where the decisions go.
            place: what errors and the page call it.
            labels: what a photo can be said to show.

        Raises:
            FeedbackError: there is no photo in it.
        """
        photos = read_answers(store, place).photos
        if not photos:
            raise FeedbackError(f"{place}: visitors answered, but none let us keep the photo. Wait for more.")
        self.store, self.place, self.labels = store, place, labels
        self.photos = {photo.name: photo for photo in photos}
        self.decided = {photo.name: photo.decision for photo in photos}

    def begin(self) -> Shown:
        """The first photo that is not decided about."""
        return self._show(self._undecided_from(0))

    def accept(self, name: str) -> Shown:
        """Decide that the visitor is right."""
        return self._decide(name, self.photos[name].said)

    def correct(self, name: str, dish: str | None) -> Shown:
        """Decide that it is another dish."""
        if dish not in self.labels:
            raise gr.Error("Choose the dish first, or drop the photo.", print_exception=False)
        return self._decide(name, dish)

    def drop(self, name: str) -> Shown:
        """Decide that nothing is to be learnt from it."""
        return self._decide(name, None)

    def back(self, name: str) -> Shown:
        """The photo before, decided or not."""
        return self._show(max(0, self._position(name) - 1))

    def skip(self, name: str) -> Shown:
        """The photo after, decided or not."""
        return self._show(self._position(name) + 1)

    def _position(self, name: str) -> int:
        return list(self.photos).index(name) if name else len(self.photos)

    def _decide(self, name: str, dish: str | None) -> Shown:
        self.decided[name] = decide(self.store, name, dish)
        return self._show(self._undecided_from(self._position(name)))

    def _undecided_from(self, start: int) -> int:
        """The next position without a decision, from the beginning again after the last; else past the end."""
        names = list(self.photos)
        order = [*range(start, len(names)), *range(start)]
        return next((position for position in order if self.decided[names[position]] is None), len(names))

    def _show(self, position: int) -> Shown:
        names = list(self.photos)
        left = sum(decision is None for decision in self.decided.values())
        progress = f"{len(names) - left} of {len(names)} reviewed"
        if position >= len(names):
            end = "All is reviewed." if not left else f"{left} left: go back to them."
            hint = f"{end} `make feedback-dataset FROM={self.place}` makes a data source of it."
            return ["", f"{progress}. {hint}", "", "", {}, *[gr.update(visible=False)] * 5]
        photo = self.photos[names[position]]
        is_label = photo.said in self.labels
        return [
            photo.name,
            f"Photo {position + 1} of {len(names)} · {progress}",
            self._picture(photo),
            self._sentences(photo),
            {display_name(label): probability for label, probability in photo.answers[-1].prediction[:BARS]},
            gr.update(value=f"Accept: {display_name(photo.said)}", visible=is_label),
            gr.update(value=None, visible=True),
            *[gr.update(visible=True)] * 3,
        ]

    def _picture(self, photo: KeptPhoto) -> str:
        """The photo within the page, so that no copy of it stays in a temporary folder."""
        try:
            image = read_kept_photo(self.store, photo)
        except PhotoError as error:
            return f"<p>{html.escape(str(error))}</p>"
        image.thumbnail((_SIDE, _SIDE))
        content = base64.b64encode(bare_jpeg(image)).decode()
        return f'<img src="data:image/jpeg;base64,{content}" alt="The photo to review">'

    def _sentences(self, photo: KeptPhoto) -> str:
        """What visitors said, and what was decided already. It is not ours: no word of it is markup."""
        dishes = dict.fromkeys(display_name(answer.dish) for answer in reversed(photo.answers))
        said = " and ".join(f"<strong>{html.escape(dish)}</strong>" for dish in dishes)
        sentences = f"<p>{'A visitor says' if len(photo.answers) == 1 else 'Visitors say'} {said}.</p>"
        if decision := self.decided[photo.name]:
            word = f"it is {display_name(decision.dish)}" if decision.dish else "to drop it"
            sentences += f"<p>You decided {html.escape(word)}.</p>"
        return sentences


def build_page(review: Review) -> gr.Blocks:
    """The Gradio app."""
    dishes = sorted((display_name(label), label) for label in review.labels)
    with gr.Blocks(title="SeeFood102: review", analytics_enabled=False) as blocks:
        gr.Markdown(
            "# SeeFood102: review\nIs it what the visitor says? The model learns from what you accept.", elem_id="title"
        )
        progress = gr.Markdown(elem_id="progress")
        name = gr.Textbox(visible=False)
        with gr.Row():
            with gr.Column():
                picture = gr.HTML(elem_id="kept")
            with gr.Column():
                said = gr.HTML(elem_id="said")
                accept = gr.Button("Accept", variant="primary")
                dish = gr.Dropdown(dishes, value=None, label="No, it is")
                correct = gr.Button("Correct")
                drop = gr.Button("Drop the photo")
                with gr.Row():
                    back, skip = gr.Button("Back", size="sm", min_width=64), gr.Button("Skip", size="sm", min_width=64)
                guesses = gr.Label(
                    label="What the model said", num_top_classes=BARS, show_heading=False, elem_id="bars"
                )
        shown = [name, progress, picture, said, guesses, accept, dish, correct, drop, skip]
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        blocks.load(review.begin, None, shown, **quiet)
        accept.click(review.accept, name, shown, **quiet)
        correct.click(review.correct, [name, dish], shown, **quiet)
        drop.click(review.drop, name, shown, **quiet)
        back.click(review.back, name, shown, **quiet)
        skip.click(review.skip, name, shown, **quiet)
    return blocks


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m seefood.serving.review",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("place", help="a folder or s3://bucket/prefix, as SEEFOOD_FEEDBACK named it")
    place = parser.parse_args().place
    review = Review(open_store(place), place, Predictor().labels)
    build_page(review).launch(
        server_name="127.0.0.1",
        share=False,
        show_error=True,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        theme=THEME,
        css=CSS + _CSS,
    )


if __name__ == "__main__":
    try:
        main()
    except SeeFoodError as error:
        sys.exit(f"review: {error}")
