"""What can be uploaded, as parts: bytes, files, streams, iterators.

Rule: a source either has a size and can be read anywhere, by several at once and again (bytes, files
by path), or it is read once, in order, one part ahead. Nothing holds more than a part for each reader.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import IO, Any, Protocol, cast

from holdfast.client.address import Buffer
from holdfast.client.backend import INLINE_BYTES_MAX, Backend
from holdfast.client.errors import InvalidRequest

Body = Buffer | str | os.PathLike[str] | IO[bytes] | Iterable[Buffer] | AsyncIterable[Buffer]


class Source(Protocol):
    #: bytes, None when nobody knows
    size: int | None
    #: can be read at any offset, by several at once
    is_random: bool
    #: a name for messages and journals, "" for what has none
    name: str

    async def read_at(self, offset: int, count: int) -> Buffer:
        """Exactly `count` bytes. Raises InvalidRequest where they are missing."""
        ...

    async def read_next(self, count: int) -> list[Buffer]:
        """`count` bytes in pieces, fewer only at the end."""
        ...

    def close(self) -> None: ...


class BytesSource:
    is_random = True
    name = ""

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")
        self.size: int | None = len(self._view)
        self._pos = 0

    async def read_at(self, offset: int, count: int) -> Buffer:
        return self._view[offset : offset + count]

    async def read_next(self, count: int) -> list[Buffer]:
        piece = self._view[self._pos : self._pos + count]
        self._pos += len(piece)
        return [piece] if piece else []

    def close(self) -> None:
        self._view.release()


class FileSource:
    """A file by its path. It is opened once and read by offset."""

    is_random = True

    def __init__(self, backend: Backend, path: os.PathLike[str]) -> None:
        self._backend = backend
        self.name = os.path.abspath(path)
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        status = os.fstat(self._fd)
        self.size: int | None = status.st_size
        self.modified_ns = status.st_mtime_ns
        self._pos = 0

    async def read_at(self, offset: int, count: int) -> Buffer:
        if count <= INLINE_BYTES_MAX:
            return self._read(offset, count)
        return await self._backend.call(self._read, offset, count)

    def _read(self, offset: int, count: int) -> Buffer:
        out = bytearray(count)
        view = memoryview(out)
        done = 0
        while done < count:
            if hasattr(os, "preadv"):
                got = os.preadv(self._fd, [view[done:]], offset + done)
            else:
                os.lseek(self._fd, offset + done, os.SEEK_SET)
                data = os.read(self._fd, count - done)
                got = len(data)
                view[done : done + got] = data
            if not got:
                raise InvalidRequest(message=f"{self.name} became shorter while it was read")
            done += got
        return view

    async def read_next(self, count: int) -> list[Buffer]:
        assert self.size is not None
        count = min(count, self.size - self._pos)
        if not count:
            return []
        piece = await self.read_at(self._pos, count)
        self._pos += count
        return [piece]

    def close(self) -> None:
        os.close(self._fd)


class StreamSource:
    """A file object or iterator: read once, in order. `size` is a promise that is checked."""

    is_random = False
    name = ""

    def __init__(self, backend: Backend, pieces: Iterator[Buffer], size: int | None) -> None:
        self._backend = backend
        self._pieces = pieces
        self.size = size
        self._rest = memoryview(b"")

    async def read_at(self, offset: int, count: int) -> Buffer:
        pieces = await self.read_next(count)
        if sum([len(piece) for piece in pieces]) != count:
            raise InvalidRequest(message="the stream ended before the size that was promised")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_next(self, count: int) -> list[Buffer]:
        return await self._backend.call(self._take, count)

    def _take(self, count: int) -> list[Buffer]:
        taken: list[Buffer] = []
        while count:
            if not self._rest:
                try:
                    self._rest = _bytes_view(next(self._pieces))
                except StopIteration:
                    break
                continue
            piece = self._rest[:count]
            self._rest = self._rest[len(piece) :]
            count -= len(piece)
            taken.append(piece)
        return taken

    def close(self) -> None:
        pass


class AsyncSource(StreamSource):
    """An asynchronous iterator: pulled where the store runs."""

    def __init__(self, backend: Backend, pieces: AsyncIterator[Buffer], size: int | None) -> None:
        super().__init__(backend, iter(()), size)
        self._async_pieces = pieces

    async def read_next(self, count: int) -> list[Buffer]:
        taken: list[Buffer] = []
        while count:
            if not self._rest:
                try:
                    self._rest = _bytes_view(await anext(self._async_pieces))
                except StopAsyncIteration:
                    break
                continue
            piece = self._rest[:count]
            self._rest = self._rest[len(piece) :]
            count -= len(piece)
            taken.append(piece)
        return taken


def _bytes_view(piece: Buffer | str) -> memoryview:
    if isinstance(piece, str):
        raise TypeError("an iterator of a body gives bytes, not text")
    return memoryview(piece).cast("B")


#: read from a file object at once
STREAM_BYTES = 1024 * 1024


def _read_pieces(file: IO[bytes]) -> Iterator[Buffer]:
    while piece := file.read(STREAM_BYTES):
        yield piece


def _file_size(file: IO[bytes]) -> int | None:
    """What is left of a file object from where it stands, if it can tell."""
    try:
        if not file.seekable():
            return None
        here = file.tell()
        end = file.seek(0, os.SEEK_END)
        file.seek(here)
    except (AttributeError, OSError, ValueError):
        return None
    return max(end - here, 0)


def open_source(backend: Backend, body: Body, size: int | None = None) -> Source:
    """Raises OSError (a path), TypeError (something else than a body)."""
    if isinstance(body, str):
        return BytesSource(body.encode())
    if isinstance(body, (bytes, bytearray, memoryview)):
        return BytesSource(body)
    if isinstance(body, os.PathLike):
        return FileSource(backend, body)
    if hasattr(body, "__aiter__"):
        return AsyncSource(backend, aiter(cast(AsyncIterable[Buffer], body)), size)
    if hasattr(body, "read"):
        file = cast(IO[bytes], body)
        known = size if size is not None else _file_size(file)
        return StreamSource(backend, _read_pieces(file), known)
    if hasattr(body, "__iter__"):
        return StreamSource(backend, iter(body), size)
    raise TypeError(f"{_kind(body)} is no body: give bytes, a path, a file or an iterator of bytes")


def _kind(value: Any) -> str:
    return type(value).__name__
