"""Serve a model: a web page and an API, on port 7860 (or GRADIO_SERVER_PORT, or PORT).

    python app.py                                          the embedded model
    SEEFOOD_MODEL=runs/mine.onnx python app.py             another one

Every setting is an environment variable; seefood/settings.py lists them.
"""

import sys

from seefood.errors import SeeFoodError
from seefood.predictor import Predictor
from seefood.serving.logs import configure_logs
from seefood.serving.server import create_app, serve


def main() -> None:
    configure_logs()
    serve(create_app(Predictor()))


if __name__ == "__main__":
    try:
        main()
    except SeeFoodError as error:
        sys.exit(f"app.py: {error}")
