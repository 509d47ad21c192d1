"""A multipart object, brought over in the parts that it was made of.

Rule: its ETag is the MD5 of its parts' MD5s and their number, so with the same parts it stays the same;
GetObject gives a part by its number. The ETag that the parts will have is known before the upload is
completed, and compared with the source's. An upload that was cut off is in the journal and is gone on
with: of parts that the destination lists, the MD5 is its ETag.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_RequestSyntax
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from holdfast.cli.importing.history import Version
from holdfast.cli.importing.journal import token_of
from holdfast.cli.importing.version import (
    Brought,
    Digests,
    Head,
    Pair,
    Progress,
    adapt,
    digests,
    fill,
    finish,
    head_of,
    is_encrypted,
    open_version,
    send,
    unreadable,
)
from holdfast.client import checksums, xml
from holdfast.client.address import Request
from holdfast.client.config import MIB, PARTS_MAX
from holdfast.client.errors import ChecksumMismatch, NoSuchUpload, S3Error
from holdfast.client.models import ObjectInfo
from holdfast.client.reading import ObjectStream
from holdfast.client.upload import abort, list_parts, part_size_for

#: of one object
PARTS_AT_ONCE = 4
#: S3's bound of PutObject; what is larger and no multipart object goes in parts of our own
SINGLE_PUT_BYTES_MAX = 5 * 1024 * MIB
OWN_PART_BYTES = 64 * MIB


class _Part(NamedTuple):
    md5: bytes
    checksum: str
    size: int
    etag: str


def parts_of(etag: str) -> int:
    """How many parts an ETag says; 0 for an object of one piece."""
    digest, _, count = etag.partition("-")
    number = int(count) if len(digest) == 32 and count.isascii() and count.isdigit() else 0
    return number if number <= PARTS_MAX else 0


class PartByPart:
    """One version, on its way in parts."""

    def __init__(
        self, pair: Pair, key: str, version: Version, info: ObjectInfo, progress: Progress
    ) -> None:
        self._pair, self._key, self._version, self._info = pair, key, version, info
        self._progress = progress
        self._count = parts_of(info.etag)
        self._algorithm, self._whole = _checksum_of(info)
        self._upload_id = ""
        self._sent: dict[int, _Part] = {}
        self._own_size = 0

    async def run(self, head: Head) -> Brought:
        """Raises Gone, Unreadable, Uncertain, S3Error."""
        if not self._count or not await self._gives_parts():
            self._own_size = part_size_for(self._info.size, OWN_PART_BYTES)
            self._count = -(-self._info.size // self._own_size)
            if self._algorithm and not checksums.is_joinable(self._algorithm):
                self._algorithm = self._whole = ""
        token = token_of(self._key, self._version)
        kept = await self._begin(head, token)
        numbers = iter(range(1, self._count + 1))

        async def pull() -> int | None:
            return next(numbers, None)

        async def work(number: int) -> None:
            self._sent[number] = await self._bring_part(number, kept.get(number))

        await self._pair.target.session.backend.each(pull, work, PARTS_AT_ONCE)
        etag = await self._compare(token)
        return await self._complete(head, etag, token)

    async def _gives_parts(self) -> bool:
        """Whether the source knows its parts; some servers answer with the whole."""
        stream = await self._open(1)
        stream.drop()
        return stream.info.parts_count == self._count and (
            stream.size < self._info.size or self._count == 1
        )

    async def _open(self, number: int) -> ObjectStream:
        if not self._own_size:
            return await open_version(self._pair, self._key, self._version, part_number=number)
        first = (number - 1) * self._own_size
        try:
            return await self._pair.source.open_object(
                self._pair.bucket,
                self._key,
                version_id=self._pair.id_of(self._version),
                range=(first, min(first + self._own_size, self._info.size)),
                if_match=self._info.etag,
            )
        except S3Error as error:
            raise unreadable(error) from error

    async def _begin(self, head: Head, token: int) -> dict[int, tuple[str, int]]:
        """An upload that was begun by an earlier run, with (ETag, bytes) of its parts, or a new one."""
        target, bucket = self._pair.target, self._pair.bucket
        known = self._pair.journal.uploads.get(token)
        if known:
            try:
                parts = await list_parts(target.session, bucket, self._key, known, None)
            except NoSuchUpload:
                self._pair.journal.note(upload_ended=token)
            else:
                self._upload_id = known
                return {number: (part.etag.strip('"'), part.size) for number, part in parts.items()}
        self._upload_id = await self._create(head)
        self._pair.journal.note(upload=self._upload_id, token=token, name=self._key)
        return {}

    async def _create(self, head: Head) -> str:
        while True:
            headers = dict(head.headers)
            if self._algorithm:
                headers["x-amz-checksum-algorithm"] = self._algorithm
                headers["x-amz-checksum-type"] = self._type
            try:
                reply = await self._pair.target.session.fetch(
                    Request("POST", self._pair.bucket, self._key, [("uploads", "")], headers)
                )
            except S3Error as error:
                if not adapt(head, error):
                    raise
                continue
            return xml.text(xml.parse(reply.body), "UploadId")

    @property
    def _type(self) -> str:
        if self._own_size:
            return "FULL_OBJECT"
        return self._info.checksum_type or ("COMPOSITE" if "-" in self._whole else "FULL_OBJECT")

    async def _bring_part(self, number: int, kept: tuple[str, int] | None) -> _Part:
        if kept is not None and not self._algorithm:
            # its checksum would have to be known, for Complete
            self._progress(kept[1])
            return _Part(bytes.fromhex(kept[0]), "", kept[1], kept[0])
        stream = await self._open(number)
        try:
            async with self._pair.room.take(stream.size) as view:
                digest = await self._read(stream, view)
                if kept == (digest.md5.hex(), stream.size):
                    self._progress(stream.size)
                    return _Part(digest.md5, digest.checksum, stream.size, kept[0])
                return await self._send_part(number, view, digest)
        finally:
            await stream.finish()

    async def _read(self, stream: ObjectStream, view: memoryview) -> Digests:
        try:
            if stream.info.etag != self._info.etag:
                raise ChecksumMismatch(message="the object changed while it was read")
            await fill(stream, view)
        except S3Error as error:
            raise unreadable(error) from error
        return await digests(view, self._algorithm)

    async def _send_part(self, number: int, view: memoryview, digest: Digests) -> _Part:
        headers = digest.headers
        if self._algorithm:
            headers[checksums.header(self._algorithm)] = digest.checksum
        query = [("partNumber", str(number)), ("uploadId", self._upload_id)]
        reply = await self._pair.target.session.fetch(
            Request(
                "PUT", self._pair.bucket, self._key, query, headers, (view,),
                on_sent=self._progress,
            )
        )  # fmt: skip
        etag = reply.headers.get("etag", "").strip('"')
        return _Part(digest.md5, digest.checksum, len(view), etag)

    async def _compare(self, token: int) -> str:
        """The ETag that the object will have, as far as ETags are MD5s. Raises Unreadable."""
        parts = [self._sent[number] for number in sorted(self._sent)]
        joined = b"".join([part.md5 for part in parts])
        etag = f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"
        problem = ""
        if sum([part.size for part in parts]) != self._info.size:
            problem = "the source's parts don't add up to the object"
        elif self._algorithm and self._joined(parts) != self._whole:
            problem = f"{self._algorithm} of what arrived is not the source's"
        elif (
            etag != self._info.etag
            and not self._algorithm
            and not self._own_size
            and not is_encrypted(self._info)
        ):
            if not await self._reads_alike():
                problem = "the source gives other content each time it is read"
            else:
                self._pair.note("whose content has another MD5 than its ETag says")
        if problem:
            await abort(self._pair.target.session, self._pair.bucket, self._key, self._upload_id)
            self._pair.journal.note(upload_ended=token)
            raise unreadable(ChecksumMismatch(message=problem))
        if etag != self._info.etag or self._pair.alters_all:
            self._pair.journal.note(altered=token)
        return etag

    def _joined(self, parts: list[_Part]) -> str:
        if self._type == "FULL_OBJECT":
            return checksums.joined(self._algorithm, [(p.checksum, p.size) for p in parts])
        return checksums.composite(self._algorithm, [p.checksum for p in parts])

    async def _reads_alike(self) -> bool:
        for number, part in self._sent.items():
            stream = await self._open(number)
            try:
                async with self._pair.room.take(stream.size) as view:
                    if (await self._read(stream, view)).md5 != part.md5:
                        return False
            finally:
                await stream.finish()
        return True

    async def _complete(self, head: Head, etag: str, token: int) -> Brought:
        headers = {"content-type": "application/xml"}
        if self._algorithm:
            headers["x-amz-checksum-type"] = self._type
            if self._type == "FULL_OBJECT":
                headers[checksums.header(self._algorithm)] = self._whole
        name = f"Checksum{self._algorithm}"
        inner = "".join(
            [
                "<Part>"
                + (xml.element(name, part.checksum) if self._algorithm else "")
                + xml.element("ETag", f'"{part.etag}"')
                + xml.element("PartNumber", str(number))
                + "</Part>"
                for number, part in sorted(self._sent.items())
            ]
        )
        body = xml.document("CompleteMultipartUpload", inner)
        query = [("uploadId", self._upload_id)]
        reply = await send(
            self._pair,
            Request("POST", self._pair.bucket, self._key, query, headers, (body,), late_error=True),
        )
        self._pair.journal.note(upload_ended=token)
        found = xml.text(xml.parse(reply.body), "ETag").strip('"')
        brought = Brought(reply.headers.get("x-amz-version-id", ""), found)
        return finish(self._pair, self._key, self._version, brought, etag, head)


def _checksum_of(info: ObjectInfo) -> tuple[str, str]:
    """(algorithm, value) of the source's checksum; ("", "") where it has none that we can make."""
    for name in checksums.ALGORITHMS:
        if name in info.checksums:
            value = info.checksums[name]
            is_whole = "-" not in value
            if is_whole and not checksums.is_joinable(name):
                continue
            return name, value
    return "", ""


async def bring_in_parts(pair: Pair, key: str, version: Version, progress: Progress) -> Brought:
    """Raises Gone, Unreadable, Uncertain, S3Error."""
    try:
        info = await pair.source.head_object(pair.bucket, key, version_id=pair.id_of(version))
    except S3Error as error:
        raise unreadable(error) from error
    try:
        head = await head_of(pair, key, version, info)
    except S3Error as error:
        raise unreadable(error, may_be_gone=False) from error
    current = version._replace(etag=info.etag, size=info.size)
    return await PartByPart(pair, key, current, info, progress).run(head)


def goes_in_parts(version: Version) -> bool:
    return bool(parts_of(version.etag)) or version.size > SINGLE_PUT_BYTES_MAX
