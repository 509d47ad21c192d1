"""What errors tell beside their code, because clients act on it."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import boto3
import pytest

from holdfast.auth.presign import sign_headers
from holdfast.testing.server import Server

from .raw import Raw

OTHER = '"00000000000000000000000000000000"'


@pytest.mark.parametrize(
    ("method", "header", "value"),
    [
        ("PUT", "If-None-Match", "*"),
        ("PUT", "If-Match", OTHER),
        ("DELETE", "If-Match", OTHER),
        ("DELETE", "x-amz-if-match-size", "3"),
    ],
)
def test_the_condition_that_failed(
    raw: Raw, bucket: str, method: str, header: str, value: str
) -> None:
    """s3fs raises FileExistsError by it."""
    path = f"/{bucket}/k"
    raw("PUT", path, body=b"kept")
    answer = raw(method, path, headers={header.lower(): value}, body=b"new" * (method == "PUT"))
    assert answer.code == "PreconditionFailed"
    assert answer.text("Condition") == header


@pytest.mark.parametrize("operation", ["copy", "complete"])
def test_the_condition_of_other_writes(raw: Raw, bucket: str, operation: str) -> None:
    path = f"/{bucket}/k"
    raw("PUT", path, body=b"kept")
    only_new = {"if-none-match": "*"}
    if operation == "copy":
        copy = {"x-amz-copy-source": path, "x-amz-metadata-directive": "REPLACE"}
        answer = raw("PUT", path, headers=only_new | copy)
    else:
        upload = raw("POST", path, "uploads=").text("UploadId")
        etag = raw("PUT", path, f"partNumber=1&uploadId={upload}", body=b"x").headers["etag"]
        part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
        answer = raw("POST", path, f"uploadId={upload}", only_new, document)
    assert answer.code == "PreconditionFailed"
    assert answer.text("Condition") == "If-None-Match"


def test_of_several_conditions_none_is_named(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    both = {"if-match": OTHER, "x-amz-if-match-size": "3"}
    answer = raw("DELETE", f"/{bucket}/k", headers=both)
    assert (answer.code, answer.text("Condition")) == ("PreconditionFailed", "")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_the_right_region(raw: Raw, bucket: str, method: str) -> None:
    signed = sign_headers(
        method,
        f"/{bucket}/k",
        "",
        {"host": raw.host},
        access_key=raw.access_key,
        secret_key=raw.secret_key,
        region="eu-central-1",
        now=time.time(),
    )
    answer = raw.send(method, f"/{bucket}/k", headers=signed)
    assert answer.status == 400
    assert answer.headers["x-amz-bucket-region"] == raw.region


def test_boto3_signs_again_for_it(s3_server: Server, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    arguments = s3_server.client_arguments() | {"region_name": "eu-central-1"}
    with closing(boto3.client("s3", **arguments)) as client:
        assert client.head_object(Bucket=bucket, Key="k")["ContentLength"] == 4
    with closing(boto3.client("s3", **arguments)) as client:
        assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
