"""POST /classify: one photo in, the five most probable labels out; a plain request, for curl and programs."""

from typing import Any, BinaryIO

import anyio
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from seefood.errors import PhotoError
from seefood.names import display_name
from seefood.photo import check_bytes
from seefood.predictor import Predictor
from seefood.serving.api import BARS
from seefood.serving.limits import BusyError, Desk, client_of, drain, refusal
from seefood.serving.telemetry import observation, predict_observed, read_observed
from seefood.settings import settings

_SECONDS_TO_SEND = 120  # of 20 MB at 1.5 Mbit/s
_FIELDS = 16


class Classify:
    """The endpoint, an ASGI application.

    It answers 200 with the value of Gradio's Label, `{"label": ..., "confidences": [{"label", "confidence"} x 5]}`, or
    with `{"error": <a sentence>}`: 400 for what is no multipart request, 422 for one without a photo and for a photo
    that cannot be read, 413 when it is over SEEFOOD_MAX_BYTES, 408 when it comes too slowly, 503 or 429, with
    Retry-After, when there is no place to wait.
    """

    def __init__(self, predictor: Predictor, desk: Desk):
        self._predictor, self._desk = predictor, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._desk.place(client_of(scope)):
                response = await self._response(Request(scope, receive))
        except BusyError as error:
            observation().failed(error)
            await drain(scope, receive)
            response = refusal(str(error), error.status, seconds=error.seconds)
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        try:
            with anyio.fail_after(_SECONDS_TO_SEND):
                form = await request.form(max_files=1, max_fields=_FIELDS)
        except TimeoutError:
            return refusal(f"The photo did not arrive within {_SECONDS_TO_SEND} seconds. Send a smaller copy.", 408)
        except HTTPException as error:  # no multipart body, or a broken one
            return refusal(f"The request: {error.detail} Send a photo as curl -F photo=@pizza.jpg does.", 400)
        except ClientDisconnect as error:
            observation().failed(error)
            return Response(status_code=400)  # which nobody sees
        try:
            return await self._classified(form.get("photo"))
        finally:
            await form.close()

    async def _classified(self, photo: UploadFile | str | None) -> Response:
        if not isinstance(photo, UploadFile):
            return refusal("No photo: send one in the field `photo`, as curl -F photo=@pizza.jpg does.", 422)
        name = photo.filename or "the photo"
        try:
            check_bytes(photo.size or 0, name)
            answer = await anyio.to_thread.run_sync(self._answer, photo.file, name, limiter=self._desk.turns)
        except PhotoError as error:
            observation().failed(error)
            too_large = photo.size and photo.size > settings().max_bytes
            return refusal(str(error), 413 if too_large else 422)
        return JSONResponse(answer)

    def _answer(self, file: BinaryIO, name: str) -> dict[str, Any]:
        image = read_observed(file.read(), name=name, at_least=self._predictor.short_side)
        best = predict_observed(self._predictor, image).top(BARS)
        confidences = [{"label": display_name(label), "confidence": probability} for label, probability in best]
        return {"label": confidences[0]["label"], "confidences": confidences}
