"""Flow control of one connection, both ways: the part that knows the transport and no HTTP.

Rule: whoever produces waits while the client does not take (`drained`, `flushed`, `writable`), and
nothing is read while nobody wants it. Every wait ends when the connection is lost.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Final

from holdfast.http.limits import Limits

# the states of a connection, in the order of its life
IDLE: Final = 0  # nothing of a next request was looked at
HEAD: Final = 1  # the beginning of a head is kept
BUSY: Final = 2  # the handler runs, or its response is being sent
DISCARD: Final = 3  # answered; the rest of the body is thrown away
LINGER: Final = 4  # answered for the last time; input is thrown away until the client closes
CLOSING: Final = 5  # the transport was told to close
LOST: Final = 6

# l_onoff, l_linger: close with a reset, so that a body ended by the close can't look whole
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FlowControl(asyncio.BufferedProtocol):
    """Reading paused and resumed, writes that wait, ways to close. It is the senders' Output."""

    __slots__ = (
        "_drain_waiter",
        "_duplicate",
        "_eof",
        "_error",
        "_mark",
        "_mark_at",
        "_reading_paused",
        "_state",
        "_transport",
        "_unread_from",
        "_unread_seconds",
        "_writable_waiter",
        "limits",
        "loop",
        "secure",
        "sent_bytes",
        "writing_paused",
    )

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, secure: bool) -> None:
        self.limits = limits
        self.loop = loop
        self.secure = secure
        self.sent_bytes = 0
        self.writing_paused = False
        self._state: int = IDLE
        self._reading_paused = False
        self._eof = False
        #: why the request under way is refused or broken off
        self._error = ""
        self._mark = -1
        self._mark_at = 0.0
        # of the request under way: how long the sweep found its answer waiting for the client
        self._unread_seconds = 0.0
        self._unread_from = 0
        self._duplicate: socket.socket | None = None
        self._drain_waiter: asyncio.Future[None] | None = None
        self._writable_waiter: asyncio.Future[None] | None = None

    # the transport's callbacks

    def pause_writing(self) -> None:
        self.writing_paused = True
        self._mark = -1

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = LOST
        if self._writable_waiter is not None:
            self._end_writable(ConnectionResetError("the client is gone"))
        if self._duplicate is not None:
            self._duplicate.close()
            self._duplicate = None
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_exception(ConnectionResetError("the client is gone"))

    # reading

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._eof and self._state < CLOSING:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and not self._eof and self._state < CLOSING:
            self._reading_paused = False
            self._transport.resume_reading()

    # writing (Output)

    def write(self, data: bytes) -> None:
        self._need_client()
        self._transport.write(data)

    def duplicate(self) -> socket.socket:
        self._need_client()
        if self._duplicate is None:
            own = self._transport.get_extra_info("socket")
            descriptor = os.dup(own.fileno())
            self._duplicate = socket.socket(own.family, own.type, own.proto, fileno=descriptor)
        return self._duplicate

    async def drained(self) -> None:
        self._need_client()
        if self.writing_paused:
            self._drain_waiter = self.loop.create_future()
            try:
                await self._drain_waiter
            finally:
                self._drain_waiter = None

    async def flushed(self) -> None:
        self._need_client()
        if not self._transport.get_write_buffer_size():
            return
        # the transport tells of an empty buffer only when the limit is zero
        self._transport.set_write_buffer_limits(high=0)
        await self.drained()
        self._transport.set_write_buffer_limits(high=self.limits.write_buffer_bytes)

    async def writable(self) -> None:
        target = self.duplicate().fileno()
        self._mark = -1
        self._writable_waiter = self.loop.create_future()
        self.loop.add_writer(target, self._end_writable, None)
        await self._writable_waiter

    def _end_writable(self, error: ConnectionError | None) -> None:
        waiter, self._writable_waiter = self._writable_waiter, None
        assert self._duplicate is not None
        self.loop.remove_writer(self._duplicate.fileno())
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def _need_client(self) -> None:
        if self._state != BUSY:
            raise ConnectionResetError("the client is gone")

    # closing

    def abort(self, reason: str) -> None:
        """Cut the connection with a reset. A handler under way goes on; its response is lost."""
        self._error = self._error or reason
        if self._state == LOST:
            return
        self._state = CLOSING
        sock = self._transport.get_extra_info("socket")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        except OSError:  # the system closed it already
            pass
        self._transport.abort()

    def _close(self) -> None:
        """Close when everything written has gone out."""
        self._state = CLOSING
        self._mark = -1
        self._transport.close()

    def _check_reader(self, now: float, elapsed_seconds: float) -> None:
        """Cut off a client that takes nothing of what waits for it, or too little."""
        limits = self.limits
        progress = self.sent_bytes - self._transport.get_write_buffer_size()
        if not self._unread_seconds:
            self._unread_from = min(progress, 0)  # below 0: of answers before this one
        self._unread_seconds += elapsed_seconds
        due_bytes = 0.0
        if self._unread_seconds > limits.write_rate_grace_seconds:
            due_bytes = self._unread_seconds * limits.write_bytes_per_second_min
        if self._stalls(now, progress, limits.write_seconds):
            self.abort("the client does not read")
        elif progress - self._unread_from < due_bytes:
            self.abort("the client reads too slowly")

    def _stalls(self, now: float, progress: int, seconds: float) -> bool:
        """Whether `progress` has not changed for so long."""
        if progress != self._mark:
            self._mark = progress
            self._mark_at = now
            return False
        return now - self._mark_at > seconds
