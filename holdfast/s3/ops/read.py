"""GetObject and HeadObject."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, NamedTuple
from urllib.parse import quote

from holdfast.blobs.contract import BlobAddress, BlobMissing, OpenBlob
from holdfast.http.message import FileBody, Region, Response
from holdfast.meta.contract import Found
from holdfast.meta.records import Blob, Bucket, ObjectVersion, Part
from holdfast.s3.call import Call, Services
from holdfast.s3.conditions import ReadConditions, check_read, if_range_holds, parse_range
from holdfast.s3.dates import http_date
from holdfast.s3.errors import S3Error
from holdfast.s3.leases import READ_MS_MAX, ReadLeases
from holdfast.s3.names import part_number, version_seq
from holdfast.s3.operation import OBJECT, Header, Input, Query, operation
from holdfast.s3.render import checksum_headers, object_headers, version_header

#: how often a read starts again because its content went between the row and the file
READ_ATTEMPTS_MAX = 5
#: what is opened was found in its row at most so long ago, in milliseconds
ROW_AGE_MS_MAX = 10_000

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
    part: Annotated[int, Query("partNumber", part_number)] = 0


@operation("GetObject", "GET", OBJECT)
async def get_object(call: Call, inp: ReadInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html"""
    bucket = await call.bucket()
    for _ in range(READ_ATTEMPTS_MAX):
        version, data = await find_version(call, bucket, call.key, inp.version_id, with_data=True)
        try:
            part = await _part(call, inp, version) if inp.part else None
            status, headers, first, count = _head(call, inp, bucket, version, part)
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
    for _ in range(READ_ATTEMPTS_MAX):
        version, _ = await find_version(call, bucket, call.key, inp.version_id)
        try:
            part = await _part(call, inp, version) if inp.part else None
        except BlobMissing:
            continue  # as above
        status, headers, _, count = _head(call, inp, bucket, version, part)
        headers.append(("Content-Length", str(count)))
        return Response(status, headers)
    raise RuntimeError(f"parts of {call.bucket_name}/{call.key!r} are missing")


async def find_version(
    call: Call, bucket: Bucket, key: bytes, version_id: str = "", with_data: bool = False
) -> Found:
    """The version that a read means. Raises NoSuchKey, NoSuchVersion, InvalidArgument, and
    MethodNotAllowed for a delete marker that is named by its id."""
    found = await call.services.meta.find(
        bucket.id, key, version_seq(version_id) if version_id else 0, with_data=with_data
    )
    if found is None:
        if version_id:
            raise S3Error("NoSuchVersion", Key=key.decode(), VersionId=version_id)
        raise S3Error("NoSuchKey", Key=key.decode())
    if found.version.delete_marker:
        raise _marker(found.version, version_id)
    return found


def _marker(version: ObjectVersion, version_id: str) -> S3Error:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html"""
    headers = [
        ("x-amz-delete-marker", "true"),
        version_header(version.seq, version.is_null),
    ]
    if not version_id:
        error = S3Error("NoSuchKey", Key=version.key.decode())
    else:
        error = S3Error("MethodNotAllowed", Method="GET", ResourceType="DeleteMarker")
        headers += [("Allow", "DELETE"), ("Last-Modified", http_date(version.modified_ms))]
    error.headers = headers
    return error


class _PartRead(NamedTuple):
    """The part that a read names, and where it lies. `part` None: the whole is the only one."""

    part: Part | None
    first: int
    size: int  # bytes


async def _part(call: Call, inp: ReadInput, version: ObjectVersion) -> _PartRead:
    """Raises InvalidRequest, InvalidPartNumber (416); BlobMissing when the part went meanwhile."""
    if inp.range:
        raise S3Error(
            "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
        )
    if not version.parts_count:
        if inp.part == 1:
            return _PartRead(None, 0, version.size)
    else:
        layouts = call.services.part_layouts
        layout = await layouts.of(version)
        index = layout.index_of(inp.part)
        if index is not None:
            (part,) = await layouts.parts(version.parts_id, layout, index, index + 1)
            return _PartRead(part, layout.start(index), part.size)
    raise S3Error(
        "InvalidPartNumber",
        PartNumberRequested=str(inp.part),
        ActualPartCount=str(version.parts_count or 1),
    )


def _head(
    call: Call, inp: ReadInput, bucket: Bucket, version: ObjectVersion, part: _PartRead | None
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
    if bucket.versioning or inp.version_id:
        headers.append(version_header(version.seq, version.is_null))
    if inp.range and (not inp.if_range or if_range_holds(inp.if_range, version)):
        part_of = parse_range(inp.range, size)
        if part_of is not None:
            first, count = part_of
            status = 206
    elif part is not None:
        first, count = part.first, part.size
        if version.parts_count:
            headers.append(("x-amz-mp-parts-count", str(version.parts_count)))
        status = 206 if count else 200  # no Content-Range names an empty stretch
    if status == 206:
        headers.append(("Content-Range", f"bytes {first}-{first + count - 1}/{size}"))
    if inp.checksum_mode.upper() == "ENABLED":
        headers += _checksum_headers(version, status == 200, part)
    if call.query:
        headers = _override(call.query, headers)
    return status, headers, first, count


def _checksum_headers(
    version: ObjectVersion, whole: bool, part: _PartRead | None
) -> list[tuple[str, str]]:
    """Of what is sent: the object, or a part of it; of any other range there is none."""
    if part is not None and part.part is not None:
        kind = version.checksum_type
        return checksum_headers(part.part.checksum_algorithm, kind, part.part.checksum)
    if whole or part is not None:
        return checksum_headers(version.checksum_algorithm, version.checksum_type, version.checksum)
    return []


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
    now_ms = int(services.now() * 1000)
    lease = services.leases.begin(now_ms - ROW_AGE_MS_MAX)
    try:
        if version.blob is not None:
            opened = await services.blobs.open(blob_address(bucket, version.blob))
            if opened.size != version.size:
                opened.close()
                raise RuntimeError(
                    f"{quote(version.key)} has {opened.size} bytes, not {version.size}"
                )
            region = Region(opened.fd, opened.offset + first, count)
            if opened.needs_lease:
                return FileBody(count, (region,), _Closing(services.leases, lease, opened).close)
            services.leases.end(lease)  # the open file is enough, however long it takes
            return FileBody(count, (region,), opened.close)
        slices = await _slices(services, version, first, count)
        reader = _PartsReader(services, bucket, slices, lease, now_ms)
        await reader.open_first()
    except BaseException:
        services.leases.end(lease)
        raise
    return FileBody(count, reader.regions(), reader.close)


class _Closing:
    """Closes a blob and ends the lease on it."""

    __slots__ = ("_lease", "_leases", "_opened")

    def __init__(self, leases: ReadLeases, lease: int, opened: OpenBlob) -> None:
        self._leases = leases
        self._lease = lease
        self._opened = opened

    def close(self) -> None:
        self._opened.close()
        self._leases.end(self._lease)


class _PartsReader:
    """The files of a multipart object one after the other, one open at a time, under a lease."""

    def __init__(
        self,
        services: Services,
        bucket: Bucket,
        slices: list[tuple[Part, int, int]],
        lease: int,
        began_ms: int,
    ) -> None:
        self._services = services
        self._bucket = bucket
        self._slices = slices
        self._lease = lease
        self._until_ms = began_ms + READ_MS_MAX
        self._open: OpenBlob | None = None

    async def open_first(self) -> None:
        """So that content which went is noticed while the answer can still start anew."""
        self._open = await self._open_part(self._slices[0][0])

    async def _open_part(self, part: Part) -> OpenBlob:
        assert part.blob is not None
        return await self._services.blobs.open(blob_address(self._bucket, part.blob))

    async def regions(self) -> AsyncIterator[Region]:
        for index, (part, first, count) in enumerate(self._slices):
            if index:
                self._close_open()
                if self._services.now() * 1000 > self._until_ms:
                    raise TimeoutError("the client took too long: its lease on the parts is over")
                self._open = await self._open_part(part)
            assert self._open is not None
            yield Region(self._open.fd, self._open.offset + first, count)

    def _close_open(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def close(self) -> None:
        self._close_open()
        self._services.leases.end(self._lease)


async def _slices(
    services: Services, version: ObjectVersion, first: int, count: int
) -> list[tuple[Part, int, int]]:
    """(part, first byte in it, bytes of it) for a range of the whole. Raises BlobMissing."""
    layouts = services.part_layouts
    layout = await layouts.of(version)
    stop = first + count
    begin, end = layout.index_at(first), layout.index_at(stop - 1) + 1
    chosen: list[tuple[Part, int, int]] = []
    for part in await layouts.parts(version.parts_id, layout, begin, end):
        start = layout.start(begin + len(chosen))
        low, high = max(first, start), min(stop, start + part.size)
        chosen.append((part, low - start, high - low))
    return chosen
