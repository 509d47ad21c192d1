"""Requester Pays: who is not the bucket's owner says in each request that it will be charged.

Nobody is charged here, but a client that forgets to say so must fail here as it does on S3: 403, and
nobody is anonymous. What a request says of itself is told in the answer (x-amz-request-charged).
https://docs.aws.amazon.com/AmazonS3/latest/userguide/RequesterPaysBuckets.html
"""

from __future__ import annotations

from holdfast.s3.call import Call
from holdfast.s3.configuration import Configuration
from holdfast.s3.operation import OBJECT

#: the kind of the document that says who pays
KIND = "requestPayment"
REQUESTER = "requester"
CHARGED_HEADER = ("x-amz-request-charged", REQUESTER)

#: requests on a bucket that S3 lets say who pays; all of those on objects can
_ON_BUCKETS = frozenset(
    (
        "DeleteObjects",
        "GetBucketAccelerateConfiguration",
        "ListMultipartUploads",
        "ListObjectVersions",
        "ListObjects",
        "ListObjectsV2",
        "PostObject",
        "PutObjectLockConfiguration",
    )
)


def refuses_to_pay(call: Call, configuration: Configuration) -> bool:
    """Whether a caller that is not the bucket's owner should pay, and has not said that it will.
    Notes on the call that it is charged where it has."""
    op = call.op
    if not configuration.parsed(KIND, _requester_pays):
        return False
    if op.level is not OBJECT and op.name not in _ON_BUCKETS:
        return False
    said = call.request.headers.get("x-amz-request-payer", "").lower() == REQUESTER
    if call.auth.credential is None or not said:
        return True
    call.charged = True
    return False


def _requester_pays(document: bytes) -> bool:
    return b"<Payer>Requester</Payer>" in document
