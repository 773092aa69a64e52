"""The example gallery: each photo a button with a name, so that a keyboard and a screen reader can use it.

Gradio's own (`gr.Examples`) has buttons without a name, and needs one call to fill in the photo and another to predict.
"""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from PIL import Image

from seefood.names import display_name

_THUMBNAIL = (208, 208)  # pixels: twice what the page shows, for fine screens
_ON_LOAD = """
element.addEventListener('click', event => {
    const button = event.target.closest('button');
    if (button) trigger('click', {index: Number(button.dataset.index)});
});
"""


def example_gallery(photos: Sequence[Path]) -> gr.HTML:
    """A gallery whose `click` event tells the `index` of a photo. The thumbnails travel within the page."""
    buttons = "".join(_button(index, photo) for index, photo in enumerate(photos))
    content = f'<div class="photos" role="group" aria-label="Example photos">{buttons}</div>'
    return gr.HTML(content, js_on_load=_ON_LOAD, elem_id="examples")


def _button(index: int, photo: Path) -> str:
    name = html.escape(display_name(photo.stem))
    image = f'<img src="{_thumbnail(photo)}" alt="{name}">'
    return f'<button type="button" data-index="{index}" title="{name}">{image}</button>'


def _thumbnail(photo: Path) -> str:
    with Image.open(photo) as image:
        image.thumbnail(_THUMBNAIL)
        content = io.BytesIO()
        image.convert("RGB").save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
