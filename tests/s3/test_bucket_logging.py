"""Server access logs: the documents, the records, and their delivery as objects."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from holdfast.s3.errors import S3Error
from holdfast.s3.operation import OPERATIONS
from holdfast.s3.server_log import operation_name, parse_logging
from holdfast.testing.server import Server

from .conftest import make_client
from .raw import Raw

WAIT_SECONDS_MAX = 20.0
FIELDS = 26
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html
FIELD = re.compile(r'\[[^\]]*\]|"[^"]*"|\S+')


@pytest.fixture(scope="module")
def log_server() -> Iterator[Server]:
    with Server(server_log_seconds=0.05) as server:
        yield server


@pytest.fixture(scope="module")
def client(log_server: Server) -> Iterator[Any]:
    with closing(make_client(log_server)) as client:
        yield client


@pytest.fixture
def logged(client: Any, request: pytest.FixtureRequest) -> tuple[str, str]:
    """(a bucket whose requests are logged, the bucket of its logs)"""
    name = request.node.name.partition("[")[0].replace("_", "-")[:40]
    client.create_bucket(Bucket=name)
    client.create_bucket(Bucket=f"{name}-logs")
    enable(client, name, f"{name}-logs")
    return name, f"{name}-logs"


def enable(client: Any, bucket: str, into: str, prefix: str = "p/", **more: Any) -> None:
    target = {"TargetBucket": into, "TargetPrefix": prefix, **more}
    client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": target})


def delivered(client: Any, bucket: str) -> dict[str, str]:
    listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {
        row["Key"]: client.get_object(Bucket=bucket, Key=row["Key"])["Body"].read().decode()
        for row in listed
    }


def wait_for(client: Any, bucket: str, holds: Callable[[list[list[str]]], bool]) -> list[list[str]]:
    """The records (their fields), once `holds` of them."""
    until = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        text = "".join(delivered(client, bucket).values())
        records = [FIELD.findall(line) for line in text.splitlines()]
        if holds(records):
            return records
        assert time.monotonic() < until, records
        time.sleep(0.05)


def test_documents(client: Any, logged: tuple[str, str]) -> None:
    bucket, into = logged
    answer = client.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]
    assert answer == {
        "TargetBucket": into,
        "TargetPrefix": "p/",
        "TargetObjectKeyFormat": {"SimplePrefix": {}},
    }
    for source in ("EventTime", "DeliveryTime"):
        key_format = {"PartitionedPrefix": {"PartitionDateSource": source}}
        enable(client, bucket, into, "", TargetObjectKeyFormat=key_format)
        answer = client.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]
        assert answer["TargetObjectKeyFormat"] == key_format
        assert answer["TargetPrefix"] == ""
    client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert "LoggingEnabled" not in client.get_bucket_logging(Bucket=bucket)
    with pytest.raises(ClientError) as refused:
        enable(client, bucket, "no-such-bucket")
    assert refused.value.response["Error"]["Code"] == "InvalidTargetBucketForLogging"
    with pytest.raises(ClientError) as refused:
        enable(
            client,
            bucket,
            into,
            TargetGrants=[{"Grantee": {"Type": "CanonicalUser", "ID": "x"}, "Permission": "READ"}],
        )
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert "LoggingEnabled" not in client.get_bucket_logging(Bucket=bucket)


@pytest.mark.parametrize(
    "inner",
    [
        "<Other/>",
        "<LoggingEnabled/>",
        "<LoggingEnabled><TargetBucket>b</TargetBucket></LoggingEnabled>",
        "<LoggingEnabled><TargetPrefix/></LoggingEnabled>",
        "<LoggingEnabled><TargetBucket>b</TargetBucket><TargetPrefix/><TargetObjectKeyFormat/>"
        "</LoggingEnabled>",
    ],
)
def test_malformed_documents(inner: str) -> None:
    with pytest.raises(S3Error) as refused:
        parse_logging(f"<BucketLoggingStatus>{inner}</BucketLoggingStatus>".encode())
    assert refused.value.code == "MalformedXML"


def test_records(client: Any, log_server: Server, logged: tuple[str, str]) -> None:
    bucket, into = logged
    agent = 'odd "agent" ä'
    with Raw(log_server) as raw:
        put = raw("PUT", f"/{bucket}/a%20b", headers={"user-agent": agent}, body=b"12345")
        raw("GET", f"/{bucket}/a%20b", headers={"range": "bytes=0-1", "referer": "http://r/"})
        raw("GET", f"/{bucket}/missing")
        raw.send("GET", *raw.presign("GET", f"/{bucket}/a%20b"), {"host": raw.host})
        raw.send("DELETE", f"/{bucket}/a%20b", "", {"host": raw.host})
        raw("HEAD", f"/{bucket}")
        raw("GET", f"/{bucket}", "list-type=2")
    records = wait_for(client, into, lambda rows: any(row[6] == "REST.GET.BUCKET" for row in rows))
    owner = client.list_buckets()["Owner"]["ID"]
    assert all(len(row) == FIELDS for row in records)
    assert {(row[0], row[1], row[3]) for row in records} == {(owner, bucket, "127.0.0.1")}
    by_name: dict[tuple[str, str], list[str]] = {}
    for row in records:
        by_name.setdefault((row[6], row[9]), row)
    row = by_name["REST.PUT.OBJECT", "200"]
    assert row[4:6] == [owner, put.headers["x-amz-request-id"]]
    assert row[7:13] == ["a%20b", f'"PUT /{bucket}/a%20b HTTP/1.1"', "200", "-", "-", "5"]
    assert row[16] == '"odd %22agent%22 %E4"'
    assert (row[19], row[21], row[22]) == ("SigV4", "AuthHeader", raw.host)
    assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]", row[2])
    row = by_name["REST.GET.OBJECT", "206"]
    assert row[11:13] == ["2", "5"]
    assert row[15] == '"http://r/"'
    assert by_name["REST.GET.OBJECT", "404"][10] == "NoSuchKey"
    row = by_name["REST.GET.OBJECT", "200"]
    assert row[21] == "QueryString"
    assert "X-Amz-Signature=***" in row[8]
    row = by_name["REST.DELETE.OBJECT", "403"]
    assert (row[4], row[10], row[19]) == ("-", "AccessDenied", "-")
    assert ("REST.HEAD.BUCKET", "200") in by_name
    assert ("REST.GET.BUCKET", "200") in by_name


def test_keys(client: Any, logged: tuple[str, str]) -> None:
    bucket, into = logged
    owner = client.list_buckets()["Owner"]["ID"]
    day = r"\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\d"
    base = f"{owner}/us-east-1/{bucket}/{day}"
    for prefix, key_format, pattern in (
        ("s/", None, r"s/\d{4}(-\d\d){5}-[0-9A-F]{16}"),
        ("d/", "DeliveryTime", rf"d/{base}(-\d\d){{3}}-[0-9A-F]{{16}}"),
        ("e/", "EventTime", rf"e/{base}-00-00-00-[0-9A-F]{{16}}"),
    ):
        more = {}
        if key_format:
            source = {"PartitionedPrefix": {"PartitionDateSource": key_format}}
            more["TargetObjectKeyFormat"] = source
        enable(client, bucket, into, prefix, **more)
        client.head_bucket(Bucket=bucket)
        until = time.monotonic() + WAIT_SECONDS_MAX
        while not any(re.fullmatch(pattern, key) for key in delivered(client, into)):
            assert time.monotonic() < until, (pattern, list(delivered(client, into)))
            time.sleep(0.05)


def test_switched_off(client: Any, logged: tuple[str, str]) -> None:
    bucket, into = logged
    client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    client.put_object(Bucket=bucket, Key="unseen", Body=b"")
    enable(client, bucket, into)
    client.put_object(Bucket=bucket, Key="seen", Body=b"")
    records = wait_for(client, into, lambda rows: any(row[7] == "seen" for row in rows))
    assert not any(row[7] == "unseen" for row in records)


def test_a_target_that_went(client: Any, logged: tuple[str, str]) -> None:
    """Records are best effort; the requests are not."""
    bucket, into = logged
    for key in delivered(client, into):
        client.delete_object(Bucket=into, Key=key)
    client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    other = f"{into}-2"
    client.create_bucket(Bucket=other)
    enable(client, bucket, other)
    client.put_object(Bucket=bucket, Key="k", Body=b"")
    wait_for(client, other, lambda rows: any(row[7] == "k" for row in rows))
    for key in delivered(client, other):
        client.delete_object(Bucket=other, Key=key)
    client.delete_bucket(Bucket=other)
    client.put_object(Bucket=bucket, Key="k2", Body=b"")
    assert client.get_object(Bucket=bucket, Key="k2")["Body"].read() == b""


def test_written_on_the_way_down(tmp_path: Path) -> None:
    keys = {"access_key": "AKIDTEST", "secret_key": "secret-key-of-test"}
    quiet = Server(str(tmp_path), server_log_seconds=3600, **keys)
    with quiet as server, closing(make_client(server)) as client:
        client.create_bucket(Bucket="source")
        client.create_bucket(Bucket="target")
        enable(client, "source", "target")
        client.put_object(Bucket="source", Key="last", Body=b"")
        assert not delivered(client, "target")
    with Server(str(tmp_path), **keys) as server, closing(make_client(server)) as client:
        text = "".join(delivered(client, "target").values())
    assert "REST.PUT.OBJECT last" in text


def test_every_operation_has_a_name() -> None:
    names = {operation_name(op, op.method) for op in OPERATIONS.values()}
    assert all(re.fullmatch(r"REST\.[A-Z]+\.[A-Z_]+", name) for name in names), names
    assert {"REST.GET.CORS", "REST.PUT.OBJECT_TAGGING", "REST.GET.VERSIONING"} <= names
