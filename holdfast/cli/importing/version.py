"""One version: read, held against what the source says of it, and only then written.

Rule: what is written has been read whole and compared with the source's ETag and checksum; it is sent
with its MD5 and the source's checksum, so that the destination compares, too. A write whose answer is
lost is never sent again by itself, which could make two versions: `Uncertain` has the caller look.
Bodies are in memory up to a bound, larger ones in a file that has no name.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import mmap
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from holdfast.cli.importing.documents import canned_acl
from holdfast.cli.importing.history import NULL, Version
from holdfast.cli.importing.journal import Journal, token_of
from holdfast.cli.objects.failures import FATAL
from holdfast.client import checksums, xml
from holdfast.client.address import Request
from holdfast.client.asynchronous import AsyncObjectStore
from holdfast.client.config import MIB
from holdfast.client.copying import KEPT_HEADERS
from holdfast.client.errors import ChecksumMismatch, ConnectionFailed, S3Error
from holdfast.client.models import ObjectInfo, RawResponse
from holdfast.client.options import METADATA, header_text, tag_header
from holdfast.client.reading import ObjectStream

#: bodies in memory at once, of all versions and parts
MEMORY_BYTES_MAX = 256 * MIB
#: larger bodies go by a file, this many at once
MEMORY_BODY_BYTES_MAX = 64 * MIB
FILES_AT_ONCE = 2
#: read in one go; hashing this much does not keep others waiting
INLINE_HASH_BYTES_MAX = 256 * 1024
READ_BYTES = MIB
_KEPT_HEADERS = (*KEPT_HEADERS, "x-amz-website-redirect-location")
#: ownership without ACLs; a public access block
_ACL_REFUSALS = ("AccessControlListNotSupported", "AccessDenied")
_LOCK = "x-amz-object-lock-"
Progress = Callable[[int], None]


class Unreadable(Exception):
    """The source does not give a version, or not as it says it is."""

    def __init__(self, error: S3Error) -> None:
        super().__init__(str(error))
        self.error = error


class SourceFailed(Exception):
    """The source refuses the keys, or does not answer: nothing more can be read."""

    def __init__(self, error: S3Error) -> None:
        super().__init__(str(error))
        self.error = error


class Gone(Unreadable):
    """The source does not find the version that it listed."""


class Uncertain(Exception):
    """A write that may have been done, or not."""

    def __init__(self, error: S3Error) -> None:
        super().__init__(str(error))
        self.error = error


class Unconfirmed(Uncertain):
    """A delete marker of which the answer says nothing."""


@dataclass(slots=True)
class Pair:
    """A bucket at both places, and what is known of it."""

    bucket: str
    source: AsyncObjectStore
    target: AsyncObjectStore
    journal: Journal
    room: Room
    note: Callable[[str], None]
    #: what is written now gets the id "null"
    writes_nulls: bool = False
    #: the source never had versions: there are no ids to ask by
    is_plain: bool = False
    #: the source says that its versions have ACLs
    reads_acls: bool = False
    #: the destination's ETags are not MD5s, so that each version is noted before it is written
    alters_all: bool = False

    def id_of(self, version: Version) -> str | None:
        """By which the source is asked."""
        return None if self.is_plain else version.version_id or None


class Brought(NamedTuple):
    version_id: str
    etag: str


class Room:
    """What all bodies take together."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._left = MEMORY_BYTES_MAX
        self._freed = asyncio.Condition()
        self._files = asyncio.Semaphore(FILES_AT_ONCE)

    @asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[memoryview]:
        """Room for a body, as it is filled and sent."""
        if size > MEMORY_BODY_BYTES_MAX:
            async with self._files:
                with tempfile.TemporaryFile(dir=self._directory) as file:
                    file.truncate(size)
                    area = mmap.mmap(file.fileno(), size)
                # freed with the last view of it, which an error may still hold
                yield memoryview(area)
            return
        async with self._freed:
            await self._freed.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield memoryview(bytearray(size))
        finally:
            self._left += size
            async with self._freed:
                self._freed.notify_all()


@dataclass(slots=True)
class Digests:
    """Of a body: its MD5, and the checksum of the wanted algorithm ("" where none is)."""

    md5: bytes
    checksum: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"content-md5": base64.b64encode(self.md5).decode()}


async def digests(view: memoryview, algorithm: str) -> Digests:
    if len(view) <= INLINE_HASH_BYTES_MAX:
        return _digests(view, algorithm)
    return await asyncio.to_thread(_digests, view, algorithm)


def _digests(view: memoryview, algorithm: str) -> Digests:
    md5 = hashlib.md5(view, usedforsecurity=False).digest()
    return Digests(md5, checksums.checksum(algorithm, view) if algorithm else "")


async def fill(stream: ObjectStream, view: memoryview) -> None:
    """All of a stream, whose size is that of `view`. Raises S3Error."""
    done = 0
    while done < len(view):
        count = await stream.readinto(view[done : done + READ_BYTES])
        if not count:
            raise ConnectionFailed(message="the source's answer ended before the object")
        done += count


@dataclass(slots=True)
class Head:
    """What goes with a version. `left_out`: what of it can't, to be counted if it is written."""

    headers: dict[str, str]
    left_out: list[str] = field(default_factory=list)


async def head_of(pair: Pair, key: str, version: Version, info: ObjectInfo) -> Head:
    """What the source says of a version, as headers of a write. Raises S3Error."""
    said = info.headers
    headers = {name: said[name] for name in _KEPT_HEADERS if name in said}
    headers |= {METADATA + name: header_text(value) for name, value in info.metadata.items()}
    head = Head(headers)
    if info.storage_class != "STANDARD":
        headers["x-amz-storage-class"] = info.storage_class
    if info.tag_count:
        tags = await pair.source.get_tags(pair.bucket, key, version_id=pair.id_of(version))
        headers["x-amz-tagging"] = tag_header(tags)
    _lock(said, head)
    if said.get("x-amz-server-side-encryption") or _is_customers(said):
        head.left_out.append("server-side encryption")
    if pair.reads_acls:
        await _acl(pair, key, version, head)
    return head


def _is_customers(said: Mapping[str, str]) -> bool:
    return "x-amz-server-side-encryption-customer-algorithm" in said


def _lock(said: Mapping[str, str], head: Head) -> None:
    if said.get(f"{_LOCK}legal-hold") == "ON":
        head.headers[f"{_LOCK}legal-hold"] = "ON"
    until = xml.iso_time(said.get(f"{_LOCK}retain-until-date", ""))
    if until is None:
        return
    if until.timestamp() <= time.time():
        head.left_out.append("retention, which has ended")
        return
    head.headers[f"{_LOCK}mode"] = said.get(f"{_LOCK}mode", "")
    head.headers[f"{_LOCK}retain-until-date"] = said[f"{_LOCK}retain-until-date"]


async def _acl(pair: Pair, key: str, version: Version, head: Head) -> None:
    query = [("acl", "")]
    if version_id := pair.id_of(version):
        query.append(("versionId", version_id))
    reply = await pair.source.session.fetch(Request("GET", pair.bucket, key, query))
    canned = canned_acl(xml.parse(reply.body))
    if canned is None:
        head.left_out.append("ACL, which names accounts")
    elif canned != "private":
        head.headers["x-amz-acl"] = canned


async def send(pair: Pair, request: Request) -> RawResponse:
    """A write that must not be done twice. Raises Uncertain, S3Error."""
    request.idempotent = False
    try:
        return await pair.target.session.fetch(request)
    except ConnectionFailed as error:
        raise Uncertain(error) from error
    except S3Error as error:
        if error.status >= 500 and error.status not in (501, 503):
            raise Uncertain(error) from error
        raise


async def put(
    pair: Pair, key: str, head: Head, view: memoryview, digest: Digests, progress: Progress
) -> RawResponse:
    """PutObject. Raises Uncertain, S3Error."""
    while True:
        headers = head.headers | digest.headers
        body = (view,) if len(view) else ()
        try:
            return await send(
                pair, Request("PUT", pair.bucket, key, (), headers, body, on_sent=progress)
            )
        except S3Error as error:
            if not adapt(head, error):
                raise


def adapt(head: Head, error: S3Error) -> bool:
    """Leaves out what the destination has not got, to be reported. Whether there is something."""
    if error.code == "InvalidStorageClass" and "x-amz-storage-class" in head.headers:
        kind = head.headers.pop("x-amz-storage-class")
        head.left_out.append(f"storage class {kind}")
        return True
    if error.code in _ACL_REFUSALS and "x-amz-acl" in head.headers:
        kind = head.headers.pop("x-amz-acl")
        head.left_out.append(f"ACL {kind}, which the destination does not allow")
        return True
    return False


def finish(
    pair: Pair, key: str, version: Version, reply: Brought, expected: str, head: Head
) -> Brought:
    """Account for what was written. Raises ChecksumMismatch."""
    for name in head.left_out:
        pair.note(f"without {name}")
    if reply.etag != expected:
        # the destination compared the MD5 that went along: its ETags are of another kind
        pair.alters_all = True
        pair.journal.note(altered=token_of(key, version))
    if reply.etag != version.etag:
        pair.note("with another ETag")
    pair.journal.brought(key, version, reply.version_id, reply.etag)
    return reply


async def bring_marker(pair: Pair, key: str, version: Version) -> Brought:
    """A delete marker. Raises Uncertain (Unconfirmed), S3Error."""
    reply = await send(pair, Request("DELETE", pair.bucket, key))
    version_id = reply.headers.get("x-amz-version-id", "")
    is_said = reply.headers.get("x-amz-delete-marker") == "true"
    if not is_said or (pair.writes_nulls and version_id != NULL):
        # some servers are silent while versioning is suspended, and name the marker before
        raise Unconfirmed(
            S3Error("NoDeleteMarker", "the destination made no delete marker", status=reply.status)
        )
    pair.journal.brought(key, version, version_id, "")
    return Brought(version_id, "")


async def open_version(
    pair: Pair, key: str, version: Version, *, part_number: int | None = None
) -> ObjectStream:
    """Raises Gone, Unreadable."""
    try:
        return await pair.source.open_object(
            pair.bucket, key, version_id=pair.id_of(version), part_number=part_number
        )
    except S3Error as error:
        raise unreadable(error) from error


def unreadable(error: S3Error, *, may_be_gone: bool = True) -> Exception:
    """What an error of the source is, as one to raise."""
    if error.status == 404 and may_be_gone:
        return Gone(error)
    is_final = isinstance(error, (ConnectionFailed, *FATAL))
    return SourceFailed(error) if is_final else Unreadable(error)


async def bring_whole(pair: Pair, key: str, version: Version, progress: Progress) -> Brought:
    """A version that goes in one piece. Raises Gone, Unreadable, Uncertain, S3Error."""
    stream = await open_version(pair, key, version)
    try:
        size, info = stream.size, stream.info
        try:
            head = await head_of(pair, key, version, info)
        except S3Error as error:
            raise unreadable(error, may_be_gone=False) from error
        async with pair.room.take(size) as view:
            try:
                await fill(stream, view)
                digest = await digests(view, "")
                etag = digest.md5.hex()
                if etag != info.etag and not (stream.verified or is_encrypted(info)):
                    await _read_again(pair, key, version, info, etag)
            except S3Error as error:
                raise unreadable(error) from error
            if stream.verified and checksums.header(stream.verified) in info.headers:
                name = checksums.header(stream.verified)
                head.headers[name] = info.headers[name]
            current = version._replace(etag=info.etag)
            if etag != info.etag or pair.alters_all:
                pair.journal.note(altered=token_of(key, current))
            reply = await put(pair, key, head, view, digest, progress)
    finally:
        await stream.finish()
    return finish(pair, key, current, _brought(reply), etag, head)


def _brought(reply: RawResponse) -> Brought:
    return Brought(
        reply.headers.get("x-amz-version-id", ""), reply.headers.get("etag", "").strip('"')
    )


def is_encrypted(info: ObjectInfo) -> bool:
    """Its ETag is no MD5, by S3's own word."""
    kind = info.headers.get("x-amz-server-side-encryption", "")
    return kind.startswith("aws:kms") or _is_customers(info.headers)


async def _read_again(
    pair: Pair, key: str, version: Version, info: ObjectInfo, expected: str
) -> None:
    """Content that is not what its ETag says, by MD5: either the source's ETags are something else, or
    a byte is wrong. Then it differs when it is read again. Raises ChecksumMismatch, Gone, Unreadable."""
    stream = await open_version(pair, key, version)
    try:
        md5 = hashlib.md5(usedforsecurity=False)
        buffer = memoryview(bytearray(READ_BYTES))
        while count := await stream.readinto(buffer):
            md5.update(buffer[:count])
    finally:
        await stream.finish()
    if md5.hexdigest() != expected or stream.info.etag != info.etag:
        raise ChecksumMismatch(message="the source gives other content each time it is read")
    pair.note("whose content has another MD5 than its ETag says")
