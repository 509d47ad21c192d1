"""Request bodies: pulled by the handler, fed by the connection.

Rule: at most `read_ahead_bytes_max` bytes wait here for the handler; beyond that the connection
stops reading. While a `fill` waits, the socket writes straight into the caller's view, never past
what is known to be this body's data, so that a pipelined request can't land in it.
A body is complete when its last byte came off the wire, and ended when the handler has it too.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from holdfast.http.chunked import ChunkedDecoder
from holdfast.http.limits import Limits
from holdfast.http.message import BadBody, BodyTooLarge, ClientDisconnected

_READ_PIECE_BYTES = 64 * 1024


class Feeder(Protocol):
    """What a body asks of its connection."""

    def new_waiter(self) -> asyncio.Future[int]:
        """A future of the connection's loop; lets the client send (100 Continue, reading on)."""

    def hold_reading(self) -> None:
        """The view is full: read nothing until the next `new_waiter`."""

    def body_complete(self, surplus: bytes) -> None:
        """The last byte came; `surplus` was received behind it and belongs to the next request."""

    def close_after_response(self) -> None:
        """The rest of the body is not wanted, or can't be told: no request may follow it."""


class WholeBody:
    """A body that came along with its head: the usual small one. Nothing is waited for."""

    __slots__ = ("_data", "_start", "length")

    def __init__(self, data: bytes) -> None:
        self.length: int | None = len(data)
        self._data = data
        self._start = 0

    def take(self) -> bytes | None:
        if self._start:
            return None
        self._start = len(self._data)
        return self._data

    async def read(self, limit_bytes: int) -> bytes:
        if len(self._data) > limit_bytes:
            raise BodyTooLarge(f"{self.length} bytes, at most {limit_bytes} taken")
        start, self._start = self._start, len(self._data)
        return self._data[start:]

    async def fill(self, view: memoryview) -> int:
        start = self._start
        count = min(len(self._data) - start, len(view))
        view[:count] = self._data[start : start + count]
        self._start = start + count
        return count


#: no body at all; without bytes it has no state, so that one serves every request
EMPTY_BODY = WholeBody(b"")


class WireBody:
    """What bodies with a length and chunked ones share: the waiting `fill`."""

    __slots__ = (
        "_error",
        "_feeder",
        "_filled",
        "_target",
        "_waiter",
        "complete",
        "length",
        "received",
    )

    def __init__(self, feeder: Feeder, length: int | None) -> None:
        self.length = length
        #: whether the last byte has come off the wire
        self.complete = False
        #: bytes off the wire, framing included; the sweep reads it as a sign of life
        self.received = 0
        self._feeder = feeder
        self._error: Exception | None = None
        self._target: memoryview | None = None
        self._filled = 0
        self._waiter: asyncio.Future[int] | None = None

    @property
    def waiting(self) -> bool:
        """Whether a `fill` waits for the client."""
        return self._waiter is not None and not self._waiter.done()

    # for the handler

    def take(self) -> bytes | None:
        raise NotImplementedError

    async def read(self, limit_bytes: int) -> bytes:
        raise NotImplementedError

    async def fill(self, view: memoryview) -> int:
        if self._waiter is not None:
            raise RuntimeError("another fill of this body is under way")
        filled = self._pull(view)
        if filled == len(view) or self.complete:
            return filled
        if self._error is not None:
            raise self._error
        self._filled = filled
        self._waiter = self._feeder.new_waiter()
        self._target = view
        waiter = self._waiter
        try:
            return await waiter
        finally:
            self._target = self._waiter = None
            if not waiter.done() or waiter.cancelled():
                # bytes may have gone into a view that nobody looks at any more
                self.fail(ClientDisconnected("a fill was abandoned"))

    # for the connection

    def direct_view(self) -> memoryview | None:
        """Where the socket may write next; None when the bytes must pass through `receive`."""
        raise NotImplementedError

    def advance(self, count: int) -> None:
        """`count` bytes were written into the direct view."""
        raise NotImplementedError

    def receive(self, data: memoryview) -> int:
        """Take what is the body's; returns how many bytes. Keeps what no `fill` waits for."""
        raise NotImplementedError

    def discard(self) -> None:
        """Drop what was kept. Raises BadBody."""
        raise NotImplementedError

    @property
    def held_bytes(self) -> int:
        """Received, and not yet asked for."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """No more bytes will come: the waiting `fill`, or the next one that would wait, raises."""
        if self._error is None:
            self._error = error
        self._feeder.close_after_response()
        if self.waiting and self._waiter is not None:
            self._target = None
            self._waiter.set_exception(self._error)

    def _pull(self, view: memoryview) -> int:
        """Move what was kept into `view`; returns the number of bytes. Raises BadBody."""
        raise NotImplementedError

    def _settle(self, full: bool) -> None:
        """Wake the waiting fill when its view is full or the body is complete."""
        if not (full or self.complete):
            return
        self._target = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(self._filled)
        if not self.complete:
            self._feeder.hold_reading()


class LengthBody(WireBody):
    """A body with a Content-Length: bytes are counted, nothing is parsed."""

    __slots__ = ("_kept", "_kept_start", "left")

    def __init__(self, feeder: Feeder, length: int) -> None:
        super().__init__(feeder, length)
        #: bytes still to come off the wire
        self.left = length
        self._kept: bytes | bytearray = b""
        self._kept_start = 0

    def take(self) -> bytes | None:
        kept = self._kept
        if len(kept) != self.length or self._kept_start:
            return None
        self._kept_start = len(kept)
        return bytes(kept)

    async def read(self, limit_bytes: int) -> bytes:
        assert self.length is not None
        if self.length > limit_bytes:
            if not self.complete:
                self._feeder.close_after_response()
            raise BodyTooLarge(f"{self.length} bytes, at most {limit_bytes} taken")
        data = self.take()
        if data is not None:
            return data
        buffer = bytearray(self.left + len(self._kept) - self._kept_start)
        with memoryview(buffer) as view:
            await self.fill(view)
        return bytes(buffer)

    def direct_view(self) -> memoryview | None:
        target = self._target
        if target is None:
            return None
        return target[self._filled : self._filled + self.left]

    def advance(self, count: int) -> None:
        self.received += count
        self._filled += count
        self._come(count, self._target is not None and self._filled == len(self._target))

    def receive(self, data: memoryview) -> int:
        count = min(len(data), self.left)
        self.received += count
        if not self._kept:
            self._kept = bytes(data[:count])
        else:
            if isinstance(self._kept, bytes):
                self._kept = bytearray(self._kept)
            del self._kept[: self._kept_start]
            self._kept_start = 0
            self._kept += data[:count]
        self._come(count, full=False)
        return count

    def discard(self) -> None:
        self._kept = b""
        self._kept_start = 0

    @property
    def held_bytes(self) -> int:
        return len(self._kept) - self._kept_start

    def _come(self, count: int, full: bool) -> None:
        self.left -= count
        if not self.left:
            self.complete = True
            self._feeder.body_complete(b"")
        self._settle(full)

    def _pull(self, view: memoryview) -> int:
        start = self._kept_start
        count = min(len(self._kept) - start, len(view))
        if count:
            with memoryview(self._kept) as kept:
                view[:count] = kept[start : start + count]
            self._kept_start = start + count
            if self._kept_start == len(self._kept):
                self.discard()
        return count


class ChunkedBody(WireBody):
    """A body in the chunked coding, decoded when it is asked for."""

    __slots__ = ("_decoded", "_decoder", "_started")

    def __init__(self, feeder: Feeder, limits: Limits) -> None:
        super().__init__(feeder, None)
        self._decoder = ChunkedDecoder(limits)
        # decoded by a `take` that found no end; handed out first
        self._decoded = b""
        self._started = False

    def take(self) -> bytes | None:
        if not self._started:
            buffer = bytearray(len(self._decoded) + len(self._decoder.raw))
            with memoryview(buffer) as view:
                count = self._pull(view)
            self._started = False
            self._decoded = bytes(buffer[:count])
        if self._started or not self.complete:
            return None
        self._started = True
        data, self._decoded = self._decoded, b""
        return data

    async def read(self, limit_bytes: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        piece = bytearray(_READ_PIECE_BYTES)
        while True:
            with memoryview(piece) as view:
                count = await self.fill(view)
            size += count
            if size > limit_bytes:
                self._feeder.close_after_response()
                raise BodyTooLarge(f"more than {limit_bytes} bytes")
            parts.append(bytes(piece[:count]))
            if count < len(piece):
                return b"".join(parts)

    def direct_view(self) -> memoryview | None:
        target = self._target
        decoder = self._decoder
        if target is None or decoder.raw or not decoder.run:
            return None
        return target[self._filled : self._filled + decoder.run]

    def advance(self, count: int) -> None:
        self.received += count
        self._filled += count
        self._decoder.skip(count)
        # the end may follow at once: seen by the next receive, or the next fill
        self._settle(self._target is not None and self._filled == len(self._target))

    def receive(self, data: memoryview) -> int:
        self.received += len(data)
        self._decoder.raw += data
        target = self._target
        if target is not None:
            try:
                self._filled += self._decode(target[self._filled :])
            except BadBody as error:
                self.fail(error)
            else:
                self._settle(self._filled == len(target))
        return len(data)

    def discard(self) -> None:
        self._decoded = b""
        with memoryview(bytearray(_READ_PIECE_BYTES)) as sink:
            while not self.complete and self._decode(sink):
                pass

    @property
    def held_bytes(self) -> int:
        return len(self._decoded) + len(self._decoder.raw)

    def _decode(self, view: memoryview) -> int:
        if self.complete:
            return 0
        try:
            count = self._decoder.decode(view)
        except BadBody as error:
            self._error = error
            self._feeder.close_after_response()
            raise
        if self._decoder.ended:
            self.complete = True
            surplus = bytes(self._decoder.raw)
            self._decoder.raw.clear()
            self._feeder.body_complete(surplus)
        return count

    def _pull(self, view: memoryview) -> int:
        self._started = True
        if isinstance(self._error, BadBody):
            raise self._error
        count = min(len(self._decoded), len(view))
        if count:
            view[:count] = self._decoded[:count]
            self._decoded = self._decoded[count:]
        return count + self._decode(view[count:])
