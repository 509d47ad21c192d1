"""Multipart uploads: a part (parts.py) is the unit of content, Complete only writes rows.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from typing import Annotated
from xml.etree import ElementTree

import msgspec

from holdfast.http.message import Response
from holdfast.meta.commands import (
    AbortUpload,
    CompleteUpload,
    Conditions,
    CreateUpload,
    ObjectPut,
    Refused,
    UploadCreated,
)
from holdfast.meta.records import Bucket, ObjectVersion, Part, Upload
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.checksums import (
    ALGORITHMS,
    COMPOSITE,
    FULL_OBJECT,
    HEADERS,
    Algorithm,
    algorithm,
    checksum_elements,
    composite,
    decode_digest,
    joined,
)
from holdfast.s3.conditions import bare_etag, unwanted_etag, wanted_etag
from holdfast.s3.dates import iso_date
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.metadata import check_user_metadata, system_metadata
from holdfast.s3.names import PART_NUMBER_MAX, decode_upload_id, encode_upload_id, part_number
from holdfast.s3.numbers import whole_number
from holdfast.s3.operation import BUCKET, OBJECT, Header, Input, Query, operation
from holdfast.s3.ops.listing import (
    LIST_KEYS_MAX,
    KeyWriter,
    encoding_type,
    max_keys,
    prefix_rows,
)
from holdfast.s3.ops.write import (
    ObjectMetadataInput,
    further_fields,
    write_conditions,
)
from holdfast.s3.part_lists import load_parts
from holdfast.s3.payload import read_document
from holdfast.s3.render import version_header
from holdfast.s3.slow import answer_in_time
from holdfast.s3.xml import LONG_XML_BODY_BYTES_MAX, element, understood

PART_BYTES_MIN = 5 * 1024**2
#: what Complete of so many parts comes to is found at once, of more beside the loop
DECIDE_PARTS_MAX = 500
OBJECT_BYTES_MAX = 50 * 10**12
COMPLETE_ATTEMPTS_MAX = 3
_CHECKSUM_TAGS = {f"Checksum{name}": name for name in ALGORITHMS}


def _checksum_type(text: str) -> str:
    if text.upper() not in (COMPOSITE, FULL_OBJECT):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    return text.upper()


class UploadInput(Input):
    upload_id: Annotated[str, Query("uploadId")] = ""


class CreateMultipartUploadInput(ObjectMetadataInput):
    checksum_algorithm: Annotated[str, Header("x-amz-checksum-algorithm")] = ""
    checksum_type: Annotated[str, Header("x-amz-checksum-type", _checksum_type)] = ""


@operation("CreateMultipartUpload", "POST", OBJECT, query=("uploads",), action="s3:PutObject")
async def create_multipart_upload(call: Call, inp: CreateMultipartUploadInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html"""
    bucket = await call.bucket()
    check_user_metadata(inp.metadata)
    name = kind = ""
    if inp.checksum_algorithm:
        alg = algorithm(inp.checksum_algorithm)
        name, kind = alg.name, inp.checksum_type or alg.default_type
        if kind not in alg.types:
            raise S3Error(
                "InvalidRequest",
                f"The {kind} checksum type cannot be used with the {name} checksum algorithm.",
            )
    elif inp.checksum_type:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm "
            "header.",
        )
    token = os.urandom(8)
    command = CreateUpload(
        bucket.id,
        call.key,
        token,
        call.account_id,
        inp.storage_class,
        name,
        kind,
        system_metadata(call.request.headers),
        inp.metadata,
    )
    further = await further_fields(call, bucket, inp)
    if further is not None:
        command = msgspec.structs.replace(command, **further)
    result = await call.services.meta.submit(command)
    if isinstance(result, Refused):
        raise refusal(result)
    assert isinstance(result, UploadCreated)
    response = call.xml(
        xml.document(
            "InitiateMultipartUploadResult",
            element("Bucket", bucket.name)
            + element("Key", call.key.decode("utf-8"))
            + element("UploadId", encode_upload_id(result.upload_id, token)),
        )
    )
    if name:
        response.headers += [
            ("x-amz-checksum-algorithm", name),
            ("x-amz-checksum-type", kind),
        ]
    return response


async def find_upload(call: Call, bucket: Bucket, upload_id: str) -> Upload:
    """Raises NoSuchUpload, also when the id belongs to another key."""
    decoded = decode_upload_id(upload_id)
    if decoded is not None:
        upload = await call.services.meta.upload(bucket.id, decoded[0])
        if upload is not None and upload.token == decoded[1] and upload.key == call.key:
            return upload
    raise S3Error("NoSuchUpload", UploadId=upload_id)


def _object_size(text: str) -> int:
    size = whole_number(text)
    if size is None:
        raise S3Error("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
    return size


class CompleteMultipartUploadInput(UploadInput):
    checksum_type: Annotated[str, Header("x-amz-checksum-type", _checksum_type)] = ""
    size: Annotated[int, Header("x-amz-mp-object-size", _object_size)] = -1
    if_match: Annotated[str, Header("if-match", wanted_etag)] = ""
    if_none_match: Annotated[str, Header("if-none-match", unwanted_etag)] = ""


class _Named(msgspec.Struct, frozen=True):
    """A part as the client names it in Complete."""

    number: int
    etag: str
    checksums: dict[str, str]


@operation(
    "CompleteMultipartUpload",
    "POST",
    OBJECT,
    query=("uploadId",),
    action="s3:PutObject",
    takes=HEADERS,
)
async def complete_multipart_upload(call: Call, inp: CompleteMultipartUploadInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html

    Deviation: If-None-Match as in PutObject. Asked again after its success, while the object is
    still current, it answers the same success.
    """
    # the checksum headers are of the object here, not of this body
    request_headers = call.request.headers
    expected = {a.name: request_headers.pop(a.header, "") for a in ALGORITHMS.values()}
    body = await read_document(call.request, call.auth, LONG_XML_BODY_BYTES_MAX)
    bucket = await call.bucket()
    named = await understood(_named_parts, body)
    conditions = write_conditions(inp.if_match, inp.if_none_match)
    return await answer_in_time(
        call.request, _complete(call, inp, bucket, named, expected, conditions)
    )


async def _complete(
    call: Call,
    inp: CompleteMultipartUploadInput,
    bucket: Bucket,
    named: list[_Named],
    expected: dict[str, str],
    conditions: Conditions | None,
) -> Response:
    meta = call.services.meta
    for _ in range(COMPLETE_ATTEMPTS_MAX):
        try:
            upload = await find_upload(call, bucket, inp.upload_id)
        except S3Error:
            version = await _completed_before(call, bucket, inp.upload_id, named)
            if version is None:
                raise
            return _completed(call, bucket, version)
        if inp.checksum_type and upload.checksum_type and inp.checksum_type != upload.checksum_type:
            raise S3Error(
                "BadDigest",
                f"The upload was created using the {upload.checksum_type} checksum mode. The "
                "complete request must use the same checksum mode.",
            )
        if upload.checksum_algorithm and named[-1].number != len(named):
            # S3, CompletedPart: with a checksum of each part, numbers are 1, 2, 3 …
            raise S3Error("InvalidPartOrder")
        stored = await load_parts(meta, upload.id)
        decided = bucket, upload, named, stored, inp.size, expected
        if len(named) <= DECIDE_PARTS_MAX:
            command = _complete_command(*decided)
        else:
            command = await asyncio.to_thread(_complete_command, *decided)
        if conditions is not None:
            command = msgspec.structs.replace(command, conditions=conditions)
        result = await meta.submit(command)
        if isinstance(result, ObjectPut):
            return _completed(call, bucket, command, result)
        assert isinstance(result, Refused)
        if result.code not in ("PartsChanged", "NoSuchUpload"):
            raise refusal(result)
    raise S3Error("ServiceUnavailable", "The parts keep changing. Please try again.")


async def _completed_before(
    call: Call, bucket: Bucket, upload_id: str, named: list[_Named]
) -> ObjectVersion | None:
    """The version that this upload became, when it is current and of these very parts: a client that
    lost the answer asks again, and gets it again."""
    decoded = decode_upload_id(upload_id)
    found = await call.services.meta.find(bucket.id, call.key)
    if decoded is None or found is None or found.version.parts_id != decoded[0]:
        return None
    parts = await load_parts(call.services.meta, found.version.parts_id)
    same = [(part.number, part.etag) for part in parts] == [(p.number, p.etag) for p in named]
    return found.version if same else None


def _named_parts(body: bytes) -> list[_Named]:
    """Raises MalformedXML, InvalidPartOrder."""
    if not body:
        raise S3Error("MalformedXML")
    entries = xml.parse(body, "CompleteMultipartUpload").findall("Part")
    if not entries or len(entries) > PART_NUMBER_MAX:
        raise S3Error("MalformedXML")
    named = [_named_part(entry) for entry in entries]
    if any(b.number <= a.number for a, b in itertools.pairwise(named)):
        raise S3Error("InvalidPartOrder")
    return named


def _named_part(entry: ElementTree.Element) -> _Named:
    # looked at once, not searched for each algorithm: there may be ten thousand of them
    fields = {child.tag: child.text or "" for child in entry}
    number, etag = fields.get("PartNumber"), fields.get("ETag")
    if number is None or etag is None or whole_number(number.strip()) is None:
        raise S3Error("MalformedXML")
    checksums = {
        name: value for tag, value in fields.items() if value and (name := _CHECKSUM_TAGS.get(tag))
    }
    return _Named(part_number(number.strip()), bare_etag(etag), checksums)


def _choose(named: list[_Named], stored: list[Part]) -> list[Part]:
    """The stored parts that the client means. Raises InvalidPart, EntityTooSmall."""
    by_number = {part.number: part for part in stored}
    chosen = []
    for one in named:
        part = by_number.get(one.number)
        if (
            part is None
            or part.etag != one.etag
            or any(
                name == part.checksum_algorithm and value != part.checksum
                for name, value in one.checksums.items()
            )
        ):
            raise S3Error("InvalidPart", PartNumber=str(one.number), ETag=one.etag)
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < PART_BYTES_MIN:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=str(part.size),
                MinSizeAllowed=str(PART_BYTES_MIN),
                PartNumber=str(part.number),
                ETag=part.etag,
            )
    return chosen


def _complete_command(
    bucket: Bucket,
    upload: Upload,
    named: list[_Named],
    stored: list[Part],
    size: int,
    expected: dict[str, str],
) -> CompleteUpload:
    parts = _choose(named, stored)
    total = sum(part.size for part in parts)
    if total > OBJECT_BYTES_MAX:
        raise S3Error("EntityTooLarge")
    if size not in (-1, total):
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {size} does not match what was "
            f"computed: {total}",
        )
    md5s = b"".join(bytes.fromhex(part.etag) for part in parts)
    etag = f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(parts)}"
    name, kind, checksum = _whole_checksum(upload, parts)
    for wanted, value in expected.items():
        if value and (wanted != name or value.partition("-")[0] != checksum.partition("-")[0]):
            raise S3Error(
                "BadDigest",
                f"The {wanted} you specified did not match the calculated checksum.",
            )
    return CompleteUpload(
        bucket.id,
        upload.id,
        [(part.number, part.seq) for part in parts],
        total,
        etag,
        name,
        kind,
        checksum,
    )


def _whole_checksum(upload: Upload, parts: list[Part]) -> tuple[str, str, str]:
    """(algorithm, type, value) of the object; nothing where the parts' algorithms differ."""
    names = {part.checksum_algorithm for part in parts}
    if len(names) != 1:
        return "", "", ""
    alg: Algorithm = ALGORITHMS[names.pop()]
    digests = [decode_digest(alg, part.checksum, alg.header) for part in parts]
    if (upload.checksum_type or alg.default_type) == COMPOSITE:
        return alg.name, COMPOSITE, composite(alg, digests)
    sizes = [part.size for part in parts]
    return alg.name, FULL_OBJECT, joined(alg, list(zip(digests, sizes, strict=True)))


def _completed(
    call: Call,
    bucket: Bucket,
    made: CompleteUpload | ObjectVersion,
    result: ObjectPut | None = None,
) -> Response:
    """`made`: what the upload became, by this request (`result`) or by one before it."""
    key = call.key.decode("utf-8")
    scheme = "https" if call.request.secure else "http"
    host = call.request.headers.get("host", "")
    response = call.xml(
        xml.document(
            "CompleteMultipartUploadResult",
            element("Location", f"{scheme}://{host}{call.request.path}")
            + element("Bucket", bucket.name)
            + element("Key", key)
            + element("ETag", f'"{made.etag}"')
            + checksum_elements(made.checksum_algorithm, made.checksum_type, made.checksum),
        )
    )
    version = made if isinstance(made, ObjectVersion) else result
    if version is not None and not version.is_null:
        response.headers.append(version_header(version.seq, False))
    return response


@operation("AbortMultipartUpload", "DELETE", OBJECT, query=("uploadId",), status=204)
async def abort_multipart_upload(call: Call, inp: UploadInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html"""
    bucket = await call.bucket()
    upload = await find_upload(call, bucket, inp.upload_id)
    result = await call.services.meta.submit(AbortUpload(bucket.id, upload.id))
    if isinstance(result, Refused):
        raise refusal(result)
    return call.empty()


class ListMultipartUploadsInput(Input):
    prefix: Annotated[str, Query("prefix")] = ""
    delimiter: Annotated[str, Query("delimiter")] = ""
    max_uploads: Annotated[int, Query("max-uploads", max_keys)] = LIST_KEYS_MAX
    url: Annotated[bool, Query("encoding-type", encoding_type)] = False
    key_marker: Annotated[str, Query("key-marker")] = ""
    upload_marker: Annotated[str, Query("upload-id-marker")] = ""


@operation(
    "ListMultipartUploads",
    "GET",
    BUCKET,
    query=("uploads",),
    action="s3:ListBucketMultipartUploads",
)
async def list_multipart_uploads(call: Call, inp: ListMultipartUploadsInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html

    An upload-id-marker without a key-marker is ignored, as AWS documents.
    """
    bucket = await call.bucket()
    after_upload: int | None = None
    if inp.upload_marker and inp.key_marker:
        decoded = decode_upload_id(inp.upload_marker)
        if decoded is None:
            raise S3Error(
                "InvalidArgument",
                "Invalid uploadId marker",
                ArgumentName="upload-id-marker",
                ArgumentValue=inp.upload_marker,
            )
        after_upload = decoded[0]
    page = await call.services.meta.list_uploads(
        bucket.id,
        inp.prefix.encode("utf-8"),
        inp.delimiter.encode("utf-8"),
        inp.key_marker.encode("utf-8"),
        after_upload,
        inp.max_uploads,
    )
    write = KeyWriter(inp.url)
    inner = [
        element("Bucket", bucket.name),
        write.named("KeyMarker", inp.key_marker),
        element("UploadIdMarker", inp.upload_marker),
        write.named("Prefix", inp.prefix),
        f"<MaxUploads>{inp.max_uploads}</MaxUploads>",
        f"<IsTruncated>{str(page.truncated).lower()}</IsTruncated>",
    ]
    if page.truncated:
        inner.append(f"<NextKeyMarker>{write.key(page.next_key)}</NextKeyMarker>")
        if page.next_upload_id:
            last = page.uploads[-1]
            inner.append(element("NextUploadIdMarker", encode_upload_id(last.id, last.token)))
    if inp.delimiter:
        inner.append(write.named("Delimiter", inp.delimiter))
    if inp.url:
        inner.append("<EncodingType>url</EncodingType>")
    names = await call.services.directory.display_names(upload.owner for upload in page.uploads)
    inner += [_upload_row(upload, names[upload.owner], write) for upload in page.uploads]
    inner += prefix_rows(page.common_prefixes, write)
    return call.xml(xml.document("ListMultipartUploadsResult", *inner))


def _upload_row(upload: Upload, name: str, write: KeyWriter) -> str:
    owner = element("ID", upload.owner) + element("DisplayName", name)
    checksum = ""
    if upload.checksum_algorithm:
        checksum = element("ChecksumAlgorithm", upload.checksum_algorithm) + element(
            "ChecksumType", upload.checksum_type
        )
    return (
        f"<Upload><Key>{write.key(upload.key)}</Key>"
        f"<UploadId>{encode_upload_id(upload.id, upload.token)}</UploadId>"
        f"<Initiator>{owner}</Initiator><Owner>{owner}</Owner>"
        f"<StorageClass>{upload.storage_class}</StorageClass>{checksum}"
        f"<Initiated>{iso_date(upload.initiated_ms)}</Initiated></Upload>"
    )
