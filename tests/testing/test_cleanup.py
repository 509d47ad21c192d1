"""What tests leave behind is removed, whatever they did; and time goes back to where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from holdfast.testing.clock import Clock
from holdfast.testing.server import Server

from ..s3.raw import Raw


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with closing(boto3.client("s3", **server.client_arguments())) as client:
        yield client


def test_a_plain_bucket(server: Server, client: Any) -> None:
    bucket = server.create_bucket()
    for number in range(3):
        client.put_object(Bucket=bucket, Key=str(number), Body=b"x" * 100_000)
    client.create_multipart_upload(Bucket=bucket, Key="begun")
    client.put_bucket_policy(
        Bucket=bucket,
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": ["s3:Delete*", "s3:List*"],
                        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                    }
                ],
            }
        ),
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=bucket, Key="1")
    server.remove_bucket(bucket)
    server.remove_bucket(bucket)
    server.remove_bucket("never-was")
    assert client.list_buckets()["Buckets"] == []


def test_versions_and_locks(server: Server, client: Any) -> None:
    bucket = server.create_bucket("locked", object_lock=True)
    assert bucket == "locked"
    later = datetime.now(UTC) + timedelta(days=30_000)
    for mode in ("GOVERNANCE", "COMPLIANCE"):
        for _ in range(2):
            client.put_object(
                Bucket=bucket,
                Key=mode,
                Body=b"x" * 100_000,
                ObjectLockMode=mode,
                ObjectLockRetainUntilDate=later,
                ObjectLockLegalHoldStatus="ON",
            )
    client.put_object(Bucket=bucket, Key="held", Body=b"x", ObjectLockLegalHoldStatus="ON")
    client.delete_object(Bucket=bucket, Key="held")
    before = time.time()
    server.remove_bucket(bucket)
    assert client.list_buckets()["Buckets"] == []
    assert before <= server.clock() <= time.time(), "time is what it was"
    client.create_bucket(Bucket=bucket)
    assert "Versions" not in client.list_object_versions(Bucket=bucket)


def test_more_than_a_page(server: Server, client: Any) -> None:
    bucket = server.create_bucket()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    keys = [{"Key": f"{number}"} for number in range(1000)]
    client.delete_objects(Bucket=bucket, Delete={"Objects": keys})  # a marker each
    server.remove_bucket(bucket)
    assert client.list_buckets()["Buckets"] == []


def test_reset(server: Server, client: Any) -> None:
    for name in ("one", "two"):
        client.create_bucket(Bucket=f"bucket-{name}")
        client.put_object(Bucket=f"bucket-{name}", Key="k", Body=b"x")
    server.faults.fail("ListBuckets", times=None)
    server.clock.advance(10**6)
    server.reset()
    assert not len(server.requests)
    assert abs(server.clock() - time.time()) < 10
    assert client.list_buckets()["Buckets"] == []
    client.create_bucket(Bucket="bucket-one")
    client.put_object(Bucket="bucket-one", Key="k", Body=b"new")


def test_life_goes_on_after_the_clock_went_back(server: Server, client: Any) -> None:
    """Versions stay in the order of writing, whatever time each of them was written at."""
    bucket = server.create_bucket()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    server.clock.advance(timedelta(days=1000))
    client.put_object(Bucket=bucket, Key="k", Body=b"old" * 100_000)
    server.clock.reset()
    client.put_object(Bucket=bucket, Key="k", Body=b"new" * 100_000)
    with client.get_object(Bucket=bucket, Key="k")["Body"] as body:
        assert body.read(3) == b"new"
    versions = client.list_object_versions(Bucket=bucket)["Versions"]
    assert [one["IsLatest"] for one in versions] == [True, False]


def test_the_clock_of_a_test(s3_clock: Clock, raw: Raw, s3_bucket: str) -> None:
    path, query = raw.presign("GET", f"/{s3_bucket}", expires_seconds=600)
    s3_clock.stop()
    assert raw.send("GET", path, query, {"host": raw.host}).status == 200
    s3_clock.advance(601)
    assert raw.send("GET", path, query, {"host": raw.host}).code == "AccessDenied"


def test_the_clock_of_the_next_test(s3_clock: Clock) -> None:
    assert abs(s3_clock() - time.time()) < 1
    with s3_clock.at(12.5):
        assert s3_clock() == 12.5
    assert abs(s3_clock() - time.time()) < 1


def test_a_test_may_replace_the_time(
    monkeypatch: pytest.MonkeyPatch, s3_client: Any, s3_bucket: str
) -> None:
    """Of its own code: clients sign by datetime, and the server is to go on agreeing with them."""
    monkeypatch.setattr("time.time", lambda: 0.0)
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=b"x")
    head = s3_client.head_object(Bucket=s3_bucket, Key="k")
    assert head["LastModified"] > datetime(2020, 1, 1, tzinfo=UTC)
