"""What stands before every request: names, origins, the token, sizes, pace and patience."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from hdsmlm.config.service import LimitsConfig, ServiceConfig
from hdsmlm.service.problems import Refusal, server_fault

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_ADDRESSES = 10_000
_LEAST_BYTES_PER_S = 4096
"""Pace below which the sender of a body counts as stalling, once it had time to start."""
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Pace:
    """A bucket per address: so many requests at once, so many a second.

    Parameters
    ----------
    per_second, burst : float
        Refill and size.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str, cost: float = 1.0) -> float:
        """Take ``cost`` from a bucket; return 0, or the seconds until there is enough."""
        now = self._clock()
        level, since = self._buckets.pop(address, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._per_second)
        wait = max(0.0, (cost - level) / self._per_second)
        self._buckets[address] = (level if wait else level - cost, now)
        while len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        return wait


class Gate:
    """ASGI middleware that refuses what is not to reach the application.

    Parameters
    ----------
    app : ASGIApp
        What lies behind.
    config : ServiceConfig
        Names, token and limits.
    """

    def __init__(self, app: ASGIApp, config: ServiceConfig) -> None:
        self._app, self._config, self._limits = app, config, config.limits
        self._hosts = {name.lower() for name in (*_LOOPBACK_NAMES, config.host, *config.hosts)}
        self._pace = Pace(self._limits.requests_per_second, self._limits.requests_burst)
        failures = self._limits.failed_logins_per_minute
        self._failures = Pace(failures / 60, failures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on with bounded patience."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        guarded = _Answer(send, self._limits)
        try:
            self._check(scope)
        except Refusal as refusal:
            await refusal.answer()(scope, receive, guarded.send)
            return
        body = _Body(receive, self._most_bytes(scope), self._limits.idle_s)
        try:
            await self._app(scope, body.receive, guarded.send)
        except TimeoutError:
            return  # the client does not read its answer: the connection is dropped
        except Exception:  # a fault of ours: answered here for the headers, logged further out
            if not guarded.begun:
                await server_fault().answer()(scope, receive, guarded.send)
            raise

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        address = (scope.get("client") or ("?",))[0]
        wait_s = self._pace.wait_s(address)
        if wait_s:
            raise Refusal(
                429,
                "too many requests at once; wait a moment",
                headers={"Retry-After": str(max(1, round(wait_s + 0.5)))},
            )
        self._check_names(scope, headers)
        self._check_token(scope, headers, address)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most_bytes(scope):
            raise Refusal(
                413,
                f"the body is too large; up to {self._most_bytes(scope)} bytes are taken here",
                headers={"Connection": "close"},
            )

    def _check_names(self, scope: Scope, headers: Headers) -> None:
        """Refuse foreign names (DNS rebinding) and requests that another site's page made."""
        host = headers.get("host", "")
        if host_name(host) not in self._hosts:
            raise Refusal(
                403,
                "this server is not known by that name; the person who runs it adds names with "
                "--host-name",
            )
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2].lower() != host.lower()
        if headers.get("sec-fetch-site") == "cross-site" and scope["path"] != "/":
            foreign = True
        if foreign and (scope["method"] not in ("GET", "HEAD") or _is_api(scope["path"])):
            raise Refusal(403, "pages of other sites may not use this server")

    def _check_token(self, scope: Scope, headers: Headers, address: str) -> None:
        token = self._config.token
        if token is None or not _is_api(scope["path"]):
            return
        given = headers.get("authorization", "")
        if hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {token}".encode()):
            return
        if self._failures.wait_s(address):
            raise Refusal(
                429, "too many wrong tokens; wait a minute", headers={"Retry-After": "60"}
            )
        raise Refusal(
            401,
            "this server asks for its token; the person who runs it has it",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _most_bytes(self, scope: Scope) -> int:
        from hdsmlm.service.api_movies import MOST_PATCH_BYTES

        return MOST_PATCH_BYTES if scope["method"] == "PATCH" else self._limits.json_bytes


def _is_api(path: str) -> bool:
    return path.startswith("/api/") or path == "/openapi.json"


def host_name(header: str) -> str:
    """Return the name in a Host header, without the port.

    Examples
    --------
    >>> host_name("Localhost:8765"), host_name("[::1]:80")
    ('localhost', '::1')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()


class _Body:
    """Receives a body up to its limit, from a client that goes on sending."""

    def __init__(self, receive: Receive, most_bytes: int, idle_s: float) -> None:
        self._receive, self._most, self._idle_s = receive, most_bytes, idle_s
        self._came, self._complete = 0, False
        self._began = time.monotonic()

    async def receive(self) -> Message:
        """Return the next message."""
        if self._complete:
            return await self._receive()  # only waits for the client to leave
        try:
            message = await asyncio.wait_for(self._receive(), self._idle_s)
        except TimeoutError:
            raise _refused(408, "the client stopped sending; send the rest again") from None
        self._came += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._came > self._most:
            raise _refused(413, f"the body is too large; up to {self._most} bytes are taken here")
        slow_s = time.monotonic() - self._began - self._idle_s
        if not self._complete and slow_s > 0 and self._came < slow_s * _LEAST_BYTES_PER_S:
            raise _refused(408, "the client sends too slowly; send the rest again")
        return message


def _refused(status: int, message: str) -> HTTPException:
    """Return a refusal in the midst of a body, of the kind that FastAPI passes on as it is."""
    return HTTPException(status, message, headers={"Connection": "close"})


class _Answer:
    """Sends with the headers that every answer has, to a client that goes on reading."""

    def __init__(self, send: Send, limits: LimitsConfig) -> None:
        self._send, self._idle_s = send, limits.idle_s
        self.begun = False

    async def send(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await asyncio.wait_for(self._send(message), self._idle_s)


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which closes connections on which no whole header arrives in time.

    uvicorn itself waits for ever for a client that sends a header letter by letter.
    """

    header_s = 10.0
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a header."""
        super().connection_made(transport)
        self._wait_for_header()

    def data_received(self, data: bytes) -> None:
        """Take data; a whole header ends the wait."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._header_timer is None:
            self._wait_for_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_header(self) -> None:
        self._header_timer = self.loop.call_later(self.header_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _give_up(self) -> None:
        self._header_timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def patient_protocol(header_s: float) -> type[PatientProtocol]:
    """Return the protocol with its patience in seconds."""
    return type("Protocol", (PatientProtocol,), {"header_s": header_s})
