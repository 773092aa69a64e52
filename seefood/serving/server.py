"""The web server: FastAPI around the Gradio page, for what Gradio has no route of its own for."""

from typing import Annotated

import gradio as gr
from fastapi import FastAPI, File, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from PIL import Image

from seefood import __version__
from seefood.errors import PhotoError
from seefood.names import display_name
from seefood.photo import check_bytes, read_photo
from seefood.predictor import Predictor
from seefood.serving.ui import BARS, CSS, THEME, build_page
from seefood.settings import settings


def create_app(predictor: Predictor) -> FastAPI:
    """The ASGI application: the page and its API at /, and beside them /classify and /healthz."""
    app = FastAPI(title="SeeFood102", version=__version__, openapi_url=None)

    @app.exception_handler(PhotoError)
    def refuse(_: Request, error: PhotoError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=422)

    @app.get("/healthz")
    def healthz() -> Response:
        try:
            predictor.predict(Image.new("RGB", (8, 8)))
        except Exception as error:  # whatever keeps it from answering, the load balancer must know
            return JSONResponse({"status": "broken", "error": type(error).__name__}, status_code=503)
        return JSONResponse({"status": "ok", "model": predictor.digest, "version": __version__})

    @app.post("/classify")
    def classify(photo: Annotated[UploadFile, File()]) -> JSONResponse:
        name = photo.filename or "the photo"
        check_bytes(photo.size or 0, name)
        image = read_photo(photo.file.read(), name=name, at_least=predictor.short_side)
        best = predictor.predict(image).top(BARS)
        confidences = [{"label": display_name(label), "confidence": probability} for label, probability in best]
        return JSONResponse({"label": confidences[0]["label"], "confidences": confidences})

    return gr.mount_gradio_app(
        app,
        build_page(predictor),
        path="/",
        server_name=settings().host,
        server_port=settings().port,
        root_path=settings().root_path or None,
        footer_links=["api"],
        run_history=False,
        max_file_size=settings().max_bytes,
        ssr_mode=False,
        theme=THEME,
        css=CSS,
    )
