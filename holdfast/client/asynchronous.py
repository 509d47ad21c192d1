"""The asynchronous face: the coroutines of `operations`, with streams and listings to iterate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import TracebackType
from typing import TypeVar, Unpack

from holdfast.client import listing
from holdfast.client.listing import Page, Query
from holdfast.client.models import (
    BucketInfo,
    DownloadResult,
    ListEntry,
    ObjectInfo,
    UploadEntry,
    VersionEntry,
)
from holdfast.client.operations import Operations, Path_
from holdfast.client.options import ReadConditions
from holdfast.client.progress import ProgressCallback
from holdfast.client.reading import CHUNK_BYTES, ObjectStream, Range

T = TypeVar("T")


class AsyncObjectReader:
    """An object being read: `read`, iterate over its chunks, `seek`, `save`."""

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

    @property
    def closed(self) -> bool:
        return self._stream.closed

    async def read(self, size: int = -1) -> bytes:
        return await self._stream.read(size)

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        return await self._stream.readinto(memoryview(buffer).cast("B"))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.pos

    async def iter_chunks(self, size: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        """Pieces of at most `size` bytes, as they come."""
        buffer = memoryview(bytearray(size))
        while count := await self._stream.readinto(buffer):
            yield bytes(buffer[:count])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.iter_chunks()

    async def save(
        self, path: Path_, *, progress: ProgressCallback | None = None
    ) -> DownloadResult:
        """All of it to a file, which appears when it is whole. Of a stream not yet read from."""
        return await self._operations.save_stream(self._stream, path, progress)

    async def close(self) -> None:
        await self._stream.finish()

    async def __aenter__(self) -> AsyncObjectReader:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncObjectStore(Operations):
    """An S3 server, asynchronously. Made by `ObjectStore.connect_async`; belongs to one event loop.
    Close it, or use it as a context manager."""

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        range: Range | None = None,
        part_number: int | None = None,
        **conditions: Unpack[ReadConditions],
    ) -> AsyncObjectReader:
        """An object as a stream; its head has been read, so `info` is known. `range`: (first, end),
        end exclusive, (first, None), (-last_bytes, None). Raises NoSuchKey, NotModified,
        PreconditionFailed, InvalidRange."""
        stream = await self.open_object(
            bucket,
            key,
            version_id=version_id,
            range=range,
            part_number=part_number,
            **conditions,
        )
        return AsyncObjectReader(self, stream)

    def list_buckets(self, prefix: str = "") -> AsyncIterator[BucketInfo]:
        return _all(lambda following: listing.buckets_page(self.session, prefix, following))

    def list_objects(
        self,
        bucket: str,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[ListEntry]:
        """In the order of keys; with a delimiter, common prefixes among them (`is_prefix`)."""
        start = [("start-after", start_after)] if start_after else []
        return _all(
            lambda following: listing.objects_page(
                self.session, bucket, prefix, delimiter, following, limit
            ),
            start,
            limit,
        )

    def list_versions(
        self, bucket: str, prefix: str = "", *, delimiter: str = "", limit: int | None = None
    ) -> AsyncIterator[VersionEntry]:
        """Versions and delete markers, by key, the newest first."""
        return _all(
            lambda following: listing.versions_page(
                self.session, bucket, prefix, delimiter, following, limit
            ),
            [],
            limit,
        )

    def list_uploads(self, bucket: str, prefix: str = "") -> AsyncIterator[UploadEntry]:
        """Multipart uploads that were begun, and neither completed nor aborted."""
        return _all(lambda following: listing.uploads_page(self.session, bucket, prefix, following))

    async def close(self) -> None:
        self.session.close()
        await self.session.backend.sleep(0)  # transports end in the loop's next step

    async def __aenter__(self) -> AsyncObjectStore:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __await__(self) -> Generator[None, None, AsyncObjectStore]:
        """`store = await ObjectStore.connect_async(…)` is the same as without await."""
        yield from ()
        return self


async def _all(
    page: Callable[[Query], Awaitable[Page[T]]],
    start: Query | None = None,
    limit: int | None = None,
) -> AsyncIterator[T]:
    following: Query | None = start or []
    left = limit
    while following is not None and left != 0:
        entries, following = await page(following)
        for entry in entries if left is None else entries[:left]:
            yield entry
        if left is not None:
            left = max(left - len(entries), 0)
