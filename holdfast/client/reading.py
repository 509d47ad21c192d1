"""An object as a stream: read on, again from where it broke, or from anywhere by ranges.

Rule: all bytes of one stream are of one version of the object. Whatever is asked for again, after a
cut or a seek, is asked for by range with If-Match and the version of the first answer. A stream that
was read from its first byte to its last is held against the server's checksum of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from holdfast.client import checksums
from holdfast.client.address import Request
from holdfast.client.errors import ChecksumMismatch, ConnectionFailed, InvalidRange, InvalidRequest
from holdfast.client.models import ObjectInfo
from holdfast.client.options import ReadConditions, object_info, quoted, read_headers
from holdfast.client.session import Session
from holdfast.client.wire import Answer, HttpError

CHUNK_BYTES = 1024 * 1024
#: (first, end), end exclusive; (first, None); (-last_bytes, None); or a slice
Range = tuple[int, int | None] | slice


class ReadSpec(NamedTuple):
    """Which object, version and part; sent with each request for it."""

    bucket: str
    key: str
    version_id: str | None = None
    part_number: int | None = None

    def request(self, headers: Mapping[str, str], method: str = "GET") -> Request:
        query = []
        if self.version_id is not None:
            query.append(("versionId", self.version_id))
        if self.part_number is not None:
            query.append(("partNumber", str(self.part_number)))
        return Request(
            method,
            self.bucket,
            self.key,
            query,
            {"x-amz-checksum-mode": "ENABLED", "accept-encoding": "identity", **headers},
        )


def range_header(wanted: Range) -> str:
    """RFC 9110 section 14.1.2. Raises InvalidRequest."""
    if isinstance(wanted, slice):
        if wanted.step not in (None, 1):
            raise InvalidRequest(message="a range has no step")
        wanted = (wanted.start or 0, wanted.stop)
    first, end = wanted
    if first < 0 and end is None:
        return f"bytes={first}"
    if first < 0 or (end is not None and end <= first):
        raise InvalidRequest(message=f"({first}, {end}) is no range of at least one byte")
    return f"bytes={first}-{'' if end is None else end - 1}"


async def open_stream(
    session: Session,
    spec: ReadSpec,
    wanted: Range | None = None,
    conditions: ReadConditions | None = None,
) -> ObjectStream:
    """Raises S3Error: NoSuchKey, NotModified, PreconditionFailed, InvalidRange …"""
    headers = read_headers(conditions or {})
    if wanted is not None:
        headers["range"] = range_header(wanted)
    answer = await session.send(spec.request(headers))
    return ObjectStream(session, spec, answer)


def content_range(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """(first, end) of `Content-Range: bytes first-last/total`, end exclusive."""
    unit, _, rest = headers.get("content-range", "").partition(" ")
    first, _, last = rest.partition("/")[0].partition("-")
    if unit != "bytes" or not (first.isdigit() and last.isdigit()):
        return None
    return int(first), int(last) + 1


class ObjectStream:
    """What get_object gives, under both faces. One reader at a time."""

    def __init__(self, session: Session, spec: ReadSpec, answer: Answer) -> None:
        self.info: ObjectInfo = object_info(spec.bucket, spec.key, answer.headers)
        self._session = session
        # what is read again is named by the range within the whole, never by a part's number
        self.spec = ReadSpec(spec.bucket, spec.key, spec.version_id or self.info.version_id or None)
        if self.spec.version_id == "null" and not spec.version_id:
            self.spec = self.spec._replace(version_id=None)
        self._answer: Answer | None = answer
        self._answer_pos = 0
        first, end = content_range(answer.headers) or (0, max(self.info.size, 0))
        self._first, self.size = first, end - first
        self._open_ended = self.info.size < 0  # the server gave no length
        self.pos = 0
        self._failures = 0
        self.closed = False
        self._running: checksums.Running | None = None
        self._algorithm = ""
        #: the algorithm that was compared, once the end was reached
        self.verified = ""
        if answer.status == 200:
            self._algorithm = whole_checksum(self.info)
            if self._algorithm:
                self._running = checksums.running(self._algorithm)

    async def readinto(self, view: memoryview) -> int:
        """0 at the end only. Raises ConnectionFailed after all attempts, ChecksumMismatch."""
        if self.closed:
            raise ValueError("the stream is closed")
        while self._open_ended or self.pos < self.size:
            try:
                if self._answer is None or self._answer_pos != self.pos:
                    await self._reopen()
                assert self._answer is not None
                count = await self._answer.readinto(view)
            except HttpError as failure:
                await self._after(failure)
                continue
            if not count and not self._open_ended:
                await self._after(HttpError("the answer ended before the object"))
                continue
            if not count:
                self._open_ended, self.size = False, self.pos
                break
            self._failures = 0
            self._account(view[:count])
            return count
        return 0

    def _account(self, data: memoryview) -> None:
        if self._running is not None:
            self._running.update(data)
        self.pos += len(data)
        self._answer_pos += len(data)
        if self._running is not None and self.pos == self.size:
            found = checksums.encoded(self._running.digest())
            self._running = None
            if found != self.info.checksums[self._algorithm]:
                raise ChecksumMismatch(
                    message=f"{self._algorithm} of what arrived is {found}, "
                    f"the server's {self.info.checksums[self._algorithm]}",
                    resource=f"{self.info.bucket}/{self.info.key}",
                )
            self.verified = self._algorithm

    async def _after(self, failure: HttpError) -> None:
        self._drop()
        self._failures += 1
        if self._failures >= self._session.retry.attempts or not self.info.etag:
            raise ConnectionFailed(
                message=str(failure), resource=f"{self.info.bucket}/{self.info.key}"
            ) from failure
        await self._session.backend.sleep(self._session.wait_seconds(self._failures, {}))

    async def _reopen(self) -> None:
        self._drop()
        headers = {"range": range_header((self._first + self.pos, self._first + self.size))}
        if self.info.etag:
            headers["if-match"] = quoted(self.info.etag)
        answer = await self._session.send(self.spec.request(headers))
        expected = (self._first + self.pos, self._first + self.size)
        if content_range(answer.headers) != expected:
            answer.close()
            raise InvalidRange(message="the server does not answer with the range asked for")
        self._answer, self._answer_pos = answer, self.pos

    async def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all that is left by default; fewer only at the end."""
        if self._open_ended:
            return await self._read_open_ended(size)
        left = max(self.size - self.pos, 0)
        out = bytearray(left if size < 0 else min(size, left))
        done = 0
        with memoryview(out) as view:
            while done < len(out):
                count = await self.readinto(view[done:])
                if not count:
                    break
                done += count
        return bytes(out) if done == len(out) else bytes(memoryview(out)[:done])

    async def _read_open_ended(self, size: int) -> bytes:
        out = bytearray()
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while size < 0 or len(out) < size:
            wanted = CHUNK_BYTES if size < 0 else min(CHUNK_BYTES, size - len(out))
            count = await self.readinto(buffer[:wanted])
            if not count:
                break
            out += buffer[:count]
        return bytes(out)

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position. Costs nothing until the next read, which asks for the rest by range."""
        base = {0: 0, 1: self.pos, 2: self.size}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError("a position before the beginning")
        if base + offset != self.pos:
            self._running = None  # no more the whole in one go
        self.pos = base + offset
        return self.pos

    async def finish(self) -> None:
        """Close; a connection with little left on it is kept."""
        self.closed = True
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.finish()

    def drop(self) -> None:
        """Close at once."""
        self.closed = True
        self._drop()

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()


def whole_checksum(info: ObjectInfo) -> str:
    """The algorithm of a checksum of all bytes that the server gave, "" where there is none."""
    if info.checksum_type == "COMPOSITE":
        return ""
    for name in checksums.ALGORITHMS:
        if name in info.checksums and "-" not in info.checksums[name]:
            return name
    return ""
