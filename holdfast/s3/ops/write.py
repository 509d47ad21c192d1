"""PutObject, and how content gets from a payload to a place that a commit can adopt."""

from __future__ import annotations

import hashlib
import logging
from typing import Annotated, Any, NamedTuple

import msgspec

from holdfast.blobs.contract import BlobAddress
from holdfast.http.message import Response
from holdfast.meta.commands import (
    Command,
    Conditions,
    InlineContent,
    ObjectPut,
    PartPut,
    PutObject,
    Refused,
    Result,
    StoredContent,
)
from holdfast.meta.records import Bucket
from holdfast.s3.acl import AclInput, object_access
from holdfast.s3.call import Call, Services
from holdfast.s3.checksums import FULL_OBJECT, HEADERS, encode_digest
from holdfast.s3.conditions import unwanted_etag, wanted_etag
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.metadata import (
    check_user_metadata,
    redirect_location,
    storage_class,
    system_metadata,
)
from holdfast.s3.object_lock import legal_hold, lock_mode, lock_of, retain_until
from holdfast.s3.operation import OBJECT, Header, HeaderPrefix, operation
from holdfast.s3.payload import Payload
from holdfast.s3.render import version_header
from holdfast.s3.tags import parse_tag_header

_log = logging.getLogger("holdfast.s3")

#: 5 GiB: the most that one request may carry
PUT_BYTES_MAX = 5 * 1024**3


class Received(NamedTuple):
    """Verified content, ready for a commit."""

    content: InlineContent | StoredContent
    address: BlobAddress | None  # of the file, when it is one
    size: int
    etag: str
    checksum: str  # base64, by the payload's stored_algorithm


async def receive(
    services: Services, payload: Payload, bucket: Bucket, inline_bytes_max: int
) -> Received:
    """Read, hash and verify the payload; larger content is durable in the bucket's directory.

    Raises S3Error for broken promises (nothing remains), DiskFull, ClientDisconnected.
    """
    alg = payload.stored_algorithm
    if payload.length <= inline_bytes_max:
        data = await payload.read()
        md5 = hashlib.md5(data, usedforsecurity=False)
        sha256 = None if payload.sha256 is None else hashlib.sha256(data).digest()
        digest = alg.digest(data)
        payload.verify(len(data), md5.digest(), sha256, digest)
        return Received(
            InlineContent(data), None, len(data), md5.hexdigest(), encode_digest(digest)
        )
    staged = await services.blobs.stage(payload, payload.length, (alg.name,))
    digest = staged.checksums[alg.name]
    try:
        payload.verify(staged.size, staged.md5, staged.sha256, digest)
    except BaseException:
        await staged.discard()
        raise
    # before the file exists: the collector must never count it older than the committer does
    written_ms = int(services.now() * 1000)
    address = await staged.publish(bucket.directory)
    return Received(
        StoredContent(address.sha256, address.n, staged.size, written_ms),
        address,
        staged.size,
        staged.md5.hex(),
        encode_digest(digest),
    )


async def commit(
    services: Services, command: Command, address: BlobAddress | None
) -> ObjectPut | PartPut:
    """Submit; a file that was not adopted is removed. Raises S3Error for refusals.

    When the outcome is unknown the file stays: the commit may have adopted it, and if not, the
    collector finds it.
    """
    result: Result = await services.meta.submit(command)
    if isinstance(result, (ObjectPut, PartPut)):
        if result.redundant and address is not None:
            await remove_quietly(services, address)
        return result
    assert isinstance(result, Refused), result
    if address is not None:
        await remove_quietly(services, address)
    raise refusal(result)


async def remove_quietly(services: Services, address: BlobAddress) -> None:
    """Remove a file that no row names. What can't be removed is the collector's to find: the
    answer to the client stands."""
    try:
        await services.blobs.remove(address)
    except OSError as error:
        _log.warning("%s stays for the collector: %s", address.sha256.hex(), error)


class ObjectMetadataInput(AclInput):
    """What every request takes that makes an object."""

    storage_class: Annotated[str, Header("x-amz-storage-class", storage_class)] = "STANDARD"
    metadata: Annotated[dict[str, str], HeaderPrefix("x-amz-meta-")] = {}
    redirect: Annotated[str, Header("x-amz-website-redirect-location", redirect_location)] = ""
    tags: Annotated[dict[str, str], Header("x-amz-tagging", parse_tag_header)] = {}
    lock_mode: Annotated[str, Header("x-amz-object-lock-mode", lock_mode)] = ""
    until_ms: Annotated[int, Header("x-amz-object-lock-retain-until-date", retain_until)] = 0
    hold: Annotated[bool | None, Header("x-amz-object-lock-legal-hold", legal_hold)] = None


class PutObjectInput(ObjectMetadataInput):
    if_match: Annotated[str, Header("if-match", wanted_etag)] = ""
    if_none_match: Annotated[str, Header("if-none-match", unwanted_etag)] = ""


def write_conditions(if_match: str, if_none_match: str) -> Conditions | None:
    """Raises NotImplemented for both at once, which S3 does not take."""
    if not if_match and not if_none_match:
        return None
    if if_match and if_none_match:
        raise S3Error("NotImplemented", Header="If-Match")
    return Conditions(if_match=if_match, if_none_match=if_none_match)


async def further_fields(
    call: Call, bucket: Bucket, inp: ObjectMetadataInput
) -> dict[str, Any] | None:
    """What a command that makes an object gets beside the usual; None for nothing."""
    fields: dict[str, Any] = {}
    # a bucket's owner who sends no ACL owns what it writes, and nobody else may read it
    if call.account_id != bucket.owner or inp.acl or inp.header_grants():
        owner, acl = await object_access(call, bucket, inp)
        if owner != call.account_id:
            fields["owner"] = owner
        if acl:
            fields["acl"] = acl
    if inp.tags:
        fields["tags"] = inp.tags
    if bucket.object_lock or inp.lock_mode or inp.until_ms or inp.hold is not None:
        lock = await lock_of(call, bucket, inp.lock_mode, inp.until_ms, inp.hold)
        fields.update(
            lock_mode=lock.mode, retain_until_ms=lock.until_ms, legal_hold=lock.legal_hold
        )
    return fields or None


def _check_integrity(inp: PutObjectInput, payload: Payload) -> None:
    """What is retained must have arrived whole: S3 wants a digest of it. Raises InvalidRequest."""
    promised = payload.algorithm is not None or payload.content_md5 is not None
    if (inp.lock_mode or inp.hold) and not promised:
        raise S3Error(
            "InvalidRequest",
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with "
            "Object Lock parameters",
        )


@operation("PutObject", "PUT", OBJECT, takes=HEADERS)
async def put_object(call: Call, inp: PutObjectInput, payload: Payload | None = None) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html

    Deviation: If-None-Match takes an entity tag, too (AWS only `*`), and holds the write to it.
    """
    services = call.services
    bucket = await call.bucket()
    check_user_metadata(inp.metadata)
    conditions = write_conditions(inp.if_match, inp.if_none_match)
    further = await further_fields(call, bucket, inp)
    if payload is None:
        payload = Payload(call.request, call.auth, PUT_BYTES_MAX)
    if further is not None:
        _check_integrity(inp, payload)
    received = await receive(services, payload, bucket, services.inline_bytes_max)
    alg = payload.stored_algorithm
    command = PutObject(
        bucket.id,
        call.key,
        received.size,
        received.etag,
        call.account_id,
        received.content,
        inp.storage_class,
        alg.name,
        FULL_OBJECT,
        received.checksum,
        system_metadata(call.request.headers),
        inp.metadata,
    )
    if further is not None:
        command = msgspec.structs.replace(command, **further)
    if conditions is not None:
        command = msgspec.structs.replace(command, conditions=conditions)
    result = await commit(services, command, received.address)
    assert isinstance(result, ObjectPut)
    headers = [
        ("ETag", f'"{received.etag}"'),
        (alg.header, received.checksum),
        ("x-amz-checksum-type", FULL_OBJECT),
    ]
    if not result.is_null:
        headers.append(version_header(result.seq, False))
    return call.empty(headers)
