"""CopyObject: rows and references; where content is shared, no byte is copied.

Content is read again only for a checksum by another algorithm than the source's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
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
from holdfast.s3.authorize import require
from holdfast.s3.call import Call
from holdfast.s3.checksums import FULL_OBJECT, algorithm, checksum_elements, encode_digest
from holdfast.s3.conditions import ReadConditions, check_read, unwanted_etag, wanted_etag
from holdfast.s3.content import checksum_of
from holdfast.s3.dates import iso_date
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.metadata import REDIRECT_HEADER, check_user_metadata, system_metadata
from holdfast.s3.names import check_key, encode_version_id
from holdfast.s3.operation import OBJECT, Header, Input, operation
from holdfast.s3.ops.read import blob_address, content_body, find_version
from holdfast.s3.ops.write import (
    PUT_BYTES_MAX,
    ObjectMetadataInput,
    further_fields,
    remove_quietly,
    write_conditions,
)
from holdfast.s3.part_lists import load_parts
from holdfast.s3.render import version_header
from holdfast.s3.slow import answer_in_time
from holdfast.s3.xml import element

#: how often a copy starts again because its source changed under it
COPY_ATTEMPTS_MAX = 5


def _directive(name: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.upper() not in ("COPY", "REPLACE"):
            raise S3Error(
                "InvalidArgument",
                f"Unknown {name} directive.",
                ArgumentName=f"x-amz-{name}-directive",
                ArgumentValue=text,
            )
        return text.upper()

    return parse


# what both kinds of copies take; an input has one base, so each declares its fields itself
_Source = Annotated[str, Header("x-amz-copy-source")]
_SourceOwner = Annotated[str, Header("x-amz-source-expected-bucket-owner")]
_SourceIfMatch = Annotated[str, Header("x-amz-copy-source-if-match")]
_SourceIfNoneMatch = Annotated[str, Header("x-amz-copy-source-if-none-match")]
_SourceIfModified = Annotated[str, Header("x-amz-copy-source-if-modified-since")]
_SourceIfUnmodified = Annotated[str, Header("x-amz-copy-source-if-unmodified-since")]


class CopySourceInput(Input):
    """Which version is copied, and under which conditions."""

    source: _Source = ""
    source_owner: _SourceOwner = ""
    source_if_match: _SourceIfMatch = ""
    source_if_none_match: _SourceIfNoneMatch = ""
    source_if_modified: _SourceIfModified = ""
    source_if_unmodified: _SourceIfUnmodified = ""


class CopyObjectInput(ObjectMetadataInput):
    source: _Source = ""
    source_owner: _SourceOwner = ""
    source_if_match: _SourceIfMatch = ""
    source_if_none_match: _SourceIfNoneMatch = ""
    source_if_modified: _SourceIfModified = ""
    source_if_unmodified: _SourceIfUnmodified = ""
    directive: Annotated[str, Header("x-amz-metadata-directive", _directive("metadata"))] = "COPY"
    tagging: Annotated[str, Header("x-amz-tagging-directive", _directive("tagging"))] = "COPY"
    checksum_algorithm: Annotated[str, Header("x-amz-checksum-algorithm")] = ""
    if_match: Annotated[str, Header("if-match", wanted_etag)] = ""
    if_none_match: Annotated[str, Header("if-none-match", unwanted_etag)] = ""


class CopySource(msgspec.Struct, frozen=True):
    bucket: Bucket
    key: bytes
    version_id: str

    def version_headers(self, version: ObjectVersion) -> list[tuple[str, str]]:
        """x-amz-copy-source-version-id, of a source that has versions."""
        if not self.bucket.versioning:
            return []
        return [("x-amz-copy-source-version-id", encode_version_id(version.seq, version.is_null))]


@operation("CopyObject", "PUT", OBJECT, header="x-amz-copy-source", action="s3:PutObject")
async def copy_object(call: Call, inp: CopyObjectInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html

    Deviation: the copy of a multipart object keeps its ETag (`-N`) and its checksum, because its
    parts are shared and not read again.
    """
    bucket = await call.bucket()
    check_user_metadata(inp.metadata)
    conditions = write_conditions(inp.if_match, inp.if_none_match)
    fields = await further_fields(call, bucket, inp) or {}
    if inp.tagging == "COPY":
        fields.pop("tags", None)
    if conditions is not None:
        fields["conditions"] = conditions
    source = await copy_source(call, inp)
    return await answer_in_time(call.request, _copy(call, inp, bucket, source, fields))


async def _copy(
    call: Call, inp: CopyObjectInput, bucket: Bucket, source: CopySource, fields: dict[str, Any]
) -> Response:
    for _ in range(COPY_ATTEMPTS_MAX):
        found = await source_version(call, inp, source)
        version = found.version
        _check_copy(call, inp, source, bucket, version)
        files: list[BlobAddress] = []
        try:
            checksum = await _checksum(call, inp, source.bucket, found)
            content = await _content(call, source.bucket, bucket, found, files)
        except BlobMissing:
            await _remove(call, files)
            continue
        command = msgspec.structs.replace(
            _command(call, inp, bucket, version, content, checksum), **fields
        )
        result = await call.services.meta.submit(command)
        if isinstance(result, ObjectPut):
            if result.redundant:
                await _remove(call, files)
            response = call.xml(_answer(command, result))
            response.headers += source.version_headers(version)
            if not result.is_null:
                response.headers.append(version_header(result.seq, False))
            return response
        assert isinstance(result, Refused)
        await _remove(call, files)
        if result.code != "ContentGone":
            raise refusal(result)
    raise S3Error("ServiceUnavailable", "The source of the copy keeps changing. Please try again.")


async def copy_source(call: Call, inp: CopySourceInput | CopyObjectInput) -> CopySource:
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
    call.source = bucket
    await require(call, "s3:GetObject", bucket, key, version)
    return CopySource(bucket, key, version)


async def source_version(
    call: Call, inp: CopySourceInput | CopyObjectInput, source: CopySource
) -> Found:
    """The version to copy, with its inline content; its conditions hold. Raises what a read raises,
    and InvalidRequest for a delete marker that is named by its id."""
    try:
        found = await find_version(call, source.bucket, source.key, source.version_id, True)
    except S3Error as error:
        if error.code == "MethodNotAllowed":
            raise S3Error(
                "InvalidRequest",
                "The source of a copy request may not specifically refer to a delete marker by "
                "version id.",
            ) from None
        error.headers = []  # they are of an object that is read, not of the answer to a copy
        raise
    check_read(
        ReadConditions(
            inp.source_if_match,
            inp.source_if_none_match,
            inp.source_if_modified,
            inp.source_if_unmodified,
        ),
        found.version,
        copy_source=True,
    )
    return found


def _check_copy(
    call: Call, inp: CopyObjectInput, source: CopySource, bucket: Bucket, version: ObjectVersion
) -> None:
    if version.size > PUT_BYTES_MAX:
        raise too_large()
    itself = source.bucket.id == bucket.id and source.key == call.key and not source.version_id
    changed = (
        inp.directive == "REPLACE"
        or inp.storage_class != version.storage_class
        or inp.redirect
        or inp.checksum_algorithm
    )
    if itself and not changed:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without "
            "changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )


def too_large() -> S3Error:
    return S3Error(
        "InvalidRequest",
        "The specified copy source is larger than the maximum allowable size for a copy "
        f"source: {PUT_BYTES_MAX}",
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
                await link(call, source, target, part.blob, files),
                part.checksum_algorithm,
                part.checksum,
            )
            for part in await load_parts(call.services.meta, version.parts_id)
            if part.blob is not None
        ]
        if len(parts) != version.parts_count:
            raise BlobMissing("the parts are gone")
        return NewParts(parts)
    if version.blob is not None:
        if same:
            return SharedContent(version.blob.id)
        return await link(call, source, target, version.blob, files)
    return InlineContent(found.data or b"")


async def link(
    call: Call, source: Bucket, target: Bucket, blob: Blob, files: list[BlobAddress]
) -> StoredContent:
    """The same bytes in the target's directory; the file is added to `files`. Raises BlobMissing."""
    services = call.services
    written_ms = int(services.now() * 1000)
    address = await services.blobs.link(blob_address(source, blob), target.directory)
    files.append(address)
    return StoredContent(address.sha256, address.n, blob.size, written_ms)


async def _remove(call: Call, files: list[BlobAddress]) -> None:
    for address in files:
        await remove_quietly(call.services, address)


async def _checksum(
    call: Call, inp: CopyObjectInput, source: Bucket, found: Found
) -> tuple[str, str, str]:
    """(algorithm, type, value) of the copy: the source's, unless another algorithm is asked for.
    Raises BlobMissing."""
    version = found.version
    wanted = inp.checksum_algorithm.upper()
    if wanted in ("", version.checksum_algorithm):
        return version.checksum_algorithm, version.checksum_type, version.checksum
    alg = algorithm(wanted)
    if version.size == 0 or (version.blob is None and not version.parts_id):
        return alg.name, FULL_OBJECT, encode_digest(alg.digest(found.data or b""))
    body = await content_body(call.services, source, version, 0, version.size)
    return alg.name, FULL_OBJECT, await checksum_of(body, alg)


def _command(
    call: Call,
    inp: CopyObjectInput,
    bucket: Bucket,
    version: ObjectVersion,
    content: Content,
    checksum: tuple[str, str, str],
) -> PutObject:
    if inp.directive == "REPLACE":
        headers, metadata = system_metadata(call.request.headers), inp.metadata
    else:
        headers, metadata = dict(version.headers), version.metadata
        # never copied: it says where this very object leads to
        headers.pop(REDIRECT_HEADER, None)
        if inp.redirect:
            headers[REDIRECT_HEADER] = inp.redirect
    return PutObject(
        bucket.id,
        call.key,
        version.size,
        version.etag,
        call.account_id,
        content,
        inp.storage_class,
        *checksum,
        headers,
        metadata,
        inp.tags if inp.tagging == "REPLACE" else version.tags,
    )


def _answer(command: PutObject, result: ObjectPut) -> bytes:
    checksum = checksum_elements(
        command.checksum_algorithm, command.checksum_type, command.checksum
    )
    return xml.document(
        "CopyObjectResult",
        f"<LastModified>{iso_date(result.modified_ms)}</LastModified>"
        f"{element('ETag', chr(34) + command.etag + chr(34))}{checksum}",
    )
