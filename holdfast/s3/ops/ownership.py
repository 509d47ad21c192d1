"""Object ownership and the public access block of a bucket."""

from __future__ import annotations

from holdfast.http.message import Response
from holdfast.s3 import xml
from holdfast.s3.acl import Grant, bucket_grants
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.documents import children, put_document, text
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import BUCKET, Input, operation
from holdfast.s3.ownership import (
    BLOCK_KIND,
    BLOCK_REMOVED,
    ENFORCED,
    OWNERSHIP_KIND,
    OWNERSHIP_REMOVED,
    OWNERSHIPS,
    PublicAccessBlock,
    encode_block,
    ownership_configured,
    public_access_block,
)
from holdfast.s3.payload import read_document
from holdfast.s3.xml import XML_BODY_BYTES_MAX, element

_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


@operation("GetBucketOwnershipControls", "GET", BUCKET, query=("ownershipControls",))
async def get_bucket_ownership_controls(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketOwnershipControls.html"""
    bucket = await call.bucket()
    ownership = ownership_configured(await call.services.configurations.of(bucket))
    if not ownership:
        raise S3Error("OwnershipControlsNotFoundError", BucketName=bucket.name)
    rule = f"<Rule>{element('ObjectOwnership', ownership)}</Rule>"
    return call.xml(xml.document("OwnershipControls", rule))


@operation("PutBucketOwnershipControls", "PUT", BUCKET, query=("ownershipControls",), takes=HEADERS)
async def put_bucket_ownership_controls(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketOwnershipControls.html"""
    bucket = await call.bucket()
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    if not body:
        raise S3Error("MissingRequestBodyError")
    rules = children(xml.parse(body, "OwnershipControls"), frozenset(("Rule",)))["Rule"]
    if len(rules) != 1:
        raise S3Error("MalformedXML")
    ownership = text(children(rules[0], frozenset(("ObjectOwnership",))), "ObjectOwnership")
    if ownership not in OWNERSHIPS:
        raise S3Error("MalformedXML")
    if ownership == ENFORCED:
        grants = bucket_grants(bucket, await call.services.configurations.of(bucket))
        if any(grant != Grant(grant.permission, bucket.owner) for grant in grants):
            raise S3Error("InvalidBucketAclWithObjectOwnership")
    await put_document(call, bucket, OWNERSHIP_KIND, ownership.encode("ascii"))
    return call.empty()


@operation(
    "DeleteBucketOwnershipControls",
    "DELETE",
    BUCKET,
    query=("ownershipControls",),
    action="s3:PutBucketOwnershipControls",
    status=204,
)
async def delete_bucket_ownership_controls(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketOwnershipControls.html"""
    bucket = await call.bucket()
    await put_document(call, bucket, OWNERSHIP_KIND, OWNERSHIP_REMOVED)
    return call.empty()


@operation(
    "GetPublicAccessBlock",
    "GET",
    BUCKET,
    query=("publicAccessBlock",),
    action="s3:GetBucketPublicAccessBlock",
)
async def get_public_access_block(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetPublicAccessBlock.html"""
    bucket = await call.bucket()
    block = public_access_block(await call.services.configurations.of(bucket))
    if block.removed:
        raise S3Error("NoSuchPublicAccessBlockConfiguration", BucketName=bucket.name)
    values = (block.block_acls, block.ignore_acls, block.block_policy, block.restrict)
    return call.xml(
        xml.document(
            "PublicAccessBlockConfiguration",
            "".join(
                element(name, "true" if value else "false")
                for name, value in zip(_BLOCKS, values, strict=True)
            ),
        )
    )


@operation(
    "PutPublicAccessBlock",
    "PUT",
    BUCKET,
    query=("publicAccessBlock",),
    action="s3:PutBucketPublicAccessBlock",
    takes=HEADERS,
)
async def put_public_access_block(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutPublicAccessBlock.html"""
    bucket = await call.bucket()
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    if not body:
        raise S3Error("MissingRequestBodyError")
    found = children(xml.parse(body, "PublicAccessBlockConfiguration"), frozenset(_BLOCKS))
    values = []
    for name in _BLOCKS:
        value = (text(found, name) or "false").lower()
        if value not in ("true", "false"):
            raise S3Error("MalformedXML")
        values.append(value == "true")
    await put_document(call, bucket, BLOCK_KIND, encode_block(PublicAccessBlock(*values)))
    return call.empty()


@operation(
    "DeletePublicAccessBlock",
    "DELETE",
    BUCKET,
    query=("publicAccessBlock",),
    action="s3:PutBucketPublicAccessBlock",
    status=204,
)
async def delete_public_access_block(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeletePublicAccessBlock.html"""
    bucket = await call.bucket()
    await put_document(call, bucket, BLOCK_KIND, encode_block(BLOCK_REMOVED))
    return call.empty()
