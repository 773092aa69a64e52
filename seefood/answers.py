"""What visitors said of their photos, what a reviewer decided about it, and the photos that they let us keep.

Each is a line of JSON in a journal of a store (`seefood.stores`).
"""

import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from seefood.errors import FeedbackError
from seefood.photo import read_photo
from seefood.stores import Store

NOTHING_ELSE = "something else"  # what a visitor says of a dish that is none of the model's labels

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # it becomes a file's name: nothing else may


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a visitor said of one photo.

    Attributes:
        time: when, to the second.
        model: hash of the model that was asked.
        photo: SHA-256 of the file as it was uploaded.
        prediction: the model's guesses with their probabilities, best first.
        right: whether the best guess is right.
        dish: the label that it is, or `NOTHING_ELSE`.
        photo_kept: whether the visitor let us keep the photo: as `<photo>.jpg`, see `bare_jpeg`.
    """

    time: AwareDatetime
    model: str
    photo: Digest
    prediction: Annotated[list[tuple[str, float]], Field(min_length=1)]
    right: bool
    dish: str
    photo_kept: bool


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a reviewer decided about a photo: the `dish` that it shows; None if nothing is to be learnt from it."""

    time: AwareDatetime
    photo: Digest
    dish: str | None


@dataclass(frozen=True)
class KeptPhoto:
    """A photo that was kept, with all that was said of it.

    Attributes:
        answers: those that let us keep it, oldest first.
        decision: the last one about it; None if there is none yet.
    """

    answers: list[Answer]
    decision: Decision | None

    @property
    def name(self) -> str:
        """SHA-256 of the file as it was uploaded."""
        return self.answers[0].photo

    @property
    def said(self) -> str:
        """What it shows by the newest answer."""
        return self.answers[-1].dish


@dataclass(frozen=True)
class Answers:
    """All that a store holds.

    Attributes:
        photos: those that were kept, in the order of their newest answers, oldest first.
        without_photo: number of answers whose photo was not kept.
        unreadable: number of lines that are no answers, or no decisions.
    """

    photos: list[KeptPhoto]
    without_photo: int
    unreadable: int


_ANSWER, _DECISION = TypeAdapter(Answer), TypeAdapter(Decision)


def add_answer(store: Store, answer: Answer) -> None:
    """Keep an answer in a store."""
    store.add_line("feedback", _ANSWER.dump_json(answer).decode())


def decide(store: Store, photo: str, dish: str | None) -> Decision:
    """Keep a decision in a store, from now on the one that counts about this photo."""
    decision = Decision(time=datetime.now(UTC), photo=photo, dish=dish)
    store.add_line("review", _DECISION.dump_json(decision).decode())
    return decision


def read_answers(store: Store, place: str) -> Answers:
    """Read a store; `place` is what an error calls it.

    Raises:
        FeedbackError: there is nothing in it, or it cannot be read.
    """
    answers, unreadable = _parsed(store.lines("feedback"), _ANSWER)
    if not answers and not unreadable:
        raise FeedbackError(f"{place}: no feedback there. Name the folder or s3://bucket/prefix of SEEFOOD_FEEDBACK.")
    decisions, unreadable_decisions = _parsed(store.lines("review"), _DECISION)
    of_photo: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.photo_kept:
            of_photo[answer.photo] = [*of_photo.pop(answer.photo, []), answer]  # to the end
    last = {decision.photo: decision for decision in decisions}
    return Answers(
        photos=[KeptPhoto(of_one, last.get(photo)) for photo, of_one in of_photo.items()],
        without_photo=sum(not answer.photo_kept for answer in answers),
        unreadable=unreadable + unreadable_decisions,
    )


def read_kept_photo(store: Store, photo: KeptPhoto) -> Image.Image:
    """The photo itself, upright RGB.

    Raises:
        PhotoError: it is gone, or no photo.
    """
    name = f"{photo.name}.jpg"
    return read_photo(store.photo(name), name=name)


def bare_jpeg(photo: Image.Image) -> bytes:
    """A JPEG file of the pixels and nothing else: no EXIF block, which may tell where it was taken, no profile."""
    content = io.BytesIO()
    Image.fromarray(np.asarray(photo)).save(content, "JPEG", quality=95)
    return content.getvalue()


def _parsed(lines: Iterable[str], kind: TypeAdapter[Any]) -> tuple[list[Any], int]:
    """What the lines hold, and how many of them do not hold it."""
    parsed, unreadable = [], 0
    for line in lines:
        try:
            parsed.append(kind.validate_json(line))
        except ValidationError:
            unreadable += 1
    return parsed, unreadable
