"""What all connections of a worker share: the handler, the receive buffer, the sweep, the drain.

One coarse timer per worker looks at every connection's deadline, and only while there are any; so a
request costs no timer, and an idle worker nothing at all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from holdfast.http.access import AccessRecord
from holdfast.http.connection import Connection
from holdfast.http.encode import DateCache, reason_phrase
from holdfast.http.limits import Limits
from holdfast.http.message import Handler, Response

#: (status, reason, request id) -> the answer to a request that broke the protocol or failed
ErrorResponse = Callable[[int, str, str], Response]

# an odd factor permutes the 64-bit numbers: ids never repeat, and don't look like a counter
_ID_FACTOR = 0x9E3779B97F4A7C15
_ID_MASK = (1 << 64) - 1


def plain_error(status: int, reason: str, request_id: str) -> Response:
    """The error response of a server that was given no other: text/plain."""
    text = f"{status} {reason_phrase(status)}: {reason}\nrequest id {request_id}\n"
    return Response(status, [("Content-Type", "text/plain")], text.encode("latin-1", "replace"))


class HttpServer:
    """One worker's HTTP side; use `loop.create_server(lambda: server.protocol(False), ...)`."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        *,
        loop: asyncio.AbstractEventLoop,
        log: Callable[[AccessRecord], None] | None = None,
        error_response: ErrorResponse = plain_error,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.loop = loop
        self.log = log
        self.error_response = error_response
        self.date = DateCache()
        self.draining = False
        #: open connections, and closed ones whose handler still runs
        self.connections: set[Connection] = set()
        #: the loop's time at the last sweep, in seconds: near enough for deadlines
        self.now = loop.time()
        self.recv_buffer = bytearray(limits.recv_buffer_bytes)
        self.recv_view = memoryview(self.recv_buffer)
        #: offered while what arrives may have to be kept
        self.recv_view_small = self.recv_view[: limits.read_ahead_bytes_max]
        self._next_id = int.from_bytes(os.urandom(8), "big")
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None

    def protocol(self, secure: bool) -> asyncio.BufferedProtocol:
        """A protocol for one new connection; `secure` when it comes over TLS."""
        return Connection(self, secure)

    def new_request_id(self) -> str:
        """16 upper-case hexadecimal digits, unique in this process."""
        self._next_id = number = (self._next_id + _ID_FACTOR) & _ID_MASK
        return f"{number:016X}"

    async def drain(self, grace_seconds: float) -> None:
        """Close idle connections now, others after their request, the rest after the grace time.

        Returns when none is left and every handler has ended, at the latest (nearly) after the
        grace time. New connections are still answered, once each: close the listeners first.
        """
        self.draining = True
        for connection in tuple(self.connections):
            connection.close_if_idle()
        if not self.connections:
            return
        self._empty = self.loop.create_future()
        timer = self.loop.call_later(grace_seconds, self._give_up)
        try:
            await self._empty
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        for connection in tuple(self.connections):
            connection.abort("the server stops")
        # a handler that hangs must not hold up the stop: one more turn, for the transports to close
        self.loop.call_later(0.05, self._set_empty)

    def _set_empty(self) -> None:
        if self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    # for the connections

    def add(self, connection: Connection) -> None:
        self.connections.add(connection)
        if self._sweep_timer is None:
            self.now = self.loop.time()
            self._schedule_sweep()

    def remove(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            if self._sweep_timer is not None:
                self._sweep_timer.cancel()
                self._sweep_timer = None
            self._set_empty()

    def _schedule_sweep(self) -> None:
        self._sweep_timer = self.loop.call_later(self.limits.sweep_seconds, self._sweep)

    def _sweep(self) -> None:
        now = self.loop.time()
        elapsed_seconds = now - self.now
        self.now = now
        self._schedule_sweep()
        for connection in tuple(self.connections):
            connection.check(now, elapsed_seconds)
