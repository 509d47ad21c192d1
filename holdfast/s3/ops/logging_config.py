"""GetBucketLogging, PutBucketLogging; what acts on them is s3/server_log.py."""

from __future__ import annotations

from holdfast.http.message import Response
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.documents import answer_document, put_document
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import BUCKET, Input, operation
from holdfast.s3.payload import read_document
from holdfast.s3.server_log import KIND, logging_document, parse_logging
from holdfast.s3.xml import XML_BODY_BYTES_MAX

UNCONFIGURED = xml.document("BucketLoggingStatus", "")


@operation("GetBucketLogging", "GET", BUCKET, query=("logging",))
async def get_bucket_logging(call: Call, inp: Input) -> Response:
    return await answer_document(call, KIND, UNCONFIGURED)


@operation("PutBucketLogging", "PUT", BUCKET, query=("logging",), takes=HEADERS)
async def put_bucket_logging(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLogging.html

    Deviation: that the target bucket has the same owner is all that delivery needs; target grants
    are refused.
    """
    bucket = await call.bucket()
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    if not body:
        raise S3Error("MissingRequestBodyError")
    target = parse_logging(body)
    if target is None:
        await put_document(call, bucket, KIND, None)
        return call.empty()
    into = await call.services.meta.bucket(target.bucket)
    if into is None or into.owner != bucket.owner:
        raise S3Error("InvalidTargetBucketForLogging", TargetBucket=target.bucket)
    if into.region != bucket.region:
        raise S3Error("CrossLocationLoggingProhibited", TargetBucketLocation=into.region)
    await put_document(call, bucket, KIND, logging_document(target))
    return call.empty()
