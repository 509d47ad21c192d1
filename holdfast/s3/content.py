"""Stored content read again by the server itself: to copy a stretch of it, or to hash it anew.

Memory is one buffer, whatever the size; disk and hashing happen off the loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

from holdfast.http.message import FileBody, Region
from holdfast.s3.checksums import Algorithm, encode_digest, running

#: bytes read and hashed at once
PIECE_BYTES = 1024 * 1024


class ContentSource:
    """A body out of files as a source for the blob store. The caller closes the body."""

    def __init__(self, body: FileBody) -> None:
        self._regions: AsyncIterator[Region] | Iterator[Region] = (
            aiter(body.regions) if isinstance(body.regions, AsyncIterator) else iter(body.regions)
        )
        self._region = Region(-1, 0, 0)

    async def fill(self, view: memoryview) -> int:
        """See blobs.contract.Source. Raises EOFError when a file is shorter than its row says."""
        loop = asyncio.get_running_loop()
        done = 0
        while done < len(view) and await self._advance():
            fd, offset, count = self._region
            piece = view[done : done + count]
            read = await loop.run_in_executor(None, os.preadv, fd, [piece], offset)
            if not read:
                raise EOFError(f"content ends at {offset}")
            done += read
            self._region = Region(fd, offset + read, count - read)
        return done

    async def _advance(self) -> bool:
        """Whether there is more to read."""
        while not self._region.count:
            if isinstance(self._regions, AsyncIterator):
                following = await anext(self._regions, None)
            else:
                following = next(self._regions, None)
            if following is None:
                return False
            self._region = following
        return True


class BytesSource:
    """Content in memory as a source for the blob store."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._left = memoryview(data)

    async def fill(self, view: memoryview) -> int:
        """See blobs.contract.Source."""
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


async def checksum_of(body: FileBody, alg: Algorithm) -> str:
    """The checksum (base64) of all of `body`, which is closed afterwards."""
    loop = asyncio.get_running_loop()
    digest = running(alg)
    view = memoryview(bytearray(min(PIECE_BYTES, max(body.length, 1))))
    source = ContentSource(body)
    try:
        while count := await source.fill(view):
            await loop.run_in_executor(None, digest.update, view[:count])
    finally:
        body.close()
    return encode_digest(digest.digest())
