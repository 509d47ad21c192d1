"""Uploads: one PUT up to a size, parts in parallel above it, each with its checksum.

Rule: what is sent is in memory when its head is signed, so its checksum is signed with it and a retry
sends the same bytes; never more than `concurrency` + 1 parts at once. An upload that fails is aborted,
unless it is to be resumed: then a journal names it, and going on sends only the parts that S3's list
does not show with the checksum (or MD5) of the local bytes.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from holdfast.client import checksums, xml
from holdfast.client.address import Buffer, Request
from holdfast.client.config import MIB, PART_BYTES_MAX, PARTS_MAX
from holdfast.client.errors import (
    ConnectionFailed,
    EntityTooLarge,
    InvalidRequest,
    NoSuchUpload,
    NotFound,
    S3Error,
)
from holdfast.client.journal import Journal
from holdfast.client.models import PutResult
from holdfast.client.options import CONDITION_HEADERS
from holdfast.client.progress import Progress
from holdfast.client.session import Session
from holdfast.client.sources import Source

#: parts of one size before the next are twice as large, where the size of the whole is unknown
PARTS_OF_ONE_SIZE = 2000
#: of what a multipart upload is begun with, these go with each part as well
_PART_HEADERS = ("x-amz-server-side-encryption-customer-", "x-amz-request-payer")


class _Job(NamedTuple):
    number: int
    offset: int
    length: int
    pieces: list[Buffer] | None  # read already, else to be read by the worker


class _Sent(NamedTuple):
    etag: str
    checksum: str
    size: int


async def upload(
    session: Session,
    bucket: str,
    key: str,
    source: Source,
    headers: dict[str, str],
    progress: Progress,
    journal: Journal | None = None,
) -> PutResult:
    """Raises S3Error; OSError of local files."""
    config = session.transfer
    size = source.size
    if size is not None and size <= config.multipart_threshold:
        data: list[Buffer] = [await source.read_at(0, size)] if size else []
        await _check_end(source)
        return await put_single(session, bucket, key, data, headers, progress)
    first: list[Buffer] | None = None
    if size is None:
        first = await source.read_next(config.part_size)
        if sum([len(piece) for piece in first]) < config.part_size:
            return await put_single(session, bucket, key, first, headers, progress)
    return await MultipartUpload(session, bucket, key, source, headers, progress).run(
        first, journal if source.is_random else None
    )


async def _check_end(source: Source) -> None:
    if not source.is_random and await source.read_next(1):
        raise InvalidRequest(message="the stream goes on after the size that was promised")


async def put_single(
    session: Session,
    bucket: str,
    key: str,
    pieces: list[Buffer],
    headers: dict[str, str],
    progress: Progress,
) -> PutResult:
    """PutObject."""
    algorithm = session.transfer.checksum
    value = _checksum(algorithm, pieces)
    if algorithm:
        headers = headers | {checksums.header(algorithm): value}
    request = Request(
        "PUT", bucket, key, (), headers, tuple(pieces), on_sent=progress.advance,
    )  # fmt: skip
    if not pieces:
        progress.advance(0)
    reply = await session.fetch(request)
    return PutResult(
        reply.headers.get("etag", "").strip('"'),
        reply.headers.get("x-amz-version-id", ""),
        f"{algorithm}:{value}" if algorithm else "",
        sum([len(piece) for piece in pieces]),
    )


def _checksum(algorithm: str | None, pieces: list[Buffer]) -> str:
    if not algorithm:
        return ""
    state = checksums.running(algorithm)
    for piece in pieces:
        state.update(memoryview(piece))
    return checksums.encoded(state.digest())


def part_size_for(size: int, wanted: int) -> int:
    """The wanted size, or what keeps the number of parts at S3's bound, in whole MiB."""
    least = -(-size // PARTS_MAX)
    return max(wanted, -(-least // MIB) * MIB)


class MultipartUpload:
    def __init__(
        self,
        session: Session,
        bucket: str,
        key: str,
        source: Source,
        headers: dict[str, str],
        progress: Progress,
    ) -> None:
        self._session = session
        self._bucket, self._key = bucket, key
        self._source = source
        self._progress = progress
        self._algorithm = session.transfer.checksum
        self._last = {n: v for n, v in headers.items() if n in CONDITION_HEADERS}
        self._begin = {n: v for n, v in headers.items() if n not in CONDITION_HEADERS}
        self._each = {n: v for n, v in headers.items() if n.startswith(_PART_HEADERS)}
        size = source.size
        wanted = session.transfer.part_size
        self._part_size = part_size_for(size, wanted) if size is not None else wanted
        self._upload_id = ""
        self._sent: dict[int, _Sent] = {}
        self._kept: Mapping[int, _Sent] = {}
        self._number = self._offset = 0
        self._ended = False

    async def run(self, first: list[Buffer] | None, journal: Journal | None) -> PutResult:
        if journal is not None:
            await self._resume(journal)
        if not self._upload_id:
            self._upload_id = await self._create()
            if journal is not None:
                journal.write({"upload_id": self._upload_id, "part_size": self._part_size})
        self._first = first
        try:
            await self._session.backend.each(
                self._next_job, self._send_part, self._session.transfer.concurrency
            )
            await _check_end(self._source)
            result = await self._complete()
        except BaseException as error:
            if journal is None:
                await self._abort(error)
            elif isinstance(error, S3Error) and not error.hint.endswith("resume=True."):
                error.hint = f"{error.hint} To go on, call again with resume=True.".strip()
            raise
        if journal is not None:
            journal.remove()
        return result

    async def _create(self) -> str:
        headers = dict(self._begin)
        if self._algorithm:
            headers["x-amz-checksum-algorithm"] = self._algorithm
            headers["x-amz-checksum-type"] = self._type()
        request = Request("POST", self._bucket, self._key, [("uploads", "")], headers)
        request.idempotent = False
        reply = await self._session.fetch(request)
        upload_id = xml.text(xml.parse(reply.body), "UploadId")
        if not upload_id:
            raise S3Error("InvalidResponse", "the server gave no upload id")
        return upload_id

    def _type(self) -> str:
        joinable = self._algorithm and checksums.is_joinable(self._algorithm)
        return "FULL_OBJECT" if joinable else "COMPOSITE"

    async def _next_job(self) -> _Job | None:
        if self._ended:
            return None
        size = self._source.size
        number, offset = self._number + 1, self._offset
        if size is not None:
            count = min(self._part_size, size - offset)
            if not count:
                return None
            pieces = None
            if not self._source.is_random:
                pieces = [await self._source.read_at(offset, count)]
        else:
            count = self._part_size * 2 ** ((number - 1) // PARTS_OF_ONE_SIZE)
            pieces, self._first = self._first, None
            if pieces is None:
                pieces = await self._source.read_next(min(count, PART_BYTES_MAX))
                short = sum([len(piece) for piece in pieces])
                self._ended = short < count
                count = short
            if not count:
                return None
        if number > PARTS_MAX:
            raise EntityTooLarge(message=f"more than {PARTS_MAX} parts", hint="Use larger parts.")
        self._number, self._offset = number, offset + count
        return _Job(number, offset, count, pieces)

    async def _send_part(self, job: _Job) -> None:
        pieces = job.pieces
        if pieces is None:
            pieces = [await self._source.read_at(job.offset, job.length)]
        value = _checksum(self._algorithm, pieces)
        kept = self._kept.get(job.number)
        if kept is not None and _is_same(kept, pieces, value, job.length):
            self._sent[job.number] = kept._replace(checksum=value)
            self._progress.advance(job.length)
            return
        headers = dict(self._each)
        if self._algorithm:
            headers[checksums.header(self._algorithm)] = value
        reply = await self._session.fetch(
            Request(
                "PUT",
                self._bucket,
                self._key,
                [("partNumber", str(job.number)), ("uploadId", self._upload_id)],
                headers,
                tuple(pieces),
                on_sent=self._progress.advance,
            )
        )
        self._sent[job.number] = _Sent(reply.headers.get("etag", ""), value, job.length)

    async def _complete(self) -> PutResult:
        parts = [self._sent[number] for number in sorted(self._sent)]
        size = sum([part.size for part in parts])
        headers = dict(self._each | self._last)
        headers["content-type"] = "application/xml"
        whole = ""
        if self._algorithm:
            name = f"Checksum{self._algorithm}"
            headers["x-amz-checksum-type"] = self._type()
            if self._type() == "FULL_OBJECT":
                whole = checksums.joined(self._algorithm, [(p.checksum, p.size) for p in parts])
                headers[checksums.header(self._algorithm)] = whole
                headers["x-amz-mp-object-size"] = str(size)
            else:
                whole = checksums.composite(self._algorithm, [p.checksum for p in parts])
        inner = "".join(
            [
                "<Part>"
                + (xml.element(name, part.checksum) if self._algorithm else "")
                + xml.element("ETag", part.etag)
                + xml.element("PartNumber", str(number))
                + "</Part>"
                for number, part in enumerate(parts, 1)
            ]
        )
        request = Request(
            "POST",
            self._bucket,
            self._key,
            [("uploadId", self._upload_id)],
            headers,
            (xml.document("CompleteMultipartUpload", inner),),
            late_error=True,
        )
        checksum = f"{self._algorithm}:{whole}" if self._algorithm else ""
        try:
            reply = await self._session.fetch(request)
        except NoSuchUpload:
            return await self._completed_before(parts, checksum, size)
        etag = xml.text(xml.parse(reply.body), "ETag").strip('"')
        return PutResult(etag, reply.headers.get("x-amz-version-id", ""), checksum, size)

    async def _completed_before(self, parts: list[_Sent], checksum: str, size: int) -> PutResult:
        """The answer to an earlier attempt was lost: then the object is there, as we made it.
        Raises NoSuchUpload."""
        digests = [bytes.fromhex(p.etag.strip('"')) for p in parts if len(p.etag.strip('"')) == 32]
        etag = f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(parts)}"
        try:
            reply = await self._session.fetch(Request("HEAD", self._bucket, self._key))
        except NotFound:
            reply = None
        if reply is None or reply.headers.get("etag", "").strip('"') != etag:
            raise NoSuchUpload(resource=f"{self._bucket}/{self._key}")
        return PutResult(etag, reply.headers.get("x-amz-version-id", ""), checksum, size)

    async def _abort(self, error: BaseException) -> None:
        """Best effort: what stays behind is the server's to expire."""
        if isinstance(error, (ConnectionFailed, GeneratorExit)):
            return
        try:
            await abort(self._session, self._bucket, self._key, self._upload_id)
        except S3Error as failure:
            error.add_note(f"and the upload could not be aborted: {failure}")

    async def _resume(self, journal: Journal) -> None:
        """Take up what the journal names, if it is still there."""
        state = journal.read()
        upload_id, part_size = state.get("upload_id"), state.get("part_size")
        if not isinstance(upload_id, str) or not isinstance(part_size, int):
            return
        try:
            self._kept = await list_parts(
                self._session, self._bucket, self._key, upload_id, self._algorithm
            )
        except NoSuchUpload:
            return
        self._upload_id, self._part_size = upload_id, part_size


def _is_same(kept: _Sent, pieces: list[Buffer], checksum: str, count: int) -> bool:
    if kept.size != count:
        return False
    if kept.checksum:
        return kept.checksum == checksum
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return kept.etag.strip('"') == digest.hexdigest()


async def list_parts(
    session: Session, bucket: str, key: str, upload_id: str, algorithm: str | None
) -> dict[int, _Sent]:
    """Raises NoSuchUpload."""
    found: dict[int, _Sent] = {}
    marker = "0"
    while True:
        reply = await session.fetch(
            Request("GET", bucket, key, [("uploadId", upload_id), ("part-number-marker", marker)])
        )
        tree = xml.parse(reply.body)
        for node in tree.iter("Part"):
            checksum = xml.text(node, f"Checksum{algorithm}") if algorithm else ""
            found[xml.integer(node, "PartNumber")] = _Sent(
                xml.text(node, "ETag"), checksum, xml.integer(node, "Size")
            )
        following = xml.text(tree, "NextPartNumberMarker")
        if not xml.is_true(tree, "IsTruncated") or following == marker or len(found) > PARTS_MAX:
            return found
        marker = following


async def abort(session: Session, bucket: str, key: str, upload_id: str) -> None:
    """Raises NoSuchUpload."""
    await session.fetch(Request("DELETE", bucket, key, [("uploadId", upload_id)]))
