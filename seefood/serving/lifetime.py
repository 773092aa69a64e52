"""How long a photo stays in the temporary folder: a refused one not at all, others as SEEFOOD_UPLOAD_HOURS says.

Gradio's `delete_cache` deletes the uploads that it knows of. What a caller began to send and did not finish it does not
know of, nor what an app left behind that was killed; nor does it remove the folder that each upload has had.
"""

import hashlib
import io
import os
import re
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import anyio
import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from seefood.settings import settings

_OURS = re.compile(r"[0-9a-f]{64}|tmp[a-z0-9_]{8}")  # folders by their content's hash, and uploads on their way


def lifetime() -> tuple[int, int]:
    """What `delete_cache` takes: how often to look, and the age at which to delete, both in seconds."""
    age = settings().upload_hours * 3600
    return max(1, age // 12), age


def forget(path: str) -> None:
    """Delete an upload that was refused."""
    file, uploads = Path(path).resolve(), Path(get_upload_folder()).resolve()
    if file.is_relative_to(uploads):
        file.unlink(missing_ok=True)


def keep(picture: Image.Image) -> str:
    """Save a picture among the uploads, as JPEG, and return its path.

    Gradio itself would write it over the file of an equal one, which another visitor may just be reading.
    """
    content = io.BytesIO()
    picture.save(content, "JPEG")
    folder = Path(get_upload_folder()) / hashlib.sha256(content.getvalue()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
        part.write(content.getvalue())
    path = folder / "heat.jpg"
    os.replace(part.name, path)
    return str(path.resolve())


async def sweep_for_ever(blocks: gr.Blocks) -> None:
    """Sweep the folder of uploads, now and as often as Gradio does; what the page itself shows stays."""
    every, age = lifetime()
    while True:
        shown = {path for block in blocks.blocks.values() for path in getattr(block, "keep_in_cache", ())}
        await anyio.to_thread.run_sync(sweep, Path(get_upload_folder()), age, shown)
        await anyio.sleep(every)


def sweep(folder: Path, age: float, shown: Iterable[str] = ()) -> None:
    """Delete what Gradio has put into `folder` more than `age` seconds ago, except for the files in `shown`."""
    if not folder.is_dir() or folder.samefile(tempfile.gettempdir()):  # which others use, for names like Gradio's
        return
    oldest = time.time() - age
    keep = {Path(path).resolve() for path in shown}
    for entry in folder.iterdir():
        if not _OURS.fullmatch(entry.name) or entry.is_symlink():
            continue
        files = list(entry.iterdir()) if entry.is_dir() else [entry]
        for file in files:
            if file.is_file() and file.resolve() not in keep and file.stat().st_ctime < oldest:
                file.unlink(missing_ok=True)
        if entry.is_dir() and not any(entry.iterdir()) and entry.stat().st_mtime < oldest:
            entry.rmdir()
