"""GetObject and HeadObject."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

from holdfast.blobs.contract import BlobAddress, BlobMissing, OpenBlob
from holdfast.http.message import FileBody, Region, Response
from holdfast.meta.contract import Found
from holdfast.meta.records import Blob, Bucket, ObjectVersion, Part
from holdfast.s3.call import Call, Services
from holdfast.s3.conditions import ReadConditions, check_read, if_range_holds, parse_range
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import OBJECT, Header, Input, Query, operation
from holdfast.s3.render import checksum_headers, object_headers

#: how often a read starts again because its content went between the row and the file
READ_ATTEMPTS_MAX = 5

_OVERRIDES = {
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
    "response-content-language": "Content-Language",
    "response-content-type": "Content-Type",
    "response-expires": "Expires",
}


class ReadInput(Input):
    if_match: Annotated[str, Header("if-match")] = ""
    if_none_match: Annotated[str, Header("if-none-match")] = ""
    if_modified_since: Annotated[str, Header("if-modified-since")] = ""
    if_unmodified_since: Annotated[str, Header("if-unmodified-since")] = ""
    range: Annotated[str, Header("range")] = ""
    if_range: Annotated[str, Header("if-range")] = ""
    checksum_mode: Annotated[str, Header("x-amz-checksum-mode")] = ""
    version_id: Annotated[str, Query("versionId")] = ""


@operation("GetObject", "GET", OBJECT)
async def get_object(call: Call, inp: ReadInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html"""
    bucket = await call.bucket()
    for _ in range(READ_ATTEMPTS_MAX):
        version, data = await find_version(call, bucket, call.key, inp.version_id, with_data=True)
        status, headers, first, count = _head(call, inp, version)
        try:
            if data is not None:
                whole = count == len(data)
                return Response(status, headers, data if whole else data[first : first + count])
            if count == 0:
                return Response(status, headers)
            return Response(
                status, headers, await content_body(call.services, bucket, version, first, count)
            )
        except BlobMissing:
            continue  # it was replaced or deleted meanwhile: the row tells
    raise RuntimeError(f"content of {call.bucket_name}/{call.key!r} is missing")


@operation("HeadObject", "HEAD", OBJECT, action="s3:GetObject")
async def head_object(call: Call, inp: ReadInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html"""
    bucket = await call.bucket()
    version, _ = await find_version(call, bucket, call.key, inp.version_id)
    status, headers, _, count = _head(call, inp, version)
    headers.append(("Content-Length", str(count)))
    return Response(status, headers)


async def find_version(
    call: Call, bucket: Bucket, key: bytes, version_id: str = "", with_data: bool = False
) -> Found:
    """The version that a read means. Raises NoSuchKey, NoSuchVersion, InvalidArgument.

    No bucket has versions with an id yet but the null version, whose id is `null`.
    """
    if version_id not in ("", "null"):
        raise S3Error(
            "InvalidArgument",
            "Invalid version id specified",
            ArgumentName="versionId",
            ArgumentValue=version_id,
        )
    found = await call.services.meta.find(
        bucket.id, key, -1 if version_id else 0, with_data=with_data
    )
    if found is None or found.version.delete_marker:
        code = "NoSuchVersion" if version_id else "NoSuchKey"
        raise S3Error(code, Key=key.decode("utf-8", "replace"))
    return found


def _head(
    call: Call, inp: ReadInput, version: ObjectVersion
) -> tuple[int, list[tuple[str, str]], int, int]:
    """Conditions, range and headers: (status, headers, first byte, number of bytes)."""
    if inp.if_match or inp.if_none_match or inp.if_modified_since or inp.if_unmodified_since:
        check_read(
            ReadConditions(
                inp.if_match, inp.if_none_match, inp.if_modified_since, inp.if_unmodified_since
            ),
            version,
        )
    size = version.size
    status, first, count = 200, 0, size
    headers = object_headers(version)
    if inp.range and (not inp.if_range or if_range_holds(inp.if_range, version)):
        part = parse_range(inp.range, size)
        if part is not None:
            first, count = part
            status = 206
            headers.append(("Content-Range", f"bytes {first}-{first + count - 1}/{size}"))
    if inp.checksum_mode.upper() == "ENABLED" and status == 200:
        headers += checksum_headers(version)
    if version.parts_count:
        headers.append(("x-amz-mp-parts-count", str(version.parts_count)))
    if call.query:
        headers = _override(call.query, headers)
    return status, headers, first, count


def _override(query: dict[str, str], headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The response-* parameters replace what was stored. Raises InvalidArgument."""
    chosen = {_OVERRIDES[name]: value for name, value in query.items() if name in _OVERRIDES}
    if not chosen:
        return headers
    for name, value in chosen.items():
        if any(ord(char) < 32 or ord(char) == 127 for char in value):
            raise S3Error("InvalidArgument", ArgumentName=f"response-{name.lower()}")
        chosen[name] = value.encode("utf-8").decode("latin-1")
    return [(n, v) for n, v in headers if n not in chosen] + list(chosen.items())


def blob_address(bucket: Bucket, blob: Blob) -> BlobAddress:
    return BlobAddress(bucket.directory, blob.sha256, blob.n)


async def content_body(
    services: Services, bucket: Bucket, version: ObjectVersion, first: int, count: int
) -> FileBody:
    """`count` > 0 bytes from `first` of content that is kept in files. Raises BlobMissing."""
    if version.blob is not None:
        opened = await services.blobs.open(blob_address(bucket, version.blob))
        if opened.size != version.size:
            opened.close()
            raise RuntimeError(f"{quote(version.key)} has {opened.size} bytes, not {version.size}")
        return FileBody(count, (Region(opened.fd, first, count),), opened.close)
    lease = services.leases.begin(int(services.now() * 1000))
    try:
        parts = await services.meta.parts(version.parts_id)
        reader = _PartsReader(services, bucket, parts, first, count, lease)
        await reader.open_first()
    except BaseException:
        services.leases.end(lease)
        raise
    return FileBody(count, reader.regions(), reader.close)


class _PartsReader:
    """The files of a multipart object one after the other, one open at a time, under a lease."""

    def __init__(
        self, services: Services, bucket: Bucket, parts: list[Part], first: int, count: int,
        lease: int,
    ) -> None:  # fmt: skip
        self._services = services
        self._bucket = bucket
        self._lease = lease
        self._open: OpenBlob | None = None
        self._slices = _slices(parts, first, count)

    async def open_first(self) -> None:
        """So that content which went is noticed while the answer can still start anew."""
        if not self._slices:
            raise BlobMissing("the parts are gone")
        self._open = await self._open_part(self._slices[0][0])

    async def _open_part(self, part: Part) -> OpenBlob:
        assert part.blob is not None
        return await self._services.blobs.open(blob_address(self._bucket, part.blob))

    async def regions(self) -> AsyncIterator[Region]:
        for index, (part, first, count) in enumerate(self._slices):
            if index:
                self._close_open()
                self._open = await self._open_part(part)
            assert self._open is not None
            yield Region(self._open.fd, first, count)

    def _close_open(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def close(self) -> None:
        self._close_open()
        self._services.leases.end(self._lease)


def _slices(parts: list[Part], first: int, count: int) -> list[tuple[Part, int, int]]:
    """(part, first byte in it, bytes of it) for a range of the whole."""
    chosen: list[tuple[Part, int, int]] = []
    offset = 0
    end = first + count
    for part in parts:
        start = max(first, offset)
        stop = min(end, offset + part.size)
        if start < stop:
            chosen.append((part, start - offset, stop - start))
        offset += part.size
        if offset >= end:
            break
    return chosen
