"""Gradio and FastAPI; never torch.

Importing this package imports Gradio, and sees to it that Gradio calls nobody, keeps no statistics, and starts in half
the time. Import nothing of Gradio before it.
"""

import inspect
import os
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported: it calls out on import otherwise
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# What nobody reads here: after each call Gradio would make a pandas table of the last 10,000, a millisecond or more.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000000")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")

_getfile = inspect.getfile


def _getfile_but_of_components(item: Any) -> str:
    """For a component without a source file Gradio writes no `.pyi` file, which only editors read.

    Writing one anew for each component takes two fifths of the time in which Gradio is imported.
    """
    if type(item).__name__ == "ComponentMeta":
        raise OSError("no .pyi file is needed")
    return _getfile(item)


inspect.getfile = _getfile_but_of_components  # type: ignore[assignment]
try:
    import gradio  # noqa: F401
finally:
    inspect.getfile = _getfile
