"""The record of the requests, and the assertions about it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from holdfast.testing import record
from holdfast.testing.record import RequestLog, SeenRequest
from holdfast.testing.server import Server

from ..s3.raw import STREAMING_SIGNED, Raw
from ..s3.users import User


def test_what_is_seen(s3_client: Any, s3_bucket: str, s3_requests: RequestLog) -> None:
    s3_client.put_object(Bucket=s3_bucket, Key="dir/ä b", Body=b"12345", Metadata={"a": "b"})
    s3_client.get_object(Bucket=s3_bucket, Key="dir/ä b")["Body"].close()
    s3_client.head_object(Bucket=s3_bucket, Key="dir/ä b")
    with pytest.raises(ClientError):
        s3_client.get_object(Bucket=s3_bucket, Key="missing")
    s3_client.list_buckets()
    assert [(one.operation, one.bucket, one.key, one.status) for one in s3_requests] == [
        ("PutObject", s3_bucket, "dir/ä b", 200),
        ("GetObject", s3_bucket, "dir/ä b", 200),
        ("HeadObject", s3_bucket, "dir/ä b", 200),
        ("GetObject", s3_bucket, "missing", 404),
        ("ListBuckets", "", "", 200),
    ]
    put, get, head, missing, _ = s3_requests
    assert put.headers["x-amz-meta-a"] == "b"
    assert (put.method, put.path) == ("PUT", f"/{s3_bucket}/dir/%C3%A4%20b")
    assert (put.bytes_received, put.bytes_sent) == (5, 0)
    assert (get.bytes_received, get.bytes_sent) == (0, 5)
    assert (head.bytes_sent, head.error) == (0, "")
    assert missing.error == "NoSuchKey"
    assert {one.user for one in s3_requests} == {"root"}
    assert {one.faults for one in s3_requests} == {()}
    assert str(missing) == f"GetObject /{s3_bucket}/missing -> 404 NoSuchKey"


def test_the_record_begins_with_the_test(s3_requests: RequestLog) -> None:
    assert not len(s3_requests)


def test_multipart_and_large_bodies(
    s3_client: Any, s3_bucket: str, s3_requests: RequestLog, tmp_path: Any
) -> None:
    (tmp_path / "large").write_bytes(os.urandom(9 * 1024**2))
    s3_client.upload_file(str(tmp_path / "large"), s3_bucket, "large")
    s3_requests.assert_called("CreateMultipartUpload", times=1)
    s3_requests.assert_called("UploadPart", key="large", times=2)
    s3_requests.assert_called("CompleteMultipartUpload", times=1)
    s3_requests.assert_not_called("PutObject")
    assert sum(one.bytes_received for one in s3_requests.find("UploadPart")) >= 9 * 1024**2
    with s3_client.get_object(Bucket=s3_bucket, Key="large")["Body"] as body:
        body.read()
    assert s3_requests.last("GetObject").bytes_sent == 9 * 1024**2


def test_users(s3_server: Server, raw: Raw, s3_bucket: str, s3_requests: RequestLog) -> None:
    with User(s3_server, "eve", "eve-id", "eve@example.org") as eve:
        assert eve("GET", f"/{s3_bucket}").status == 403
        assert s3_requests.last().user == "eve"
        assert eve("GET", f"/{s3_bucket}").status == 403
    assert raw.send("GET", f"/{s3_bucket}", headers={"host": raw.host}).status == 403
    assert s3_requests.last().user == ""
    path, query = raw.presign("GET", f"/{s3_bucket}")
    assert raw.send("GET", path, query, {"host": raw.host}).status == 200
    assert s3_requests.last().user == "root"
    wrong = raw.sign("GET", f"/{s3_bucket}")
    wrong["authorization"] = wrong["authorization"][:-4] + "0000"
    raw.send("GET", f"/{s3_bucket}", headers=wrong)
    assert (s3_requests.last().user, s3_requests.last().error) == ("", "SignatureDoesNotMatch")
    s3_requests.assert_called("ListObjects", user="eve", times=2)


def test_what_means_no_operation(raw: Raw, s3_bucket: str, s3_requests: RequestLog) -> None:
    for method, path, query in (
        ("OPTIONS", f"/{s3_bucket}/k", ""),
        ("PATCH", f"/{s3_bucket}/k", ""),
        ("GET", f"/{s3_bucket}/{'k' * 1025}", ""),
        ("GET", f"/{s3_bucket}", "x=%ff"),
    ):
        raw.send(method, path, query, {"host": raw.host})
        assert s3_requests.last().operation == "", method
        assert s3_requests.last().status >= 400
    assert raw.send("GET", "/_holdfast/live", headers={"host": raw.host}).status == 200
    assert len(s3_requests) == 4


def test_coded_bodies_count_as_sent(raw: Raw, s3_bucket: str, s3_requests: RequestLog) -> None:
    raw.chunked(f"/{s3_bucket}/k", b"x" * 1000, STREAMING_SIGNED)
    assert s3_requests.last("PutObject").bytes_received > 1000


def test_sub_resources_are_operations(raw: Raw, s3_bucket: str, s3_requests: RequestLog) -> None:
    raw("GET", f"/{s3_bucket}", "versioning")
    raw("GET", f"/{s3_bucket}", "list-type=2")
    raw("PUT", f"/{s3_bucket}/k", headers={"x-amz-copy-source": f"{s3_bucket}/none"})
    assert [one.operation for one in s3_requests] == [
        "GetBucketVersioning",
        "ListObjectsV2",
        "CopyObject",
    ]


def _seen(operation: str, key: str, status: int = 200) -> SeenRequest:
    return SeenRequest(
        operation, "b", key, status, "" if status == 200 else "NoSuchKey", "GET", "/b/k", "", {}, 0,
        0, "root", (),
    )  # fmt: skip


def test_assertions() -> None:
    log = RequestLog()
    with pytest.raises(AssertionError, match=r"PutObject was not called.*\n  none"):
        log.assert_called("PutObject")
    log.assert_not_called("PutObject")
    for one in (_seen("PutObject", "a/1"), _seen("PutObject", "a/2"), _seen("GetObject", "x", 404)):
        log.add(one)
    log.assert_called()
    log.assert_called("PutObject")
    log.assert_called("PutObject", times=2)
    log.assert_called("PutObject", bucket="b", key="a/*", times=2)
    log.assert_called("PutObject", key="a/1", times=1)
    log.assert_called("GetObject", status=404, error="NoSuchKey")
    log.assert_not_called("DeleteObject")
    assert log.count() == 3
    assert log.count("PutObject", key="?/2") == 1
    assert log.last("PutObject").key == "a/2"
    assert [one.key for one in log.find("PutObject")] == ["a/1", "a/2"]
    failing: list[tuple[Callable[[], object], str]] = [
        (lambda: log.assert_called("PutObject", key="b/*"), r"\(key='b/\*'\) was not called"),
        (lambda: log.assert_called("PutObject", times=1), "was called 2 times, not 1"),
        (lambda: log.assert_called("PutObject", times=0), "was called 2 times, not 0"),
        (lambda: log.assert_not_called("PutObject"), "GetObject /b/x -> 404 NoSuchKey"),
        (lambda: log.last("DeleteObject"), "was not called"),
    ]
    for call, said in failing:
        with pytest.raises(AssertionError, match=said):
            call()
    with pytest.raises(ValueError, match="did you mean GetObject"):
        log.count("GetObjekt")
    with pytest.raises(TypeError, match="keys"):
        log.count("GetObject", keys="x")  # type: ignore[call-arg]
    log.clear()
    assert log.count() == 0


def test_the_record_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "REQUESTS_KEPT_MAX", 5)
    log = RequestLog()
    for number in range(8):
        log.add(_seen("GetObject", str(number)))
    assert [one.key for one in log] == ["3", "4", "5", "6", "7"]


def test_a_request_is_seen_before_its_answer(
    s3_server: Server, s3_bucket: str, s3_requests: RequestLog
) -> None:
    """From several clients at once, each right after its own answer."""
    missing = []

    def work(number: int) -> None:
        client = boto3.client("s3", **s3_server.client_arguments())
        for turn in range(10):
            key = f"{number}-{turn}"
            client.put_object(Bucket=s3_bucket, Key=key, Body=b"x")
            if not s3_requests.count("PutObject", key=key, status=200):
                missing.append(key)
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not missing
    s3_requests.assert_called("PutObject", times=40)
