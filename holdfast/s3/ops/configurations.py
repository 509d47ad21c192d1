"""Configurations of buckets that are small, or that nothing here acts on yet.

Rule: a PUT of what nothing acts on is refused (it stays in the catalogue, 501): never stored and
forgotten. Its GET answers S3's unconfigured state, because tools ask before they do anything else,
and its DELETE answers as S3 does where there is nothing to delete.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from holdfast.http.message import Response
from holdfast.s3 import request_payment, xml
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.documents import answer_document, children, store_document, text
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import BUCKET, Input, Query, operation
from holdfast.s3.xml import element

ACCELERATE = "accelerate"


def _choice(body: bytes, root: str, name: str, choices: tuple[str, ...]) -> bytes:
    """A document of one element that says one of the choices. Raises MalformedXML."""
    chosen = text(children(xml.parse(body, root), frozenset((name,))), name)
    if chosen not in choices:
        raise S3Error("MalformedXML")
    return xml.document(root, element(name, chosen))


@operation("GetBucketRequestPayment", "GET", BUCKET, query=("requestPayment",))
async def get_bucket_request_payment(call: Call, inp: Input) -> Response:
    owner_pays = xml.document("RequestPaymentConfiguration", element("Payer", "BucketOwner"))
    return await answer_document(call, request_payment.KIND, owner_pays)


@operation("PutBucketRequestPayment", "PUT", BUCKET, query=("requestPayment",), takes=HEADERS)
async def put_bucket_request_payment(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketRequestPayment.html

    Deviation: nobody is charged. Requests of others are refused for the want of x-amz-request-payer
    as S3 does, but never those of the root user.
    """
    return await store_document(
        call,
        request_payment.KIND,
        lambda body: _choice(
            body, "RequestPaymentConfiguration", "Payer", ("Requester", "BucketOwner")
        ),
    )


@operation(
    "GetBucketAccelerateConfiguration",
    "GET",
    BUCKET,
    query=("accelerate",),
    action="s3:GetAccelerateConfiguration",
)
async def get_bucket_accelerate_configuration(call: Call, inp: Input) -> Response:
    return await answer_document(call, ACCELERATE, xml.document("AccelerateConfiguration", ""))


@operation(
    "PutBucketAccelerateConfiguration",
    "PUT",
    BUCKET,
    query=("accelerate",),
    action="s3:PutAccelerateConfiguration",
    takes=HEADERS,
)
async def put_bucket_accelerate_configuration(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketAccelerateConfiguration.html

    Deviation: there is one endpoint, so the status is kept and answered and makes nothing faster.
    """
    if "." in call.bucket_name:
        raise S3Error(
            "InvalidRequest",
            "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names",
        )
    return await store_document(
        call,
        ACCELERATE,
        lambda body: _choice(body, "AccelerateConfiguration", "Status", ("Enabled", "Suspended")),
    )


class _Absent(NamedTuple):
    """What S3 answers of a configuration that a bucket does not have."""

    name: str  # of the operation, without Get and Delete
    query: str
    #: the error's code, or the empty document
    answer: str | bytes
    action: str  # IAM's, without s3:Get
    #: of the operation that deletes it: "" when there is none, and its IAM action
    delete: str = ""
    delete_action: str = ""


def _declare(absent: _Absent) -> None:
    async def get(call: Call, inp: Input) -> Response:
        bucket = await call.bucket()
        if isinstance(absent.answer, str):
            raise S3Error(absent.answer, BucketName=bucket.name)
        return call.xml(absent.answer)

    async def delete(call: Call, inp: Input) -> Response:
        await call.bucket()
        return call.empty()

    operation(
        f"Get{absent.name}", "GET", BUCKET, query=(absent.query,), action=f"s3:Get{absent.action}"
    )(get)
    if absent.delete:
        operation(
            absent.delete,
            "DELETE",
            BUCKET,
            query=(absent.query,),
            action=f"s3:{absent.delete_action}",
            status=204,
        )(delete)


for _row in (
    _Absent(
        "BucketAbac",
        "abac",
        xml.document("AbacStatus", element("Status", "Disabled")),
        "BucketAbac",
    ),
    _Absent(
        "BucketEncryption",
        "encryption",
        "ServerSideEncryptionConfigurationNotFoundError",
        "EncryptionConfiguration",
        "DeleteBucketEncryption",
        "PutEncryptionConfiguration",
    ),
    _Absent(
        "BucketLifecycleConfiguration",
        "lifecycle",
        "NoSuchLifecycleConfiguration",
        "LifecycleConfiguration",
        "DeleteBucketLifecycle",
        "PutLifecycleConfiguration",
    ),
    _Absent(
        "BucketMetadataConfiguration",
        "metadataConfiguration",
        "MetadataConfigurationNotFound",
        "BucketMetadataTableConfiguration",
        "DeleteBucketMetadataConfiguration",
        "DeleteBucketMetadataTableConfiguration",
    ),
    _Absent(
        "BucketMetadataTableConfiguration",
        "metadataTable",
        "MetadataConfigurationNotFound",
        "BucketMetadataTableConfiguration",
        "DeleteBucketMetadataTableConfiguration",
        "DeleteBucketMetadataTableConfiguration",
    ),
    _Absent(
        "BucketNotificationConfiguration",
        "notification",
        xml.document("NotificationConfiguration", ""),
        "BucketNotification",
    ),
    _Absent(
        "BucketReplication",
        "replication",
        "ReplicationConfigurationNotFoundError",
        "ReplicationConfiguration",
        "DeleteBucketReplication",
        "PutReplicationConfiguration",
    ),
):
    _declare(_row)


class ConfigurationInput(Input):
    id: Annotated[str, Query("id")] = ""


def _declare_with_ids(name: str, query: str, root: str, action: str) -> None:
    """Of these a bucket may have many: without an id the GET is the list, which is empty."""

    async def get(call: Call, inp: ConfigurationInput) -> Response:
        bucket = await call.bucket()
        if "id" in call.query:
            raise S3Error("NoSuchConfiguration", BucketName=bucket.name)
        return call.xml(xml.document(root, element("IsTruncated", "false")))

    async def delete(call: Call, inp: ConfigurationInput) -> Response:
        bucket = await call.bucket()
        if not inp.id:
            raise S3Error("InvalidArgument", "The id is missing.", ArgumentName="id")
        raise S3Error("NoSuchConfiguration", BucketName=bucket.name)

    operation(
        f"GetBucket{name}Configuration", "GET", BUCKET, query=(query,), action=f"s3:Get{action}"
    )(get)
    operation(
        f"DeleteBucket{name}Configuration",
        "DELETE",
        BUCKET,
        query=(query,),
        action=f"s3:Put{action}",
        status=204,
    )(delete)


_declare_with_ids(
    "Analytics", "analytics", "ListBucketAnalyticsConfigurationResult", "AnalyticsConfiguration"
)
_declare_with_ids(
    "IntelligentTiering",
    "intelligent-tiering",
    "ListBucketIntelligentTieringConfigurationsOutput",
    "IntelligentTieringConfiguration",
)
_declare_with_ids(
    "Inventory", "inventory", "ListInventoryConfigurationsResult", "InventoryConfiguration"
)
_declare_with_ids("Metrics", "metrics", "ListMetricsConfigurationsResult", "MetricsConfiguration")
