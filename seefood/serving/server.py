"""The web server: FastAPI around the Gradio page, for what Gradio has no route of its own for."""

import asyncio
import select
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import gradio as gr
import uvicorn
from fastapi import FastAPI
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from seefood import __version__
from seefood.predictor import Predictor
from seefood.serving.classify import Classify
from seefood.serving.lifetime import sweep_for_ever
from seefood.serving.limits import Desk, Limits
from seefood.serving.look import CSS, THEME
from seefood.serving.metrics import Exposition
from seefood.serving.telemetry import Telemetry, Watched
from seefood.serving.ui import build_page
from seefood.settings import settings

_SECONDS_TO_FINISH = 10  # what is in flight when the app is told to stop; Docker kills after ten by default
_SECONDS_OF_SILENCE = (
    130  # on a connection, longer than a load balancer keeps one: it would send into one that we close
)
_SECONDS_TO_ASK = 0.2  # from the connection to the request, within a data centre


class Health:
    """GET /healthz: 200 and which model answers, or 503 when it does not.

    It has a thread of its own, and does not wait in the queue; asked more often than once a second it repeats itself.
    """

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        self._thread = anyio.CapacityLimiter(1)
        self._error = ""
        self._checked = -1.0

    async def __call__(self, _: Request) -> Response:
        await anyio.to_thread.run_sync(self._check, limiter=self._thread)
        if self._error:
            return JSONResponse({"status": "broken", "error": self._error}, status_code=503)
        return JSONResponse({"status": "ok", "model": self._predictor.digest, "version": __version__})

    def _check(self) -> None:
        if time.monotonic() - self._checked < 1:
            return
        try:
            self._predictor.predict(Image.new("RGB", (8, 8)))
            self._error = ""
        except Exception as error:  # whatever keeps it from answering, the load balancer must know
            self._error = type(error).__name__
        self._checked = time.monotonic()


def create_app(predictor: Predictor) -> FastAPI:
    """The ASGI application: the page and its API at /, and beside them /classify, /healthz and /metrics.

    `app.state.page` is the Gradio app.
    """
    desk = Desk(concurrency=settings().concurrency, queue_length=settings().queue_length)
    telemetry = Telemetry(predictor)
    page = build_page(predictor, desk, telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(sweep_for_ever(page))
        yield
        sweeping.cancel()

    app = FastAPI(
        title="SeeFood102",
        version=__version__,
        openapi_url=None,
        lifespan=lifespan,
        routes=[
            Route("/classify", Classify(predictor, desk), methods=["POST"]),
            Route("/healthz", Health(predictor).__call__),
            Route("/metrics", Exposition(), methods=["GET"]),
        ],
    )
    app.add_middleware(Limits)
    app.add_middleware(Watched, telemetry=telemetry)  # sees what Limits refuses, too
    app.state.page = page
    mounted = gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=settings().host,
        server_port=settings().port,
        root_path=settings().root_path or None,
        footer_links=["api"],
        run_history=False,
        max_file_size=settings().max_bytes,
        ssr_mode=False,
        mcp_server=settings().mcp,
        theme=THEME,
        css=CSS,
    )
    if page.mcp_server_obj:  # it calls the app, and should not go out to a proxy for that
        page.mcp_server_obj._local_url = f"http://127.0.0.1:{settings().port}/"
    return mounted


class Server(uvicorn.Server):
    """On SIGTERM: takes no more connections, gives what is in flight ten seconds, and is done."""

    def __init__(self, config: uvicorn.Config, page: gr.Blocks):
        super().__init__(config)
        self._page = page

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of the open pages first: each holds a connection, which would take the ten seconds.

        uvicorn alone would hang up on whoever has connected and not yet been heard.
        """
        self._page.app.stop_event.set()
        await self._let_in()
        for server in self.servers:
            server.close()
        await asyncio.sleep(_SECONDS_TO_ASK)
        await super().shutdown(sockets)

    async def _let_in(self) -> None:
        """Wait until nobody stands at the door, and whoever stood there a round of the event loop ago is inside."""
        doors = [door for server in self.servers for door in server.sockets]
        empty = 0
        while empty < 2:
            await asyncio.sleep(0)
            knocking, _, _ = select.select(doors, [], [], 0)
            empty = 0 if knocking else empty + 1


def serve(app: FastAPI) -> None:
    """Serve until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        app,
        host=settings().host,
        port=settings().port,
        access_log=False,
        log_config=None,  # see seefood.serving.logs
        proxy_headers=True,
        forwarded_allow_ips=settings().forwarded_allow_ips,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        timeout_keep_alive=_SECONDS_OF_SILENCE,
    )
    # uvicorn raises the signal again when it is done, and it would end us as if we had not answered it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Server(config, app.state.page).run()
