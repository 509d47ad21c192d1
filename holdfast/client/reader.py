"""An object as a file of Python's: what the synchronous get_object gives."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from holdfast.client.blocking import run
from holdfast.client.models import DownloadResult, ObjectInfo
from holdfast.client.operations import Operations, Path_
from holdfast.client.progress import ProgressCallback
from holdfast.client.reading import CHUNK_BYTES, ObjectStream


class ObjectReader(io.RawIOBase):
    """An object being read: a raw binary file (`read`, `readinto`, `seek`, `tell`); iterating gives
    chunks, not lines (for lines: `io.TextIOWrapper(io.BufferedReader(reader))`)."""

    def __init__(self, operations: Operations, stream: ObjectStream) -> None:
        self._operations = operations
        self._stream = stream

    @property
    def info(self) -> ObjectInfo:
        return self._stream.info

    @property
    def size(self) -> int:
        """Bytes of this stream: of the range, where one was asked for."""
        return self._stream.size

    @property
    def verified(self) -> str:
        """The algorithm whose checksum was compared, once the whole was read; else ""."""
        return self._stream.verified

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, all that is left by default; fewer only at the end."""
        return run(self._stream.read(-1 if size is None else size))

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        return run(self._stream.readinto(memoryview(buffer).cast("B")))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Costs nothing until the next read, which asks for the rest by range."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.pos

    def iter_chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Pieces of at most `size` bytes, as they come."""
        buffer = memoryview(bytearray(size))
        while count := run(self._stream.readinto(buffer)):
            yield bytes(buffer[:count])

    def __iter__(self) -> Iterator[bytes]:
        return self.iter_chunks()

    def save(self, path: Path_, *, progress: ProgressCallback | None = None) -> DownloadResult:
        """All of it to a file, which appears when it is whole. Of a stream not yet read from."""
        return run(self._operations.save_stream(self._stream, path, progress))

    def close(self) -> None:
        if not self.closed:
            super().close()
            run(self._stream.finish())

    def __enter__(self) -> ObjectReader:
        return self
