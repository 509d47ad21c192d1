"""Versioning of a bucket, and the listing of all its versions.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html
"""

from __future__ import annotations

from typing import Annotated

from holdfast.http.message import Response
from holdfast.meta.commands import Refused, SetVersioning
from holdfast.meta.records import VersionEntry, VersionPage
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.dates import iso_second
from holdfast.s3.documents import children, text
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.names import encode_version_id, version_seq
from holdfast.s3.operation import BUCKET, Input, Query, operation
from holdfast.s3.ops.listing import (
    KeyWriter,
    ListInput,
    checksum_elements,
    owner_elements,
    page_tail,
    prefix_rows,
)
from holdfast.s3.payload import read_document
from holdfast.s3.xml import XML_BODY_BYTES_MAX, element


class VersioningInput(Input):
    pass


@operation("GetBucketVersioning", "GET", BUCKET, query=("versioning",))
async def get_bucket_versioning(call: Call, inp: VersioningInput) -> Response:
    """Of a bucket that never had versioning, the answer is empty, as on AWS."""
    bucket = await call.bucket()
    status = element("Status", bucket.versioning) if bucket.versioning else ""
    return call.xml(xml.document("VersioningConfiguration", status))


@operation("PutBucketVersioning", "PUT", BUCKET, query=("versioning",), takes=HEADERS)
async def put_bucket_versioning(call: Call, inp: VersioningInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html

    Deviation: MFA delete can't be enabled (501).
    """
    bucket = await call.bucket()
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    if not body:
        raise S3Error("MissingRequestBodyError")
    found = children(xml.parse(body, "VersioningConfiguration"), frozenset(("Status", "MfaDelete")))
    status, mfa = text(found, "Status"), text(found, "MfaDelete")
    if status is None:
        raise S3Error("IllegalVersioningConfigurationException")
    if status not in ("Enabled", "Suspended") or mfa not in (None, "Enabled", "Disabled"):
        raise S3Error("MalformedXML")
    if mfa == "Enabled":
        raise S3Error("NotImplemented", "MFA delete is not implemented.")
    result = await call.services.meta.submit(SetVersioning(bucket.id, status))
    if isinstance(result, Refused):
        if result.code == "InvalidBucketState":
            raise S3Error(
                result.code,
                "An Object Lock configuration is present on this bucket, so the versioning state "
                "cannot be changed.",
            )
        raise refusal(result)
    return call.empty()


class ListObjectVersionsInput(ListInput):
    key_marker: Annotated[str, Query("key-marker")] = ""
    version_marker: Annotated[str, Query("version-id-marker")] = ""


@operation("ListObjectVersions", "GET", BUCKET, query=("versions",), action="s3:ListBucketVersions")
async def list_object_versions(call: Call, inp: ListObjectVersionsInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html"""
    bucket = await call.bucket()
    after_seq: int | None = None
    if inp.version_marker:
        if not inp.key_marker:
            raise S3Error(
                "InvalidArgument",
                "A version-id marker cannot be specified without a key marker.",
                ArgumentName="version-id-marker",
                ArgumentValue=inp.version_marker,
            )
        after_seq = version_seq(inp.version_marker)
    page = await call.services.meta.list_versions(
        bucket.id,
        inp.prefix.encode("utf-8"),
        inp.delimiter.encode("utf-8"),
        inp.key_marker.encode("utf-8"),
        after_seq,
        inp.max_keys,
    )
    write = KeyWriter(inp.url)
    inner = [
        element("Name", bucket.name),
        write.named("Prefix", inp.prefix),
        write.named("KeyMarker", inp.key_marker),
        element("VersionIdMarker", inp.version_marker),
    ]
    if page.truncated:
        inner.append(_next_markers(page, write))
    inner.append(page_tail(inp, page.truncated))
    if inp.delimiter:
        inner.append(write.named("Delimiter", inp.delimiter))
    inner += await _rows(call, page, write)
    inner += prefix_rows(page.common_prefixes, write)
    return call.xml(xml.document("ListVersionsResult", *inner))


def _next_markers(page: VersionPage, write: KeyWriter) -> str:
    following = f"<NextKeyMarker>{write.key(page.next_key)}</NextKeyMarker>"
    if page.next_seq:  # else the page ends with a common prefix, which has no version
        last = page.entries[-1]
        version_id = encode_version_id(last.seq, last.is_null)
        following += f"<NextVersionIdMarker>{version_id}</NextVersionIdMarker>"
    return following


async def _rows(call: Call, page: VersionPage, write: KeyWriter) -> list[str]:
    entries = page.entries
    owners = await owner_elements(call, (entry.owner for entry in entries))
    keys = write.keys([entry.key for entry in entries])
    return [
        _delete_marker(key, entry, owners[entry.owner])
        if entry.delete_marker
        else f"<Version><Key>{key}</Key>"
        f"<VersionId>{encode_version_id(entry.seq, entry.is_null)}</VersionId>"
        f"<IsLatest>{'true' if entry.is_latest else 'false'}</IsLatest>"
        f"<LastModified>{iso_second(entry.modified_ms // 1000)}.000Z</LastModified>"
        f"<ETag>&quot;{entry.etag}&quot;</ETag>"
        f"{checksum_elements(entry.checksum_algorithm, entry.checksum_type)}"
        f"<Size>{entry.size}</Size>{owners[entry.owner]}"
        f"<StorageClass>{entry.storage_class}</StorageClass></Version>"
        for key, entry in zip(keys, entries, strict=True)
    ]


def _delete_marker(key: str, entry: VersionEntry, owner: str) -> str:
    return (
        f"<DeleteMarker><Key>{key}</Key>"
        f"<VersionId>{encode_version_id(entry.seq, entry.is_null)}</VersionId>"
        f"<IsLatest>{'true' if entry.is_latest else 'false'}</IsLatest>"
        f"<LastModified>{iso_second(entry.modified_ms // 1000)}.000Z</LastModified>"
        f"{owner}</DeleteMarker>"
    )
