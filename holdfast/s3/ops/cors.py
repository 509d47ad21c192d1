"""GetBucketCors, PutBucketCors, DeleteBucketCors; what acts on them is s3/cors.py."""

from __future__ import annotations

from holdfast.http.message import Response
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.cors import DOCUMENT_BYTES_MAX, KIND, parse_rules, rules_document
from holdfast.s3.documents import answer_document, remove_document, store_document
from holdfast.s3.operation import BUCKET, Input, operation


@operation("GetBucketCors", "GET", BUCKET, query=("cors",), action="s3:GetBucketCORS")
async def get_bucket_cors(call: Call, inp: Input) -> Response:
    return await answer_document(call, KIND, "NoSuchCORSConfiguration")


@operation(
    "PutBucketCors", "PUT", BUCKET, query=("cors",), action="s3:PutBucketCORS", takes=HEADERS
)
async def put_bucket_cors(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html"""
    return await store_document(
        call, KIND, lambda body: rules_document(parse_rules(body)), DOCUMENT_BYTES_MAX
    )


@operation(
    "DeleteBucketCors", "DELETE", BUCKET, query=("cors",), action="s3:PutBucketCORS", status=204
)
async def delete_bucket_cors(call: Call, inp: Input) -> Response:
    return await remove_document(call, KIND)
