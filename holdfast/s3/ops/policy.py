"""GetBucketPolicy, PutBucketPolicy, DeleteBucketPolicy, GetBucketPolicyStatus.

A policy is kept as it was sent, once it was understood whole.
"""

from __future__ import annotations

from typing import Annotated

from holdfast.auth.policy import POLICY_BYTES_MAX, parse_policy
from holdfast.auth.policy_match import PolicyError
from holdfast.http.message import Response
from holdfast.s3 import xml
from holdfast.s3.acl import bucket_grants, is_public
from holdfast.s3.authorize import POLICY_KIND, bucket_policy
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.condition_keys import is_known
from holdfast.s3.documents import put_document, remove_document
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import BUCKET, Header, Input, operation
from holdfast.s3.ownership import ENFORCED, object_ownership, public_access_block
from holdfast.s3.payload import read_document


@operation("GetBucketPolicy", "GET", BUCKET, query=("policy",))
async def get_bucket_policy(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicy.html"""
    bucket = await call.bucket()
    body = await call.services.meta.document(bucket.id, POLICY_KIND)
    if body is None:
        raise S3Error("NoSuchBucketPolicy", BucketName=bucket.name)
    return Response(200, [("Content-Type", "application/json")], body)


class PutBucketPolicyInput(Input):
    #: the owner can always change the policy, so there is nothing to confirm
    confirm: Annotated[str, Header("x-amz-confirm-remove-self-bucket-access")] = ""


@operation("PutBucketPolicy", "PUT", BUCKET, query=("policy",), takes=HEADERS, status=204)
async def put_bucket_policy(call: Call, inp: PutBucketPolicyInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html"""
    bucket = await call.bucket()
    body = await read_document(call.request, call.auth, POLICY_BYTES_MAX)
    if not body:
        raise S3Error("MissingRequestBodyError")
    try:
        policy = parse_policy(body, bucket=bucket.name)
        for key in sorted(policy.keys()):
            if not is_known(key):
                raise PolicyError(f"Policy has an invalid condition key: {key}")
    except PolicyError as error:
        raise S3Error("MalformedPolicy", str(error)) from None
    configuration = await call.services.configurations.of(bucket)
    if public_access_block(configuration).block_policy and policy.is_public():
        raise S3Error("AccessDenied")
    await put_document(call, bucket, POLICY_KIND, body)
    return call.empty()


@operation("DeleteBucketPolicy", "DELETE", BUCKET, query=("policy",), status=204)
async def delete_bucket_policy(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketPolicy.html"""
    return await remove_document(call, POLICY_KIND)


@operation("GetBucketPolicyStatus", "GET", BUCKET, query=("policyStatus",))
async def get_bucket_policy_status(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicyStatus.html

    Deviation: a bucket without a policy has a status too, where AWS answers NoSuchBucketPolicy; a
    public ACL makes it public as well.
    """
    bucket = await call.bucket()
    configuration = await call.services.configurations.of(bucket)
    policy = bucket_policy(bucket, configuration)
    block = public_access_block(configuration)
    public = policy is not None and policy.is_public and not block.restrict
    if object_ownership(configuration) != ENFORCED and not block.ignore_acls:
        public = public or is_public(bucket_grants(bucket, configuration))
    inner = f"<IsPublic>{'true' if public else 'false'}</IsPublic>"
    return call.xml(xml.document("PolicyStatus", inner))
