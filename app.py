"""Serve a model: a web page and an API, on port 7860 (or GRADIO_SERVER_PORT, or PORT).

    python app.py                                          the embedded model
    SEEFOOD_MODEL=runs/mine.onnx python app.py             another one

Every setting is an environment variable; seefood/settings.py lists them.
"""

import sys

import uvicorn

from seefood.errors import SeeFoodError
from seefood.predictor import Predictor
from seefood.serving.server import create_app
from seefood.settings import settings


def main() -> None:
    uvicorn.run(
        create_app(Predictor()),
        host=settings().host,
        port=settings().port,
        access_log=False,
        proxy_headers=True,
        forwarded_allow_ips=settings().forwarded_allow_ips,
        timeout_graceful_shutdown=5,  # pages keep a connection open, and would hold up a SIGTERM for ever
    )


if __name__ == "__main__":
    try:
        main()
    except SeeFoodError as error:
        sys.exit(f"app.py: {error}")
