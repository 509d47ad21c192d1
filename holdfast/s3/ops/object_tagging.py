"""The tags of a version: GetObjectTagging, PutObjectTagging, DeleteObjectTagging."""

from __future__ import annotations

from typing import Annotated

from holdfast.http.message import Response
from holdfast.meta.commands import ChangeVersion
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.errors import S3Error
from holdfast.s3.names import version_seq
from holdfast.s3.operation import OBJECT, Input, Query, operation
from holdfast.s3.ops.change import change_version
from holdfast.s3.ops.read import find_version
from holdfast.s3.payload import read_document
from holdfast.s3.render import version_header
from holdfast.s3.tags import parse_tag_document, tag_document
from holdfast.s3.xml import XML_BODY_BYTES_MAX


class ObjectTaggingInput(Input):
    version_id: Annotated[str, Query("versionId")] = ""


@operation("GetObjectTagging", "GET", OBJECT, query=("tagging",))
async def get_object_tagging(call: Call, inp: ObjectTaggingInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectTagging.html"""
    bucket = await call.bucket()
    version = (await find_version(call, bucket, call.key, inp.version_id)).version
    response = call.xml(tag_document(dict(sorted(version.tags.items()))))
    if bucket.versioning:
        response.headers.append(version_header(version.seq, version.is_null))
    return response


@operation("PutObjectTagging", "PUT", OBJECT, query=("tagging",), takes=HEADERS)
async def put_object_tagging(call: Call, inp: ObjectTaggingInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html"""
    bucket = await call.bucket()
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    if not body:
        raise S3Error("MissingRequestBodyError")
    tags = parse_tag_document(body)
    seq = version_seq(inp.version_id)
    return await change_version(call, bucket, ChangeVersion(bucket.id, call.key, seq, tags=tags))


@operation("DeleteObjectTagging", "DELETE", OBJECT, query=("tagging",), status=204)
async def delete_object_tagging(call: Call, inp: ObjectTaggingInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjectTagging.html"""
    bucket = await call.bucket()
    seq = version_seq(inp.version_id)
    return await change_version(call, bucket, ChangeVersion(bucket.id, call.key, seq, tags={}))
