"""Object lock: a bucket's configuration, a version's retention and legal hold.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from __future__ import annotations

from typing import Annotated

from holdfast.http.message import Response
from holdfast.meta.commands import ChangeVersion, EnableObjectLock, Refused, Retention
from holdfast.meta.records import Bucket, ObjectVersion
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.dates import iso_moment
from holdfast.s3.documents import children, put_document, text
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.names import version_seq
from holdfast.s3.object_lock import (
    KIND,
    MODES,
    bypass,
    check_until,
    parse_configuration,
    parse_moment_ms,
    write_configuration,
)
from holdfast.s3.operation import BUCKET, OBJECT, Header, Input, Query, operation
from holdfast.s3.ops.change import change_version
from holdfast.s3.ops.read import find_version
from holdfast.s3.payload import read_document
from holdfast.s3.xml import XML_BODY_BYTES_MAX, element


class BucketInput(Input):
    pass


class VersionInput(Input):
    version_id: Annotated[str, Query("versionId")] = ""


class RetentionInput(VersionInput):
    bypass: Annotated[bool, Header("x-amz-bypass-governance-retention", bypass)] = False


async def _document(call: Call) -> bytes:
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    if not body:
        raise S3Error("MissingRequestBodyError")
    return body


@operation(
    "GetObjectLockConfiguration",
    "GET",
    BUCKET,
    query=("object-lock",),
    action="s3:GetBucketObjectLockConfiguration",
)
async def get_object_lock_configuration(call: Call, inp: BucketInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLockConfiguration.html"""
    bucket = await call.bucket()
    if not bucket.object_lock:
        raise S3Error("ObjectLockConfigurationNotFoundError", BucketName=bucket.name)
    body = await call.services.meta.document(bucket.id, KIND)
    return call.xml(write_configuration(None) if body is None else body)


@operation(
    "PutObjectLockConfiguration",
    "PUT",
    BUCKET,
    query=("object-lock",),
    action="s3:PutBucketObjectLockConfiguration",
    takes=HEADERS,
)
async def put_object_lock_configuration(call: Call, inp: BucketInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLockConfiguration.html"""
    bucket = await call.bucket()
    default = parse_configuration(await _document(call))
    body = write_configuration(default)
    if bucket.object_lock:
        await put_document(call, bucket, KIND, body)
        return call.empty()
    result = await call.services.meta.submit(EnableObjectLock(bucket.id, {KIND: body}))
    if isinstance(result, Refused):
        if result.code == "InvalidBucketState":
            raise S3Error(
                result.code, "Versioning must be 'Enabled' on the bucket to apply Object Lock."
            )
        raise refusal(result)
    return call.empty()


async def _locked_version(call: Call, bucket: Bucket, version_id: str) -> ObjectVersion:
    if not bucket.object_lock:
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
    return (await find_version(call, bucket, call.key, version_id)).version


@operation("GetObjectRetention", "GET", OBJECT, query=("retention",))
async def get_object_retention(call: Call, inp: VersionInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html"""
    bucket = await call.bucket()
    version = await _locked_version(call, bucket, inp.version_id)
    if not version.lock_mode:
        raise S3Error("NoSuchObjectLockConfiguration", Key=call.key.decode())
    return call.xml(
        xml.document(
            "Retention",
            element("Mode", version.lock_mode)
            + element("RetainUntilDate", iso_moment(version.retain_until_ms)),
        )
    )


@operation("PutObjectRetention", "PUT", OBJECT, query=("retention",), takes=HEADERS)
async def put_object_retention(call: Call, inp: RetentionInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html

    An empty Retention takes it off, which needs the bypass.
    """
    bucket = await call.bucket()
    found = children(
        xml.parse(await _document(call), "Retention"), frozenset(("Mode", "RetainUntilDate"))
    )
    mode, until = text(found, "Mode"), text(found, "RetainUntilDate")
    retention = Retention("", 0)
    if mode or until:
        moment = None if until is None else parse_moment_ms(until)
        if mode not in MODES or moment is None:
            raise S3Error("MalformedXML")
        check_until(moment, int(call.services.now() * 1000))
        retention = Retention(mode, moment)
    command = ChangeVersion(
        bucket.id,
        call.key,
        version_seq(inp.version_id),
        retention=retention,
        bypass_governance=inp.bypass,
    )
    return await change_version(call, bucket, command)


@operation("GetObjectLegalHold", "GET", OBJECT, query=("legal-hold",))
async def get_object_legal_hold(call: Call, inp: VersionInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLegalHold.html

    Deviation: a version that never had a legal hold answers OFF, not 404.
    """
    bucket = await call.bucket()
    version = await _locked_version(call, bucket, inp.version_id)
    return call.xml(
        xml.document("LegalHold", element("Status", "ON" if version.legal_hold else "OFF"))
    )


@operation("PutObjectLegalHold", "PUT", OBJECT, query=("legal-hold",), takes=HEADERS)
async def put_object_legal_hold(call: Call, inp: VersionInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLegalHold.html"""
    bucket = await call.bucket()
    found = children(xml.parse(await _document(call), "LegalHold"), frozenset(("Status",)))
    status = text(found, "Status")
    if status not in ("ON", "OFF"):
        raise S3Error("MalformedXML")
    command = ChangeVersion(
        bucket.id, call.key, version_seq(inp.version_id), legal_hold=status == "ON"
    )
    return await change_version(call, bucket, command)
