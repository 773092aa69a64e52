"""What keeps one caller, or many, from taking more than there is: whose turn it is, how often, and how many bytes."""

import ipaddress
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seefood.errors import SeeFoodError
from seefood.settings import settings

_AROUND_THE_PHOTO = 65_536  # bytes of a multipart body that are not the photo: boundaries, headers, other fields
_JSON_BYTES = 1_000_000  # of any other request: Gradio's calls name uploads, and hold none
_PHOTOS_OF_AN_UPLOAD = 64  # Gradio takes several in one request
_DRAIN_SECONDS = 10.0
_ADDRESSES = 10_000  # remembered before those that may come again are forgotten


class BusyError(SeeFoodError):
    """There is no place to wait; the caller may come again.

    Attributes:
        status: 503 when all places are taken, 429 when one caller has its share of them.
        seconds: after which to come again.
    """

    def __init__(self, message: str, *, status: int = 503, seconds: int = 1):
        super().__init__(message)
        self.status, self.seconds = status, seconds


class Desk:
    """Where requests wait for their turn.

        desk = Desk(concurrency=2, queue_length=64)
        with desk.place("192.0.2.1"):       # or BusyError, before the photo is even received
            async with desk.turns:          # or anyio.to_thread.run_sync(..., limiter=desk.turns)
                ...                         # two at a time, in the order they came

    Note that one address gets half of the places and no more, so that there is one for others.
    """

    def __init__(self, *, concurrency: int, queue_length: int):
        self.turns = anyio.CapacityLimiter(concurrency)
        self._places = concurrency + queue_length
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, address: str) -> Iterator[None]:
        """Hold a place as long as the request is here.

        Raises:
            BusyError: no place is left.
        """
        if self._taken.total() >= self._places:
            raise BusyError("All places in the queue are taken. Try again in a second.")
        if self._taken[address] >= max(1, self._places // 2):
            raise BusyError("Too many requests at the same time. Wait for the answers.", status=429)
        self._taken[address] += 1
        try:
            yield
        finally:
            self._taken[address] -= 1
            if not self._taken[address]:
                del self._taken[address]


class Allowance:
    """How often each address may come: a leaky bucket, as the generic cell rate algorithm (ITU-T I.371) has it.

    allowance = Allowance(per_minute=60, burst=10)
    allowance.wait("192.0.2.1")  # 0.0: now; otherwise seconds to wait
    """

    def __init__(self, *, per_minute: float, burst: int):
        self._interval = 60 / per_minute
        self._ahead = self._interval * (burst - 1)
        self._due: dict[str, float] = {}  # when the next request of an address would come, were they evenly spread

    def wait(self, address: str, now: float | None = None) -> float:
        """Seconds until a request of this address is allowed; 0.0 means that this one is, and counts it."""
        now = time.monotonic() if now is None else now
        due = max(self._due.get(address, now), now)
        if due - now > self._ahead:
            return due - now - self._ahead
        self._due[address] = due + self._interval
        if len(self._due) > _ADDRESSES:
            self._due = {address: due for address, due in self._due.items() if due > now}
        return 0.0


class Limits:
    """ASGI middleware: refuses a request by its size and its caller's pace, before anything of it is read.

    What is refused is received all the same, and dropped: a caller that is cut off while it sends sees no answer.
    """

    def __init__(self, app: ASGIApp):
        self._app = app
        rate, burst = settings().rate_limit, max(1, settings().queue_length // 2)
        self._calls = Allowance(per_minute=rate, burst=burst) if rate else None
        # A batch of photos is one call and an upload for each.
        self._uploads = Allowance(per_minute=4 * rate, burst=4 * _PHOTOS_OF_AN_UPLOAD) if rate else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            return await self._app(scope, receive, send)
        upload = scope["path"].endswith("/upload")
        allowance = self._uploads if upload else self._calls
        if allowance and (seconds := allowance.wait(client_of(scope))):
            again = math.ceil(seconds)
            sentence = f"Over the limit of {settings().rate_limit} requests a minute. Try again in {again} s."
            response = refusal(sentence, 429, seconds=again)
        elif (count := _declared(scope)) is not None and count > (limit := _most_bytes(scope, upload)):
            response = _too_large(count, limit)
        else:
            return await self._counted(scope, receive, send, _most_bytes(scope, upload))
        await drain(scope, receive)
        return await response(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """Cut off a body that did not declare its size and is over the limit: to the app, the caller is gone."""
        count, answered = 0, False

        async def receive_counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            return {"type": "http.disconnect"} if count > limit else message

        async def send_unless_over(message: Message) -> None:
            nonlocal answered
            if count <= limit or answered:
                await send(message)
                answered = True

        try:
            await self._app(scope, receive_counted, send_unless_over)
        except Exception:
            if count <= limit:
                raise
        if count > limit and not answered:
            await drain(scope, receive)
            await _too_large(count, limit)(scope, receive, send)


def client_of(scope: Scope) -> str:
    """The address a request came from, as uvicorn has found it out (FORWARDED_ALLOW_IPS).

    Of IPv6 its network of 64 bits: a household has one, and may take a new address of it for each request.
    """
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


def refusal(sentence: str, status: int, *, seconds: int | None = None) -> JSONResponse:
    """Our answer to a request that is not served: `{"error": <a sentence>}`."""
    headers = {"Retry-After": str(seconds)} if seconds else None
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)


async def drain(scope: Scope, receive: Receive) -> None:
    """Receive what is still on its way, unless the caller waits for our consent (curl does, before a large photo)."""
    if "expect" in Headers(scope=scope):
        return
    with anyio.move_on_after(_DRAIN_SECONDS):
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            pass


def _declared(scope: Scope) -> int | None:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isdecimal() else None


def _most_bytes(scope: Scope, upload: bool) -> int:
    photo = settings().max_bytes + _AROUND_THE_PHOTO
    if upload:
        return _PHOTOS_OF_AN_UPLOAD * photo
    return photo if scope["path"] == "/classify" else _JSON_BYTES


def _too_large(count: int, limit: int) -> JSONResponse:
    return refusal(
        f"The request: {count / 1e6:.1f} MB is over the limit of {limit / 1e6:.1f} MB. Send a smaller copy.", 413
    )
