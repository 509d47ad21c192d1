"""Bodies on a test's server: counted on their way, slowed down, broken off.

Rule: the wrapped body behaves as the one inside in all but that; a break is what a client sees when
a network fails: the connection ends.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable
from contextlib import aclosing
from typing import TypeVar

from holdfast.http.message import (
    Body,
    BodyTooLarge,
    ClientDisconnected,
    FileBody,
    Region,
    Response,
)

T = TypeVar("T")

#: a throttled body goes in so many pieces a second, each of at most PIECE_BYTES_MAX
PIECES_PER_SECOND = 20
PIECE_BYTES_MAX = 256 * 1024


class CutByTest(ConnectionError):
    """A response ends here because a test wants it."""


class Upload:
    """A request's body. `cut_after`: bytes that are read before the connection breaks."""

    def __init__(self, body: Body, cut_after: int | None, bytes_per_second: float | None) -> None:
        self.length = body.length
        #: bytes that the operation has read
        self.received = 0
        self._body = body
        self._left = cut_after
        self._rate = bytes_per_second
        self._plain = cut_after is None and bytes_per_second is None

    def take(self) -> bytes | None:
        data = self._body.take() if self._plain else None
        self.received += len(data or b"")
        return data

    async def read(self, limit_bytes: int) -> bytes:
        if self._left is not None:  # the fill breaks off, at the latest at the end
            with memoryview(bytearray(limit_bytes)) as view:
                await self.fill(view)
            raise BodyTooLarge(f"more than {limit_bytes} bytes")
        data = await self._body.read(limit_bytes)
        self.received += len(data)
        if self._rate is not None:
            await asyncio.sleep(len(data) / self._rate)
        return data

    async def fill(self, view: memoryview) -> int:
        if self._plain:
            count = await self._body.fill(view)
            self.received += count
            return count
        done = 0
        while done < len(view):
            piece = view[done : done + _piece_bytes(self._rate)]
            if self._left is not None:
                piece = piece[: self._left]
            count = await self._body.fill(piece) if len(piece) else 0
            done += count
            self.received += count
            ended = count < len(piece) or self.received == self.length
            if self._left is not None:
                self._left -= count
                if ended or not self._left:
                    raise ClientDisconnected("cut off by a test")
            if self._rate is not None:
                await asyncio.sleep(count / self._rate)
            if ended:
                break
        return done


def shape(response: Response, cut_after: int | None, bytes_per_second: float | None) -> int:
    """Let the body of `response` break off or go slowly; the bytes of it that are sent."""
    body = response.body
    if isinstance(body, bytes):
        body = _as_file(body)
    if isinstance(body, FileBody):
        count = body.length
        if cut_after is not None:
            cut_after = count = min(cut_after, body.length - 1)
        regions = _regions(body.regions, cut_after, bytes_per_second)
        response.body = FileBody(body.length, regions, body.close)
        return count
    response.body = _parts(body, cut_after, bytes_per_second)
    return 0


def _as_file(data: bytes) -> FileBody:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the body
    file.write(data)
    file.flush()
    return FileBody(len(data), iter((Region(file.fileno(), 0, len(data)),)), file.close)


async def _regions(
    regions: Iterable[Region] | AsyncIterator[Region], left: int | None, rate: float | None
) -> AsyncIterator[Region]:
    async with aclosing(_each(regions)) as each:
        async for fd, offset, count in each:
            while count:
                if left == 0:
                    raise CutByTest("cut off by a test")
                piece = min(count, _piece_bytes(rate))
                if left is not None:
                    piece = min(piece, left)
                    left -= piece
                yield Region(fd, offset, piece)
                offset += piece
                count -= piece
                if rate is not None:
                    await asyncio.sleep(piece / rate)


async def _parts(
    parts: AsyncIterator[bytes], left: int | None, rate: float | None
) -> AsyncIterator[bytes]:
    async with aclosing(_each(parts)) as each:
        async for part in each:
            if left is not None:
                part = part[:left]
                left -= len(part)
            yield part
            if rate is not None:
                await asyncio.sleep(len(part) / rate)
            if left == 0:
                break
    if left is not None:
        raise CutByTest("cut off by a test")


async def _each(items: Iterable[T] | AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """All of them; whatever happens, the iterator that makes them is closed."""
    try:
        if isinstance(items, AsyncIterator):
            async for item in items:
                yield item
        else:
            for item in items:
                yield item
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()
        elif isinstance(items, Generator):
            items.close()


def _piece_bytes(rate: float | None) -> int:
    if rate is None:
        return sys.maxsize
    return max(1, min(PIECE_BYTES_MAX, int(rate / PIECES_PER_SECOND)))
