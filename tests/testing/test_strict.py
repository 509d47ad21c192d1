"""What a mock lets pass, and S3 does not: each of these fails here as it does on AWS."""

from __future__ import annotations

import base64
import hashlib
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from holdfast.testing.clock import Clock
from holdfast.testing.server import Server

from ..s3.raw import Raw

OTHER = b"other data"


def refused(code: str) -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\)")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"aws_secret_access_key": "wrong" * 8}, "SignatureDoesNotMatch"),
        ({"aws_access_key_id": "AKIAWRONG"}, "InvalidAccessKeyId"),
    ],
)
def test_wrong_keys(s3_server: Server, s3_bucket: str, change: dict[str, str], code: str) -> None:
    client = boto3.client("s3", **(s3_server.client_arguments() | change))
    with closing(client), refused(code):
        client.list_objects_v2(Bucket=s3_bucket, MaxKeys=1)
    with closing(client), refused(code):
        client.put_object(Bucket=s3_bucket, Key="k", Body=b"x")


def test_wrong_checksums(once: Any, s3_bucket: str) -> None:
    where = {"Bucket": s3_bucket, "Key": "k", "Body": b"data"}
    wrong = base64.b64encode(hashlib.sha256(OTHER).digest()).decode()
    with refused("BadDigest"):
        once.put_object(**where, ChecksumSHA256=wrong)
    with refused("BadDigest"):
        once.put_object(**where, ChecksumCRC32="AAAAAA==")
    md5 = base64.b64encode(hashlib.md5(OTHER, usedforsecurity=False).digest()).decode()
    with refused("BadDigest"):
        once.put_object(**where, ContentMD5=md5)
    with refused("404"):
        once.head_object(Bucket=s3_bucket, Key="k")


def test_a_body_that_is_not_the_signed_one(raw: Raw, s3_bucket: str) -> None:
    signed = raw.sign("PUT", f"/{s3_bucket}/k", payload=hashlib.sha256(b"data").hexdigest())
    signed["content-length"] = "4"
    answer = raw.send("PUT", f"/{s3_bucket}/k", headers=signed, body=b"dada")
    assert answer.code == "XAmzContentSHA256Mismatch"


def test_nobody_is_let_in(s3_server: Server, s3_bucket: str) -> None:
    from botocore import UNSIGNED

    config = Config(signature_version=UNSIGNED)
    with (
        closing(boto3.client("s3", **s3_server.client_arguments(), config=config)) as client,
        refused("AccessDenied"),
    ):
        client.list_objects_v2(Bucket=s3_bucket)


def test_presigned_urls_hold(
    raw: Raw, s3_client: Any, s3_bucket: str, s3_server: Server, s3_clock: Clock
) -> None:
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=b"x")
    url = s3_client.generate_presigned_url(
        "get_object", Params={"Bucket": s3_bucket, "Key": "k"}, ExpiresIn=60
    )
    path, _, query = url.removeprefix(s3_server.endpoint).partition("?")
    host = {"host": raw.host}
    assert raw.send("GET", path, query, host).body == b"x"
    assert raw.send("GET", f"{path}2", query, host).code == "SignatureDoesNotMatch"
    assert raw.send("DELETE", path, query, host).code == "SignatureDoesNotMatch"
    s3_clock.advance(61)
    assert raw.send("GET", path, query, host).code == "AccessDenied"


def test_conditions_hold(s3_client: Any, s3_bucket: str) -> None:
    where = {"Bucket": s3_bucket, "Key": "k"}
    s3_client.put_object(**where, Body=b"x", IfNoneMatch="*")
    with refused("PreconditionFailed"):
        s3_client.put_object(**where, Body=b"y", IfNoneMatch="*")
    with refused("PreconditionFailed"):
        s3_client.put_object(**where, Body=b"y", IfMatch='"0123456789abcdef0123456789abcdef"')


def test_what_is_not_there_is_refused(s3_client: Any, s3_bucket: str) -> None:
    with refused("NotImplemented"):
        s3_client.put_bucket_lifecycle_configuration(
            Bucket=s3_bucket,
            LifecycleConfiguration={
                "Rules": [
                    {"Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
                ]
            },
        )
    with refused("NoSuchBucket"):
        s3_client.put_object(Bucket="never-made", Key="k", Body=b"x")
    with refused("InvalidPart"):
        upload = s3_client.create_multipart_upload(Bucket=s3_bucket, Key="k")["UploadId"]
        s3_client.complete_multipart_upload(
            Bucket=s3_bucket,
            Key="k",
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"0"'}]},
        )
