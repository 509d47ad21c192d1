"""CopyObject: rows and references; where content is shared, no byte is copied."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote_to_bytes

import msgspec

from holdfast.blobs.contract import BlobAddress, BlobMissing
from holdfast.http.message import Response
from holdfast.meta.commands import (
    Content,
    InlineContent,
    NewPart,
    NewParts,
    ObjectPut,
    PutObject,
    Refused,
    SharedContent,
    SharedParts,
    StoredContent,
)
from holdfast.meta.contract import Found
from holdfast.meta.records import Blob, Bucket, ObjectVersion
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.checksums import FULL_OBJECT, algorithm, encode_digest
from holdfast.s3.conditions import ReadConditions, check_read, create_only, wanted_etag
from holdfast.s3.dates import iso_date
from holdfast.s3.errors import S3Error
from holdfast.s3.metadata import check_user_metadata, storage_class, system_metadata
from holdfast.s3.names import check_key
from holdfast.s3.operation import OBJECT, Header, HeaderPrefix, Input, operation
from holdfast.s3.ops.read import blob_address, find_version
from holdfast.s3.ops.write import PUT_BYTES_MAX, refusal, remove_quietly, write_conditions
from holdfast.s3.xml import element

#: how often a copy starts again because its source changed under it
COPY_ATTEMPTS_MAX = 5


def _directive(text: str) -> str:
    if text.upper() not in ("COPY", "REPLACE"):
        raise S3Error(
            "InvalidArgument",
            "Unknown metadata directive.",
            ArgumentName="x-amz-metadata-directive",
            ArgumentValue=text,
        )
    return text.upper()


class CopyObjectInput(Input):
    source: Annotated[str, Header("x-amz-copy-source")] = ""
    source_owner: Annotated[str, Header("x-amz-source-expected-bucket-owner")] = ""
    source_if_match: Annotated[str, Header("x-amz-copy-source-if-match")] = ""
    source_if_none_match: Annotated[str, Header("x-amz-copy-source-if-none-match")] = ""
    source_if_modified: Annotated[str, Header("x-amz-copy-source-if-modified-since")] = ""
    source_if_unmodified: Annotated[str, Header("x-amz-copy-source-if-unmodified-since")] = ""
    directive: Annotated[str, Header("x-amz-metadata-directive", _directive)] = "COPY"
    storage_class: Annotated[str, Header("x-amz-storage-class", storage_class)] = ""
    checksum_algorithm: Annotated[str, Header("x-amz-checksum-algorithm")] = ""
    if_match: Annotated[str, Header("if-match", wanted_etag)] = ""
    if_none_match: Annotated[str, Header("if-none-match", create_only)] = ""
    metadata: Annotated[dict[str, str], HeaderPrefix("x-amz-meta-")] = {}


class _Source(msgspec.Struct, frozen=True):
    bucket: Bucket
    key: bytes
    version_id: str


@operation("CopyObject", "PUT", OBJECT, header="x-amz-copy-source", action="s3:PutObject")
async def copy_object(call: Call, inp: CopyObjectInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html

    Deviation: the copy of a multipart object keeps its ETag (`-N`) and its checksum, because its
    parts are shared and not read again.
    """
    bucket = await call.bucket()
    check_user_metadata(inp.metadata)
    conditions = write_conditions(inp.if_match, inp.if_none_match)
    source = await _source(call, inp)
    for _ in range(COPY_ATTEMPTS_MAX):
        found = await find_version(call, source.bucket, source.key, source.version_id, True)
        version = found.version
        check_read(
            ReadConditions(
                inp.source_if_match,
                inp.source_if_none_match,
                inp.source_if_modified,
                inp.source_if_unmodified,
            ),
            version,
            copy_source=True,
        )
        _check_copy(call, inp, source, bucket, version)
        checksum = _checksum(inp, found)
        files: list[BlobAddress] = []
        try:
            content = await _content(call, source.bucket, bucket, found, files)
        except BlobMissing:
            await _remove(call, files)
            continue
        command = _command(call, inp, bucket, version, content, checksum)
        if conditions is not None:
            command = msgspec.structs.replace(command, conditions=conditions)
        result = await call.services.meta.submit(command)
        if isinstance(result, ObjectPut):
            if result.redundant:
                await _remove(call, files)
            return call.xml(_answer(command, result))
        assert isinstance(result, Refused)
        await _remove(call, files)
        if result.code != "ContentGone":
            raise refusal(result)
    raise S3Error("ServiceUnavailable", "The source of the copy keeps changing. Please try again.")


async def _source(call: Call, inp: CopyObjectInput) -> _Source:
    """Out of `x-amz-copy-source: [/]bucket/key[?versionId=...]`, percent-encoded."""
    text, _, version = inp.source.partition("?versionId=")
    raw = unquote_to_bytes(text.encode("latin-1")).removeprefix(b"/")
    bucket_name, _, key = raw.partition(b"/")
    if not bucket_name or not key:
        raise S3Error(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ArgumentName="x-amz-copy-source",
            ArgumentValue=inp.source,
        )
    check_key(key)
    name = bucket_name.decode("utf-8", "replace")
    bucket = await call.services.meta.bucket(name)
    if bucket is None:
        raise S3Error("NoSuchBucket", BucketName=name)
    if inp.source_owner and inp.source_owner != bucket.owner:
        raise S3Error("AccessDenied")
    return _Source(bucket, key, version)


def _check_copy(
    call: Call, inp: CopyObjectInput, source: _Source, bucket: Bucket, version: ObjectVersion
) -> None:
    if version.size > PUT_BYTES_MAX:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {PUT_BYTES_MAX}",
        )
    itself = source.bucket.id == bucket.id and source.key == call.key and not source.version_id
    same_class = inp.storage_class in ("", version.storage_class)
    if itself and inp.directive == "COPY" and same_class and not inp.checksum_algorithm:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without "
            "changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )


async def _content(
    call: Call, source: Bucket, target: Bucket, found: Found, files: list[BlobAddress]
) -> Content:
    """The reference that the copy takes. Files made on the way are added to `files`."""
    version = found.version
    same = source.id == target.id
    if version.parts_id:
        if same:
            return SharedParts(version.parts_id)
        parts = [
            NewPart(
                part.number,
                part.size,
                part.etag,
                await _link(call, source, target, part.blob, files),
                part.checksum_algorithm,
                part.checksum,
            )
            for part in await call.services.meta.parts(version.parts_id)
            if part.blob is not None
        ]
        if len(parts) != version.parts_count:
            raise BlobMissing("the parts are gone")
        return NewParts(parts)
    if version.blob is not None:
        if same:
            return SharedContent(version.blob.id)
        return await _link(call, source, target, version.blob, files)
    return InlineContent(found.data or b"")


async def _link(
    call: Call, source: Bucket, target: Bucket, blob: Blob, files: list[BlobAddress]
) -> StoredContent:
    services = call.services
    written_ms = int(services.now() * 1000)
    address = await services.blobs.link(blob_address(source, blob), target.directory)
    files.append(address)
    return StoredContent(address.sha256, address.n, blob.size, written_ms)


async def _remove(call: Call, files: list[BlobAddress]) -> None:
    for address in files:
        await remove_quietly(call.services, address)


def _checksum(inp: CopyObjectInput, found: Found) -> tuple[str, str, str]:
    """(algorithm, type, value) of the copy: the source's, unless another algorithm is asked for.

    Raises NotImplemented where that would mean to read the content again.
    """
    version = found.version
    wanted = inp.checksum_algorithm.upper()
    if wanted in ("", version.checksum_algorithm):
        return version.checksum_algorithm, version.checksum_type, version.checksum
    alg = algorithm(wanted)
    if version.parts_id or version.blob is not None:
        raise S3Error(
            "NotImplemented",
            "CopyObject with another checksum algorithm than the source's is not implemented "
            "for objects of this size.",
        )
    return alg.name, FULL_OBJECT, encode_digest(alg.digest(found.data or b""))


def _command(
    call: Call,
    inp: CopyObjectInput,
    bucket: Bucket,
    version: ObjectVersion,
    content: Content,
    checksum: tuple[str, str, str],
) -> PutObject:
    replace = inp.directive == "REPLACE"
    return PutObject(
        bucket.id,
        call.key,
        version.size,
        version.etag,
        call.account_id,
        content,
        inp.storage_class or "STANDARD",
        *checksum,
        system_metadata(call.request.headers) if replace else version.headers,
        inp.metadata if replace else version.metadata,
    )


def _answer(command: PutObject, result: ObjectPut) -> bytes:
    checksum = ""
    if command.checksum:
        checksum = element(f"Checksum{command.checksum_algorithm}", command.checksum) + element(
            "ChecksumType", command.checksum_type
        )
    return xml.document(
        "CopyObjectResult",
        f"<LastModified>{iso_date(result.modified_ms)}</LastModified>"
        f"{element('ETag', chr(34) + command.etag + chr(34))}{checksum}",
    )
