"""The parts of an upload: UploadPart, UploadPartCopy, ListParts.

A part is always a file, also a small one, so that an object of parts is read by sendfile throughout.
A copied part that is a whole content already (an object of one PUT, or a part) is shared or linked;
any other stretch is read and written anew in bounded memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

import msgspec

from holdfast.blobs.contract import BlobAddress, BlobMissing
from holdfast.http.message import Response
from holdfast.meta.commands import PartPut, PutPart, Refused, SharedContent, StoredContent
from holdfast.meta.contract import Found
from holdfast.meta.records import Blob, Bucket, ObjectVersion, Part, Upload
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.checksums import (
    ALGORITHMS,
    DEFAULT,
    FULL_OBJECT,
    HEADERS,
    Algorithm,
    checksum_elements,
    encode_digest,
)
from holdfast.s3.content import BytesSource, ContentSource, checksum_of
from holdfast.s3.dates import iso_date
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.names import part_number
from holdfast.s3.numbers import whole_number
from holdfast.s3.operation import OBJECT, Header, Query, operation
from holdfast.s3.ops.copy import (
    COPY_ATTEMPTS_MAX,
    CopySource,
    CopySourceInput,
    copy_source,
    link,
    source_version,
    too_large,
)
from holdfast.s3.ops.listing import INTEGER_MAX
from holdfast.s3.ops.multipart import UploadInput, find_upload
from holdfast.s3.ops.read import content_body
from holdfast.s3.ops.write import PUT_BYTES_MAX, commit, receive, remove_quietly
from holdfast.s3.payload import Payload
from holdfast.s3.slow import answer_in_time
from holdfast.s3.xml import element

LIST_PARTS_MAX = 1000
_COPY_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{1,19})\Z")


class UploadPartInput(UploadInput):
    number: Annotated[int, Query("partNumber", part_number)] = 0


@operation(
    "UploadPart",
    "PUT",
    OBJECT,
    query=("partNumber", "uploadId"),
    action="s3:PutObject",
    takes=HEADERS,
)
async def upload_part(call: Call, inp: UploadPartInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html"""
    services = call.services
    bucket = await call.bucket()
    upload = await find_upload(call, bucket, inp.upload_id)
    payload = Payload(call.request, call.auth, PUT_BYTES_MAX)
    wanted = upload.checksum_algorithm
    if wanted and payload.algorithm is not None and payload.algorithm.name != wanted:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {wanted.lower()}, actual "
            f"checksum Type: {payload.algorithm.name.lower()}",
        )
    if wanted and payload.algorithm is None:
        payload.algorithm = ALGORITHMS[wanted]
    received = await receive(services, payload, bucket, 0)
    alg = payload.stored_algorithm
    command = PutPart(
        bucket.id,
        upload.id,
        inp.number,
        received.size,
        received.etag,
        received.content,
        alg.name,
        received.checksum,
    )
    result = await commit(services, command, received.address)
    assert isinstance(result, PartPut)
    return call.empty([("ETag", f'"{received.etag}"'), (alg.header, received.checksum)])


class UploadPartCopyInput(CopySourceInput):
    upload_id: Annotated[str, Query("uploadId")] = ""
    number: Annotated[int, Query("partNumber", part_number)] = 0
    range: Annotated[str, Header("x-amz-copy-source-range")] = ""


@operation(
    "UploadPartCopy",
    "PUT",
    OBJECT,
    query=("partNumber", "uploadId"),
    header="x-amz-copy-source",
    action="s3:PutObject",
)
async def upload_part_copy(call: Call, inp: UploadPartCopyInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html"""
    bucket = await call.bucket()
    upload = await find_upload(call, bucket, inp.upload_id)
    source = await copy_source(call, inp)
    return await answer_in_time(call.request, _copy_part(call, inp, bucket, upload, source))


async def _copy_part(
    call: Call, inp: UploadPartCopyInput, bucket: Bucket, upload: Upload, source: CopySource
) -> Response:
    alg = ALGORITHMS[upload.checksum_algorithm] if upload.checksum_algorithm else DEFAULT
    for _ in range(COPY_ATTEMPTS_MAX):
        found = await source_version(call, inp, source)
        first, count = _copy_range(inp.range, found.version.size)
        if count > PUT_BYTES_MAX:
            raise too_large()
        try:
            copied = await _copied(call, source.bucket, bucket, found, first, count, alg)
        except BlobMissing:
            continue  # it was replaced or deleted meanwhile: the row tells
        command = PutPart(
            bucket.id,
            upload.id,
            inp.number,
            count,
            copied.etag,
            copied.content,
            alg.name,
            copied.checksum,
        )
        result = await call.services.meta.submit(command)
        unused = not isinstance(result, PartPut) or result.redundant
        if unused and copied.address is not None:
            await remove_quietly(call.services, copied.address)
        if isinstance(result, PartPut):
            response = call.xml(_copy_answer(result.part))
            response.headers += source.version_headers(found.version)
            return response
        assert isinstance(result, Refused)
        if result.code != "ContentGone":
            raise refusal(result)
    raise S3Error("ServiceUnavailable", "The source of the copy keeps changing. Please try again.")


def _copy_answer(part: Part) -> bytes:
    return xml.document(
        "CopyPartResult",
        f"<LastModified>{iso_date(part.modified_ms)}</LastModified>"
        f"<ETag>&quot;{part.etag}&quot;</ETag>"
        f"{checksum_elements(part.checksum_algorithm, '', part.checksum)}",
    )


def _copy_range(text: str, size: int) -> tuple[int, int]:
    """(first byte, number of bytes). Raises InvalidArgument (no range), InvalidRange (416)."""
    if not text:
        return 0, size
    match = _COPY_RANGE.match(text)
    if match is None or int(match[2]) < int(match[1]):
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=text,
        )
    first, last = int(match[1]), int(match[2])
    if last >= size:
        raise S3Error(
            "InvalidRange",
            f"Range specified is not valid for source object of size: {size}",
            RangeRequested=text,
            ActualObjectSize=str(size),
        )
    return first, last - first + 1


class _Copied(msgspec.Struct, frozen=True):
    """Content for a part; `address` is that of a file that was made for it."""

    content: StoredContent | SharedContent
    etag: str
    checksum: str
    address: BlobAddress | None


class _Unit(msgspec.Struct, frozen=True):
    """A content that was sent in one go, with what is known of it."""

    blob: Blob
    etag: str
    checksum_algorithm: str
    checksum: str


async def _copied(
    call: Call, source: Bucket, bucket: Bucket, found: Found, first: int, count: int, alg: Algorithm
) -> _Copied:
    """Raises BlobMissing."""
    services = call.services
    version = found.version
    unit = await _unit(call, version, first, count)
    if unit is not None:
        checksum = unit.checksum
        if unit.checksum_algorithm != alg.name:
            body = await content_body(services, source, version, first, count)
            checksum = await checksum_of(body, alg)
        if source.id == bucket.id:
            return _Copied(SharedContent(unit.blob.id), unit.etag, checksum, None)
        files: list[BlobAddress] = []
        content = await link(call, source, bucket, unit.blob, files)
        return _Copied(content, unit.etag, checksum, files[0])
    if count and (version.blob is not None or version.parts_id):
        body = await content_body(services, source, version, first, count)
        try:
            staged = await services.blobs.stage(ContentSource(body), count, (alg.name,))
        finally:
            body.close()
    else:
        data = memoryview(found.data or b"")[first : first + count]
        staged = await services.blobs.stage(BytesSource(data), count, (alg.name,))
    if staged.size != count:
        await staged.discard()
        raise EOFError(f"read {staged.size} bytes of {count}")
    # before the file exists: the collector must never count it older than the committer does
    written_ms = int(services.now() * 1000)
    address = await staged.publish(bucket.directory)
    return _Copied(
        StoredContent(address.sha256, address.n, count, written_ms),
        staged.md5.hex(),
        encode_digest(staged.checksums[alg.name]),
        address,
    )


async def _unit(call: Call, version: ObjectVersion, first: int, count: int) -> _Unit | None:
    """The content that the range covers exactly; None when it is a stretch of one, or of several."""
    if version.blob is not None:
        if first or count != version.size:
            return None
        known = version.checksum_type == FULL_OBJECT
        return _Unit(
            version.blob,
            version.etag,
            version.checksum_algorithm if known else "",
            version.checksum,
        )
    if version.parts_id and count:
        layouts = call.services.part_layouts
        layout = await layouts.of(version)
        index = layout.index_at(first)
        if (layout.start(index), layout.size(index)) == (first, count):
            for part in await layouts.parts(version.parts_id, layout, index, index + 1):
                if part.blob is not None:
                    return _Unit(part.blob, part.etag, part.checksum_algorithm, part.checksum)
    return None


def _bounded(name: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = whole_number(text)
        if number is None or number > INTEGER_MAX:
            raise S3Error(
                "InvalidArgument",
                f"Provided {name} not an integer or within integer range",
                ArgumentName=name,
                ArgumentValue=text,
            )
        return number

    return parse


class ListPartsInput(UploadInput):
    max_parts: Annotated[int, Query("max-parts", _bounded("max-parts"))] = LIST_PARTS_MAX
    marker: Annotated[int, Query("part-number-marker", _bounded("part-number-marker"))] = 0


@operation("ListParts", "GET", OBJECT, query=("uploadId",), action="s3:ListMultipartUploadParts")
async def list_parts(call: Call, inp: ListPartsInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
    bucket = await call.bucket()
    upload = await find_upload(call, bucket, inp.upload_id)
    limit = min(inp.max_parts, LIST_PARTS_MAX)
    parts = await call.services.meta.parts(upload.id, inp.marker, limit + 1)
    truncated = len(parts) > limit
    parts = parts[:limit]
    name = await call.services.directory.display_name(upload.owner)
    owner = element("ID", upload.owner) + element("DisplayName", name)
    inner = [
        element("Bucket", bucket.name),
        element("Key", upload.key.decode("utf-8")),
        element("UploadId", inp.upload_id),
        f"<Initiator>{owner}</Initiator><Owner>{owner}</Owner>",
        element("StorageClass", upload.storage_class),
        f"<PartNumberMarker>{inp.marker}</PartNumberMarker>",
        f"<NextPartNumberMarker>{parts[-1].number if parts else 0}</NextPartNumberMarker>",
        f"<MaxParts>{limit}</MaxParts><IsTruncated>{str(truncated).lower()}</IsTruncated>",
    ]
    if upload.checksum_algorithm:
        inner += [
            element("ChecksumAlgorithm", upload.checksum_algorithm),
            element("ChecksumType", upload.checksum_type),
        ]
    for part in parts:
        checksum = (
            checksum_elements(part.checksum_algorithm, "", part.checksum)
            if upload.checksum_algorithm
            else ""
        )
        inner.append(
            f"<Part><PartNumber>{part.number}</PartNumber>"
            f"<LastModified>{iso_date(part.modified_ms)}</LastModified>"
            f"<ETag>&quot;{part.etag}&quot;</ETag>{checksum}<Size>{part.size}</Size></Part>"
        )
    return call.xml(xml.document("ListPartsResult", "".join(inner)))
