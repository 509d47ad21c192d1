"""Multipart uploads in their plain form: a part is the unit of content, Complete only writes rows.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html. A part is always a file,
also a small one, so that an object of parts is read by sendfile throughout.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable
from typing import Annotated
from xml.etree import ElementTree

import msgspec

from holdfast.http.message import Response
from holdfast.meta.commands import (
    AbortUpload,
    CompleteUpload,
    CreateUpload,
    ObjectPut,
    PartPut,
    PutPart,
    Refused,
    UploadCreated,
)
from holdfast.meta.records import Bucket, Part, Upload
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.checksums import (
    ALGORITHMS,
    COMPOSITE,
    FULL_OBJECT,
    HEADERS,
    Algorithm,
    algorithm,
    composite,
    decode_digest,
    joined,
)
from holdfast.s3.conditions import bare_etag, create_only, wanted_etag
from holdfast.s3.dates import iso_date
from holdfast.s3.errors import S3Error
from holdfast.s3.metadata import check_user_metadata, system_metadata
from holdfast.s3.names import decode_upload_id, encode_upload_id
from holdfast.s3.numbers import whole_number
from holdfast.s3.operation import OBJECT, Header, Input, Query, operation
from holdfast.s3.ops.listing import INTEGER_MAX
from holdfast.s3.ops.write import (
    PUT_BYTES_MAX,
    ObjectMetadataInput,
    commit,
    receive,
    refusal,
    write_conditions,
)
from holdfast.s3.payload import Payload, read_document
from holdfast.s3.xml import XML_BODY_BYTES_MAX, element, text_of

PART_NUMBER_MAX = 10_000
PART_BYTES_MIN = 5 * 1024**2
OBJECT_BYTES_MAX = 50 * 10**12
COMPLETE_ATTEMPTS_MAX = 3


def _checksum_type(text: str) -> str:
    if text.upper() not in (COMPOSITE, FULL_OBJECT):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    return text.upper()


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
    result = await call.services.meta.submit(
        CreateUpload(
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
    )
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


async def _upload(call: Call, bucket: Bucket, upload_id: str) -> Upload:
    """Raises NoSuchUpload, also when the id belongs to another key."""
    decoded = decode_upload_id(upload_id)
    if decoded is not None:
        upload = await call.services.meta.upload(bucket.id, decoded[0])
        if upload is not None and upload.token == decoded[1] and upload.key == call.key:
            return upload
    raise S3Error("NoSuchUpload", UploadId=upload_id)


def _part_number(text: str) -> int:
    number = whole_number(text)
    if number is None or not 1 <= number <= PART_NUMBER_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=text,
        )
    return number


class UploadPartInput(Input):
    upload_id: Annotated[str, Query("uploadId")] = ""
    number: Annotated[int, Query("partNumber", _part_number)] = 0


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
    upload = await _upload(call, bucket, inp.upload_id)
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


class ListPartsInput(Input):
    upload_id: Annotated[str, Query("uploadId")] = ""
    max_parts: Annotated[int, Query("max-parts", _bounded("max-parts"))] = 1000
    marker: Annotated[int, Query("part-number-marker", _bounded("part-number-marker"))] = 0


@operation("ListParts", "GET", OBJECT, query=("uploadId",), action="s3:ListMultipartUploadParts")
async def list_parts(call: Call, inp: ListPartsInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
    bucket = await call.bucket()
    upload = await _upload(call, bucket, inp.upload_id)
    limit = min(inp.max_parts, 1000)
    parts = await call.services.meta.parts(upload.id, inp.marker, limit + 1)
    truncated = len(parts) > limit
    parts = parts[:limit]
    credential = call.auth.credential
    name = credential.display_name if credential and credential.account_id == upload.owner else ""
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
            element(f"Checksum{part.checksum_algorithm}", part.checksum)
            if upload.checksum_algorithm
            else ""
        )
        inner.append(
            f"<Part><PartNumber>{part.number}</PartNumber>"
            f"<LastModified>{iso_date(part.modified_ms)}</LastModified>"
            f"<ETag>&quot;{part.etag}&quot;</ETag>{checksum}<Size>{part.size}</Size></Part>"
        )
    return call.xml(xml.document("ListPartsResult", "".join(inner)))


def _object_size(text: str) -> int:
    size = whole_number(text)
    if size is None:
        raise S3Error("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
    return size


class CompleteMultipartUploadInput(Input):
    upload_id: Annotated[str, Query("uploadId")] = ""
    checksum_type: Annotated[str, Header("x-amz-checksum-type", _checksum_type)] = ""
    size: Annotated[int, Header("x-amz-mp-object-size", _object_size)] = -1
    if_match: Annotated[str, Header("if-match", wanted_etag)] = ""
    if_none_match: Annotated[str, Header("if-none-match", create_only)] = ""


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
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html"""
    # the checksum headers are of the object here, not of this body
    request_headers = call.request.headers
    expected = {a.name: request_headers.pop(a.header, "") for a in ALGORITHMS.values()}
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    bucket = await call.bucket()
    upload = await _upload(call, bucket, inp.upload_id)
    named = _named_parts(body)
    conditions = write_conditions(inp.if_match, inp.if_none_match)
    if inp.checksum_type and upload.checksum_type and inp.checksum_type != upload.checksum_type:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_type} checksum mode. The complete "
            "request must use the same checksum mode.",
        )
    for _ in range(COMPLETE_ATTEMPTS_MAX):
        chosen = _choose(named, await call.services.meta.parts(upload.id))
        command = _complete_command(bucket, upload, chosen, inp.size, expected)
        if conditions is not None:
            command = msgspec.structs.replace(command, conditions=conditions)
        result = await call.services.meta.submit(command)
        if isinstance(result, ObjectPut):
            return call.xml(_completed(call, bucket, command))
        assert isinstance(result, Refused)
        if result.code != "PartsChanged":
            raise refusal(result)
    raise S3Error("ServiceUnavailable", "The parts keep changing. Please try again.")


def _named_parts(body: bytes) -> list[_Named]:
    """Raises MalformedXML, InvalidPartOrder."""
    if not body:
        raise S3Error("InvalidRequest", "You must specify at least one part")
    entries = xml.parse(body, "CompleteMultipartUpload").findall("Part")
    if not entries or len(entries) > PART_NUMBER_MAX:
        raise S3Error("MalformedXML")
    named = [_named_part(entry) for entry in entries]
    if any(b.number <= a.number for a, b in itertools.pairwise(named)):
        raise S3Error("InvalidPartOrder")
    return named


def _named_part(entry: ElementTree.Element) -> _Named:
    number, etag = text_of(entry, "PartNumber"), text_of(entry, "ETag")
    if number is None or etag is None or whole_number(number.strip()) is None:
        raise S3Error("MalformedXML")
    checksums = {name: value for name in ALGORITHMS if (value := text_of(entry, f"Checksum{name}"))}
    return _Named(_part_number(number.strip()), bare_etag(etag), checksums)


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
    bucket: Bucket, upload: Upload, parts: list[Part], size: int, expected: dict[str, str]
) -> CompleteUpload:
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


def _completed(call: Call, bucket: Bucket, command: CompleteUpload) -> bytes:
    key = call.key.decode("utf-8")
    scheme = "https" if call.request.secure else "http"
    host = call.request.headers.get("host", "")
    checksum = ""
    if command.checksum:
        checksum = element(f"Checksum{command.checksum_algorithm}", command.checksum) + element(
            "ChecksumType", command.checksum_type
        )
    return xml.document(
        "CompleteMultipartUploadResult",
        element("Location", f"{scheme}://{host}{call.request.path}")
        + element("Bucket", bucket.name)
        + element("Key", key)
        + element("ETag", f'"{command.etag}"')
        + checksum,
    )


class AbortMultipartUploadInput(Input):
    upload_id: Annotated[str, Query("uploadId")] = ""


@operation("AbortMultipartUpload", "DELETE", OBJECT, query=("uploadId",), status=204)
async def abort_multipart_upload(call: Call, inp: AbortMultipartUploadInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html"""
    bucket = await call.bucket()
    upload = await _upload(call, bucket, inp.upload_id)
    result = await call.services.meta.submit(AbortUpload(bucket.id, upload.id))
    if isinstance(result, Refused):
        raise refusal(result)
    return call.empty()
