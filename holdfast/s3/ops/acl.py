"""GetBucketAcl, PutBucketAcl, GetObjectAcl, PutObjectAcl."""

from __future__ import annotations

from typing import Annotated

from holdfast.http.message import Response
from holdfast.meta.commands import ChangeVersion
from holdfast.s3.acl import (
    KIND,
    AclInput,
    Grant,
    acl_document,
    acl_from_headers,
    bucket_grants,
    check_public,
    decode_acl,
    encode_acl,
    parse_acl,
)
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.configuration import Configuration
from holdfast.s3.documents import put_document
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import BUCKET, OBJECT, Input, Query, operation
from holdfast.s3.ops.change import change_version
from holdfast.s3.ops.read import find_version
from holdfast.s3.ownership import ENFORCED, object_ownership
from holdfast.s3.payload import read_document
from holdfast.s3.render import version_header
from holdfast.s3.xml import XML_BODY_BYTES_MAX

#: how often a change starts again because its version was replaced under it
CHANGE_ATTEMPTS_MAX = 20


@operation("GetBucketAcl", "GET", BUCKET, query=("acl",))
async def get_bucket_acl(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAcl.html"""
    bucket = await call.bucket()
    configuration = await call.services.configurations.of(bucket)
    grants = bucket_grants(bucket, configuration)
    if object_ownership(configuration) == ENFORCED:
        grants = decode_acl(bucket.owner, b"")
    return call.xml(await acl_document(call.services, bucket.owner, grants))


@operation("PutBucketAcl", "PUT", BUCKET, query=("acl",), takes=HEADERS)
async def put_bucket_acl(call: Call, inp: AclInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketAcl.html"""
    bucket = await call.bucket()
    configuration = await call.services.configurations.of(bucket)
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    acl = await _wanted(call, inp, body, configuration, bucket.owner, "")
    await put_document(call, bucket, KIND, acl or None)
    return call.empty()


class ObjectAclInput(Input):
    version_id: Annotated[str, Query("versionId")] = ""


class PutObjectAclInput(AclInput):
    version_id: Annotated[str, Query("versionId")] = ""


@operation("GetObjectAcl", "GET", OBJECT, query=("acl",))
async def get_object_acl(call: Call, inp: ObjectAclInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html"""
    bucket = await call.bucket()
    configuration = await call.services.configurations.of(bucket)
    version = (await find_version(call, bucket, call.key, inp.version_id)).version
    owner, acl = version.owner, version.acl
    if object_ownership(configuration) == ENFORCED:
        owner, acl = bucket.owner, b""
    response = call.xml(await acl_document(call.services, owner, decode_acl(owner, acl)))
    if bucket.versioning:
        response.headers.append(version_header(version.seq, version.is_null))
    return response


@operation("PutObjectAcl", "PUT", OBJECT, query=("acl",), takes=HEADERS)
async def put_object_acl(call: Call, inp: PutObjectAclInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html"""
    bucket = await call.bucket()
    configuration = await call.services.configurations.of(bucket)
    version = (await find_version(call, bucket, call.key, inp.version_id)).version
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    for _ in range(CHANGE_ATTEMPTS_MAX):
        acl = await _wanted(call, inp, body, configuration, version.owner, bucket.owner)
        # that very version: the ACL names its owner
        command = ChangeVersion(bucket.id, call.key, version.seq, acl=acl)
        try:
            return await change_version(call, bucket, command)
        except S3Error as error:
            if error.code != "NoSuchVersion":
                raise
        # another took its place meanwhile, or it is gone
        version = (await find_version(call, bucket, call.key, inp.version_id)).version
    raise S3Error("ServiceUnavailable", "The object keeps changing. Please try again.")


async def _wanted(
    call: Call,
    inp: AclInput,
    body: bytes,
    configuration: Configuration,
    owner: str,
    bucket_owner: str,
) -> bytes:
    """The ACL that headers or body ask for, as it is kept. Raises AccessControlListNotSupported,
    MissingSecurityHeader (neither), UnexpectedContent (both), and what those raise."""
    if object_ownership(configuration) == ENFORCED:
        raise S3Error("AccessControlListNotSupported")
    acl = await acl_from_headers(call, inp, owner, bucket_owner)
    if acl is None:
        if not body:
            raise S3Error(
                "MissingSecurityHeader",
                "Your request was missing a required header",
                MissingHeaderName="x-amz-acl",
            )
        acl = encode_acl(owner, await parse_acl(call.services, body, owner))
    elif body:
        raise S3Error("UnexpectedContent")
    grants: list[Grant] = decode_acl(owner, acl)
    check_public(configuration, grants)
    return acl
