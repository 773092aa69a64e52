""" "Is this right?": visitors' answers, as `seefood.answers` keeps them."""

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path

import gradio as gr
from PIL import Image

from seefood.answers import Answer, add_answer, bare_jpeg
from seefood.errors import FeedbackError, SettingsError
from seefood.predictor import Prediction
from seefood.stores import FolderStore, Store, open_store

_GUESSES = 5

log = logging.getLogger(__name__)


class Feedback:
    """Answers of visitors, in a store.

    feedback = Feedback(FolderStore(Path("answers")))
    feedback.note(prediction, model=predictor.digest, file=Path("pizza.jpg"), dish="lasagna")
    """

    def __init__(self, store: Store):
        self.store = store

    def note(
        self,
        prediction: Prediction,
        *,
        model: str,
        file: Path,
        dish: str | None = None,
        photo: Image.Image | None = None,
    ) -> None:
        """Keep one answer.

        Args:
            prediction: what the model said.
            model: hash of the model file.
            file: the photo as it was uploaded.
            dish: what the visitor says it is; None if the best guess is right.
            photo: the photo, if it may be kept.

        Raises:
            gr.Error: the store did not take it.
        """
        best = prediction.top(_GUESSES)
        answer = Answer(
            time=datetime.now(UTC).replace(microsecond=0),
            model=model,
            photo=hashlib.sha256(file.read_bytes()).hexdigest(),
            prediction=[(label, round(probability, 4)) for label, probability in best],
            right=dish is None or dish == best[0][0],
            dish=dish or best[0][0],
            photo_kept=photo is not None,
        )
        try:
            if photo is not None:
                self.store.add_photo(f"{answer.photo}.jpg", bare_jpeg(photo))
            add_answer(self.store, answer)
        except Exception:  # a full disk, a bucket that is gone: the visitor cannot mend it, the log has the reason
            log.exception("feedback was not stored")
            raise gr.Error("Your answer could not be stored. Please try again later.", print_exception=False) from None


def open_feedback(place: str) -> Feedback | None:
    """The feedback that SEEFOOD_FEEDBACK names: a folder, or s3://bucket/prefix; None when it is empty.

    Raises:
        SettingsError: it cannot be used.
    """
    if not place:
        return None
    try:
        store = open_store(place)
        if isinstance(store, FolderStore):
            store.make()
    except FeedbackError as error:
        raise SettingsError(f"SEEFOOD_FEEDBACK={error}") from None
    return Feedback(store)
