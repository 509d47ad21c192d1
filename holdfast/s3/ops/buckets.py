"""Buckets: ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation."""

from __future__ import annotations

from typing import Annotated

from holdfast.http.message import Response
from holdfast.meta.commands import AbortUpload, BucketCreated, CreateBucket, DeleteBucket, Refused
from holdfast.meta.records import Bucket
from holdfast.s3 import xml
from holdfast.s3.acl import KIND as ACL_KIND
from holdfast.s3.acl import AclInput, new_bucket_documents
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.dates import iso_date
from holdfast.s3.documents import put_document
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.names import decode_token, encode_token, is_bucket_name
from holdfast.s3.numbers import whole_number
from holdfast.s3.operation import BUCKET, SERVICE, Header, Input, Query, operation
from holdfast.s3.ownership import OWNERSHIPS
from holdfast.s3.payload import read_document
from holdfast.s3.xml import XML_BODY_BYTES_MAX, element

LIST_BUCKETS_MAX = 10_000
ABORTED_AT_ONCE_MAX = 1000


def _max_buckets(text: str) -> int:
    number = whole_number(text)
    if number is None or not 1 <= number <= LIST_BUCKETS_MAX:
        raise S3Error(
            "InvalidArgument",
            f"max-buckets must be between 1 and {LIST_BUCKETS_MAX}.",
            ArgumentName="max-buckets",
            ArgumentValue=text,
        )
    return number


class ListBucketsInput(Input):
    max_buckets: Annotated[int, Query("max-buckets", _max_buckets)] = 0
    token: Annotated[str, Query("continuation-token")] = ""
    prefix: Annotated[str, Query("prefix")] = ""
    region: Annotated[str, Query("bucket-region")] = ""


@operation("ListBuckets", "GET", SERVICE, action="s3:ListAllMyBuckets")
async def list_buckets(call: Call, inp: ListBucketsInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html"""
    after = ""
    if inp.token:
        token = decode_token(inp.token)
        if token is None:
            raise S3Error(
                "InvalidArgument",
                "The continuation token provided is incorrect",
                ArgumentName="continuation-token",
            )
        after = token.decode("utf-8", "replace")
    paged = bool(call.query)
    limit = inp.max_buckets or LIST_BUCKETS_MAX
    credential = call.auth.credential
    assert credential is not None
    buckets = []
    if inp.region in ("", call.services.region):
        buckets = await call.services.meta.list_buckets(
            credential.account_id, inp.prefix, after, limit + 1
        )
    more = len(buckets) > limit
    rows = "".join(
        f"<Bucket>{element('Name', b.name)}<CreationDate>{iso_date(b.created_ms)}</CreationDate>"
        f"{element('BucketRegion', b.region) if paged else ''}</Bucket>"
        for b in buckets[:limit]
    )
    tail = (
        element("ContinuationToken", encode_token(buckets[limit - 1].name.encode())) if more else ""
    )
    if inp.prefix:
        tail += element("Prefix", inp.prefix)
    return call.xml(
        xml.document(
            "ListAllMyBucketsResult",
            f"<Owner>{element('ID', credential.account_id)}"
            f"{element('DisplayName', credential.display_name)}</Owner>"
            f"<Buckets>{rows}</Buckets>{tail}",
        )
    )


def _lock_enabled(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise S3Error(
            "InvalidArgument",
            ArgumentName="x-amz-bucket-object-lock-enabled",
            ArgumentValue=text,
        )
    return text.lower() == "true"


def _ownership(text: str) -> str:
    if text not in OWNERSHIPS:
        raise S3Error("InvalidArgument", f"Invalid x-amz-object-ownership header: {text}")
    return text


class CreateBucketInput(AclInput):
    ownership: Annotated[str, Header("x-amz-object-ownership", _ownership)] = ""
    object_lock: Annotated[bool, Header("x-amz-bucket-object-lock-enabled", _lock_enabled)] = False


@operation("CreateBucket", "PUT", BUCKET, takes=HEADERS)
async def create_bucket(call: Call, inp: CreateBucketInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html

    Making one's own bucket again answers 200 in us-east-1, with its ACL reset, and 409 elsewhere, as
    on AWS.
    """
    name = call.bucket_name
    if not is_bucket_name(name):
        raise S3Error("InvalidBucketName", BucketName=name)
    region = call.services.region
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    if body:
        _check_configuration(body, region)
    documents = await new_bucket_documents(call, inp, inp.ownership)
    result = await call.services.meta.submit(
        CreateBucket(name, call.account_id, region, inp.object_lock, documents=documents)
    )
    if isinstance(result, Refused):
        if result.code != "BucketAlreadyOwnedByYou" or region != "us-east-1":
            raise refusal(result, BucketName=name)
        await put_document(call, await call.bucket(), ACL_KIND, documents.get(ACL_KIND))
    else:
        assert isinstance(result, BucketCreated)
    return call.empty([("Location", f"/{name}")])


def _check_configuration(body: bytes, region: str) -> None:
    tree = xml.parse(body, "CreateBucketConfiguration")
    for child in tree:
        if child.tag == "LocationConstraint":
            constraint = child.text or ""
            if constraint not in ("", region, "EU" if region == "eu-west-1" else region):
                raise S3Error(
                    "IllegalLocationConstraintException",
                    f"The {constraint} location constraint is incompatible for the region "
                    "specific endpoint this request was sent to.",
                )
        else:
            raise S3Error("NotImplemented", f"CreateBucket with {child.tag} is not implemented.")


class BucketInput(Input):
    pass


@operation("HeadBucket", "HEAD", BUCKET, action="s3:ListBucket")
async def head_bucket(call: Call, inp: BucketInput) -> Response:
    bucket = await call.bucket()
    return call.empty(
        [
            ("x-amz-bucket-region", bucket.region),
            ("x-amz-access-point-alias", "false"),
            ("Content-Type", "application/xml"),
        ]
    )


@operation("DeleteBucket", "DELETE", BUCKET, status=204)
async def delete_bucket(call: Call, inp: BucketInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucket.html

    Uploads in progress keep no general purpose bucket from being deleted: they end with it.
    """
    bucket = await call.bucket()
    meta = call.services.meta
    result = await meta.submit(DeleteBucket(bucket.id))
    if isinstance(result, Refused) and result.code == "BucketNotEmpty":
        versions = await meta.list_versions(bucket.id, b"", b"", b"", None, 1)
        if not versions.entries:
            await _abort_uploads(call, bucket)
            result = await meta.submit(DeleteBucket(bucket.id))
    if isinstance(result, Refused):
        raise refusal(result, BucketName=bucket.name)
    return call.empty()


async def _abort_uploads(call: Call, bucket: Bucket) -> None:
    """Those that are there now; one that begins meanwhile keeps the bucket."""
    meta = call.services.meta
    page = await meta.list_uploads(bucket.id, b"", b"", b"", None, ABORTED_AT_ONCE_MAX)
    while page.uploads:
        await meta.submit_all([AbortUpload(bucket.id, upload.id) for upload in page.uploads])
        if not page.truncated:
            break
        page = await meta.list_uploads(
            bucket.id, b"", b"", page.next_key, page.next_upload_id, ABORTED_AT_ONCE_MAX
        )


@operation("GetBucketLocation", "GET", BUCKET, query=("location",))
async def get_bucket_location(call: Call, inp: BucketInput) -> Response:
    """us-east-1 is an empty element, as on AWS."""
    bucket = await call.bucket()
    region = "" if bucket.region == "us-east-1" else bucket.region
    return call.xml(xml.document("LocationConstraint", xml.escape(region)))
