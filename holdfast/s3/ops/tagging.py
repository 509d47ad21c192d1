"""GetBucketTagging, PutBucketTagging, DeleteBucketTagging."""

from __future__ import annotations

from holdfast.http.message import Response
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.documents import answer_document, remove_document, store_document
from holdfast.s3.operation import BUCKET, Input, operation
from holdfast.s3.tags import parse_tag_document, tag_document

KIND = "tagging"


@operation("GetBucketTagging", "GET", BUCKET, query=("tagging",))
async def get_bucket_tagging(call: Call, inp: Input) -> Response:
    return await answer_document(call, KIND, "NoSuchTagSet")


@operation("PutBucketTagging", "PUT", BUCKET, query=("tagging",), status=204, takes=HEADERS)
async def put_bucket_tagging(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html"""
    return await store_document(
        call, KIND, lambda body: tag_document(parse_tag_document(body, bucket=True))
    )


@operation(
    "DeleteBucketTagging",
    "DELETE",
    BUCKET,
    query=("tagging",),
    action="s3:PutBucketTagging",
    status=204,
)
async def delete_bucket_tagging(call: Call, inp: Input) -> Response:
    return await remove_document(call, KIND)
