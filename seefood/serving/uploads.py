"""What a visitor or a program uploaded, and nothing else: from Gradio's description of a file to an upright photo."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gradio as gr
from gradio.utils import get_upload_folder
from gradio_client.utils import traverse
from PIL import Image

from seefood.errors import PhotoError
from seefood.serving.lifetime import forget
from seefood.serving.limits import Desk
from seefood.serving.telemetry import Telemetry, read_observed, request_id_of

log = logging.getLogger(__name__)

_ADDRESS = "/gradio_api/file="  # before the path of an upload that this server shows


class CallError(gr.Error):
    """A call that cannot be answered: its message is a sentence for the caller, and the log has no traceback of it."""

    def __init__(self, message: str):
        super().__init__(message, print_exception=False)


class UploadsOnly(gr.Blocks):
    """Blocks whose events take no file but one that was uploaded.

    Gradio itself would open any path of the server that a request names, once it is mounted in another app, and would
    fetch any address.
    """

    desk: Desk  # where its events wait for their turn
    telemetry: Telemetry
    asked: dict[str, str]  # the events that ask about a photo, by Gradio's name, with the endpoint that they are

    async def process_api(
        self, block_fn: Any, inputs: list[Any], state: Any = None, request: Any = None, **options: Any
    ) -> dict[str, Any]:
        """Run an event, observed if it asks about a photo.

        Of an error that is not the caller's Gradio would print a traceback, past the log.
        """
        endpoint = self.asked.get(block_fn.api_name)
        try:
            with self.telemetry.observed(endpoint, request_id_of(request.headers)) if endpoint else nullcontext():
                return await super().process_api(block_fn, inputs, state, request, **options)
        except gr.Error:
            raise
        except Exception:
            log.exception("an event failed")
            raise CallError("Something went wrong on the server. Try again later.") from None

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Refuse a request that names another file, before Gradio touches it.

        A single file stands for a list of one: so Gradio's page "Use via API" prints it for curl.
        """
        inputs = [
            [value] if isinstance(component, gr.File) and isinstance(value, dict) else value
            for component, value in zip(block_fn.inputs, inputs, strict=False)
        ]
        for component, value in zip(block_fn.inputs, inputs, strict=False):
            if isinstance(component, gr.Image | gr.File):
                for file in value if isinstance(value, list) else [value]:
                    if file is not None and not isinstance(file, dict):
                        raise _not_an_upload()
        traverse(inputs, _check_uploaded, lambda value: isinstance(value, dict))
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)

    async def call_function(self, *args: Any, **kwargs: Any) -> Any:
        """Call an event's function when it is its turn, among the callers of /classify."""
        async with self.desk.turns:
            return await super().call_function(*args, **kwargs)


def name_of(upload: dict[str, Any]) -> str:
    """What the visitor calls an uploaded file."""
    return upload.get("orig_name") or "The photo"


def read_upload(upload: dict[str, Any] | None, at_least: int) -> Image.Image:
    """The uploaded photo, as `seefood.photo.read_photo` gives it; one that is refused is deleted.

    Raises:
        CallError: there is none, or it cannot be read; in a sentence for the visitor.
    """
    if upload is None:
        raise CallError("The photo: missing. Send a file (handle_file in gradio_client), or use /classify.")
    try:
        return read_observed(upload["path"], name=name_of(upload), at_least=at_least)
    except PhotoError as error:
        forget(upload["path"])
        raise CallError(str(error)) from None


def _check_uploaded(upload: dict[str, Any]) -> None:
    path, uploads = upload.get("path"), Path(get_upload_folder()).resolve()
    if not isinstance(path, str):
        raise _not_an_upload()
    path = unquote(path.rpartition(_ADDRESS)[2]) if _ADDRESS in path else path  # an agent gets an address of its upload
    if not Path(path).resolve().is_relative_to(uploads):
        raise _not_an_upload()
    upload["path"] = path


def _not_an_upload() -> CallError:
    return CallError("The photo: not an upload. Send a file (handle_file in gradio_client), or use /classify.")
