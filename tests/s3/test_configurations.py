"""Small configurations, and those that nothing acts on: refused on PUT, unconfigured on GET."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .raw import Raw


def refusal(call: Any, **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    answer = refused.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_request_payment(s3: Any, bucket: str) -> None:
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    for payer in ("Requester", "BucketOwner"):
        s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": payer})
        assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == payer
    refused = refusal(
        s3.put_bucket_request_payment,
        Bucket=bucket,
        RequestPaymentConfiguration={"Payer": "Nobody"},
    )
    assert refused == (400, "MalformedXML")


def test_accelerate(s3: Any, raw: Raw, bucket: str) -> None:
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    for status in ("Enabled", "Suspended"):
        s3.put_bucket_accelerate_configuration(
            Bucket=bucket, AccelerateConfiguration={"Status": status}
        )
        assert s3.get_bucket_accelerate_configuration(Bucket=bucket)["Status"] == status
    refused = refusal(
        s3.put_bucket_accelerate_configuration,
        Bucket=bucket,
        AccelerateConfiguration={"Status": "On"},
    )
    assert refused == (400, "MalformedXML")
    dotted = f"{bucket}.dotted"
    raw("PUT", f"/{dotted}")
    body = b"<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>"
    assert raw("PUT", f"/{dotted}", "accelerate", {}, body).code == "InvalidRequest"


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_metadata_configuration", "MetadataConfigurationNotFound"),
        ("get_bucket_metadata_table_configuration", "MetadataConfigurationNotFound"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_bucket_tagging", "NoSuchTagSet"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
    ],
)
def test_unconfigured(s3: Any, bucket: str, operation: str, code: str) -> None:
    assert refusal(getattr(s3, operation), Bucket=bucket) == (404, code)
    assert refusal(getattr(s3, operation), Bucket="no-such-bucket") == (404, "NoSuchBucket")


def content(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def test_empty_documents(s3: Any, bucket: str) -> None:
    assert content(s3.get_bucket_notification_configuration(Bucket=bucket)) == {}
    assert content(s3.get_bucket_logging(Bucket=bucket)) == {}
    assert content(s3.get_bucket_abac(Bucket=bucket)) == {"AbacStatus": {"Status": "Disabled"}}


@pytest.mark.parametrize("kind", ["analytics", "intelligent_tiering", "inventory", "metrics"])
def test_those_with_ids(s3: Any, raw: Raw, bucket: str, kind: str) -> None:
    listed = getattr(s3, f"list_bucket_{kind}_configurations")(Bucket=bucket)
    assert content(listed) == {"IsTruncated": False}
    for verb in ("get", "delete"):
        call = getattr(s3, f"{verb}_bucket_{kind}_configuration")
        assert refusal(call, Bucket=bucket, Id="x") == (404, "NoSuchConfiguration")
    query = kind.replace("_", "-")
    assert raw("DELETE", f"/{bucket}", query).code == "InvalidArgument"
    assert raw("GET", f"/{bucket}", f"{query}&id=").code == "NoSuchConfiguration"


@pytest.mark.parametrize(
    "operation",
    [
        "delete_bucket_cors",
        "delete_bucket_encryption",
        "delete_bucket_lifecycle",
        "delete_bucket_metadata_configuration",
        "delete_bucket_metadata_table_configuration",
        "delete_bucket_replication",
        "delete_bucket_tagging",
        "delete_bucket_website",
    ],
)
def test_deleting_what_is_not_there(s3: Any, bucket: str, operation: str) -> None:
    answer = getattr(s3, operation)(Bucket=bucket)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refusal(getattr(s3, operation), Bucket="no-such-bucket") == (404, "NoSuchBucket")
    s3.head_bucket(Bucket=bucket)


@pytest.mark.parametrize(
    "query",
    [
        "abac",
        "analytics&id=x",
        "encryption",
        "intelligent-tiering&id=x",
        "inventory&id=x",
        "lifecycle",
        "metrics&id=x",
        "notification",
        "replication",
    ],
)
def test_never_stored_and_forgotten(raw: Raw, bucket: str, query: str) -> None:
    before = raw("GET", f"/{bucket}", query)
    for body in (b"", b"<X/>"):
        answer = raw("PUT", f"/{bucket}", query, {}, body)
        assert (answer.status, answer.code) == (501, "NotImplemented")
    after = raw("GET", f"/{bucket}", query)
    assert (after.status, after.code) == (before.status, before.code)
