"""Injected faults, as clients meet them; and what each leaves behind."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from urllib3.exceptions import ProtocolError

from holdfast.s3.errors import ERRORS
from holdfast.testing.faults import Faults
from holdfast.testing.record import RequestLog
from holdfast.testing.server import Server

from ..certificate import write_pair
from ..s3.raw import Raw

LARGE = os.urandom(600_000)  # a file; what is small is kept in the database
SMALL = os.urandom(4000)
BODIES = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "file"])


def test_the_next_requests_fail(once: Any, s3_bucket: str, s3_faults: Faults) -> None:
    fault = s3_faults.fail("PutObject", "SlowDown", times=2, message="not so fast")
    where = {"Bucket": s3_bucket, "Key": "k"}
    for _ in range(2):
        with pytest.raises(ClientError, match="not so fast") as caught:
            once.put_object(**where, Body=b"x")
        answer: Any = caught.value.response
        assert answer["Error"]["Code"] == "SlowDown"
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert answer["ResponseMetadata"]["RequestId"]
        with pytest.raises(ClientError, match="404"):
            once.head_object(**where)
    once.put_object(**where, Body=b"x")
    assert fault.hits == 2
    assert not len(s3_faults)


def test_a_client_that_tries_again_gets_through(
    s3_client: Any, s3_bucket: str, s3_faults: Faults, s3_requests: RequestLog
) -> None:
    s3_faults.slow_down("PutObject")
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=b"x")
    s3_requests.assert_called("PutObject", error="SlowDown", status=503, times=1)
    s3_requests.assert_called("PutObject", status=200, times=1)


def test_every_error_has_its_status(raw: Raw, s3_faults: Faults) -> None:
    for code, kind in ERRORS.items():
        s3_faults.fail("ListBuckets", code)
        answer = raw("GET", "/")
        assert (answer.status, answer.code) == (kind.status, "" if kind.status == 304 else code)
    assert raw("GET", "/").status == 200


def test_an_error_that_this_server_never_answers(raw: Raw, s3_faults: Faults) -> None:
    s3_faults.fail("ListBuckets", "ExpiredToken", status=400)
    answer = raw("GET", "/")
    assert (answer.status, answer.code) == (400, "ExpiredToken")


def test_only_what_is_meant(raw: Raw, s3_bucket: str, s3_faults: Faults) -> None:
    s3_faults.fail("PutObject", bucket=s3_bucket, key="logs/*", times=None)
    s3_faults.fail("*", "AccessDenied", bucket="other-*", times=None)
    assert raw("PUT", f"/{s3_bucket}/data/1", body=b"x").status == 200
    for number in range(3):
        assert raw("PUT", f"/{s3_bucket}/logs/{number}", body=b"x").status == 500
    assert raw("GET", f"/{s3_bucket}/logs/1").status == 404
    assert raw("PUT", "/other-bucket").code == "AccessDenied"
    assert raw("GET", "/other-bucket/k").code == "AccessDenied"
    assert raw("GET", "/others/k").code == "NoSuchBucket"


def test_a_key_may_look_like_a_pattern(raw: Raw, s3_bucket: str, s3_faults: Faults) -> None:
    s3_faults.fail("PutObject", key="a[1]")
    assert raw("PUT", f"/{s3_bucket}/a[1]", body=b"x").status == 500


def test_a_fault_ends(once: Any, s3_bucket: str, s3_faults: Faults) -> None:
    fault = s3_faults.fail("PutObject", times=None)
    s3_faults.fail("GetObject", times=None)
    fault.remove()
    fault.remove()
    once.put_object(Bucket=s3_bucket, Key="k", Body=b"x")
    s3_faults.clear()
    once.get_object(Bucket=s3_bucket, Key="k")["Body"].close()


def test_wrong_names_are_refused(s3_faults: Faults) -> None:
    with pytest.raises(ValueError, match="did you mean PutObject"):
        s3_faults.fail("PutObjet")
    with pytest.raises(ValueError, match="did you mean SlowDown"):
        s3_faults.fail("PutObject", "SlowDwn")
    with pytest.raises(TypeError, match="buckets"):
        s3_faults.fail("PutObject", buckets="b")  # type: ignore[call-arg]
    wrong: list[Callable[[], object]] = [
        lambda: s3_faults.fail("PutObject", times=0),
        lambda: s3_faults.delay("PutObject", 0),
        lambda: s3_faults.throttle("PutObject", -1),
        lambda: s3_faults.cut_upload("PutObject", -1),
    ]
    for one in wrong:
        with pytest.raises(ValueError, match=r"is not more than 0|is less than 0|at least 1"):
            one()
    assert not len(s3_faults)


def test_a_failure_leaves_the_other_faults(
    raw: Raw, s3_bucket: str, s3_faults: Faults, s3_requests: RequestLog
) -> None:
    others = [s3_faults.throttle("PutObject", 10**6), s3_faults.drop_answer("PutObject")]
    s3_faults.fail("PutObject")
    assert raw("PUT", f"/{s3_bucket}/k", body=b"x").status == 500
    assert [fault.hits for fault in others] == [0, 0]
    assert s3_requests.last().faults == ("fail",)


def test_a_delay(once: Any, s3_bucket: str, s3_faults: Faults, s3_requests: RequestLog) -> None:
    s3_faults.delay("PutObject", 0.2)
    s3_faults.fail("PutObject", "SlowDown")
    began = time.monotonic()
    with pytest.raises(ClientError):
        once.put_object(Bucket=s3_bucket, Key="k", Body=b"x")
    assert time.monotonic() - began >= 0.2
    assert s3_requests.last("PutObject").faults == ("delay", "fail")


@BODIES
@pytest.mark.parametrize("after", [0, 1, 1000, 10**9])
def test_a_download_is_cut(
    s3_server: Server, once: Any, s3_bucket: str, s3_faults: Faults, data: bytes, after: int
) -> None:
    once.put_object(Bucket=s3_bucket, Key="k", Body=data)
    url = once.generate_presigned_url("get_object", Params={"Bucket": s3_bucket, "Key": "k"})
    s3_faults.cut_download("GetObject", after)
    host = s3_server.endpoint.partition("://")[2]
    with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        connection.request("GET", url.removeprefix(s3_server.endpoint))
        got = bytearray()
        with pytest.raises(ConnectionResetError):
            _receive(connection, got)
        # of much data the last of it may be lost with the connection
        expected = data[:after] if after < 10**6 else data[: len(got)]
        assert got == expected
        assert len(got) < len(data)
    with once.get_object(Bucket=s3_bucket, Key="k")["Body"] as body:
        assert body.read() == data


def _receive(connection: http.client.HTTPConnection, got: bytearray) -> None:
    answer = connection.getresponse()
    assert answer.status == 200
    while len(got) < int(answer.headers["content-length"]):
        got += answer.read1(1000)


def test_a_download_is_taken_up_again(
    s3_client: Any,
    s3_bucket: str,
    s3_faults: Faults,
    s3_requests: RequestLog,
    tmp_path: Any,
) -> None:
    """What a transfer manager is for: the part that broke is fetched anew."""
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=LARGE)
    s3_faults.cut_download("GetObject", 50_000, times=2)
    config = TransferConfig(multipart_threshold=1, multipart_chunksize=200_000)
    s3_client.download_file(s3_bucket, "k", str(tmp_path / "k"), Config=config)
    assert (tmp_path / "k").read_bytes() == LARGE
    assert sum(one.faults == ("cut_download",) for one in s3_requests.find("GetObject")) == 2


def test_a_listing_is_cut(once: Any, s3_bucket: str, s3_faults: Faults) -> None:
    s3_faults.cut_download("ListObjectsV2", 10)
    with pytest.raises((ConnectionError, HTTPClientError)):
        once.list_objects_v2(Bucket=s3_bucket)
    assert once.list_objects_v2(Bucket=s3_bucket)["KeyCount"] == 0


@BODIES
@pytest.mark.parametrize("after", [0, 1, 3000, 10**9])
def test_an_upload_is_cut(
    once: Any,
    s3_bucket: str,
    s3_faults: Faults,
    s3_requests: RequestLog,
    data: bytes,
    after: int,
) -> None:
    s3_faults.cut_upload("PutObject", after)
    with pytest.raises((ConnectionError, HTTPClientError)):
        once.put_object(Bucket=s3_bucket, Key="k", Body=data)
    seen = s3_requests.last("PutObject")
    assert (seen.status, seen.bytes_received) == (0, min(after, len(data)))
    assert "Contents" not in once.list_objects_v2(Bucket=s3_bucket)
    once.put_object(Bucket=s3_bucket, Key="k", Body=data)


@pytest.mark.parametrize("operation", ["PutObject", "DeleteObjects", "CreateBucket"])
def test_any_upload_is_cut(once: Any, s3_bucket: str, s3_faults: Faults, operation: str) -> None:
    """Without a body, small documents and coded ones too."""
    once.put_object(Bucket=s3_bucket, Key="kept", Body=b"x")
    calls = {
        "PutObject": lambda: once.put_object(Bucket=s3_bucket, Key="empty"),
        "DeleteObjects": lambda: once.delete_objects(
            Bucket=s3_bucket, Delete={"Objects": [{"Key": "kept"}]}
        ),
        "CreateBucket": lambda: once.create_bucket(Bucket=f"{s3_bucket}-2"),
    }
    s3_faults.cut_upload(operation, 20)
    with pytest.raises((ConnectionError, HTTPClientError)):
        calls[operation]()
    assert [one["Key"] for one in once.list_objects_v2(Bucket=s3_bucket)["Contents"]] == ["kept"]
    with pytest.raises(ClientError, match="404"):
        once.head_bucket(Bucket=f"{s3_bucket}-2")


def test_an_answer_is_lost(once: Any, s3_bucket: str, s3_faults: Faults) -> None:
    """It was carried out, and the client can't know: its next try meets its own first."""
    where = {"Bucket": s3_bucket, "Key": "k"}
    s3_faults.drop_answer("PutObject")
    with pytest.raises((ConnectionError, HTTPClientError)):
        once.put_object(**where, Body=LARGE, IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        once.put_object(**where, Body=LARGE, IfNoneMatch="*")
    for operation in ("GetObject", "HeadObject"):
        s3_faults.drop_answer(operation)
    s3_faults.cut_download("HeadObject", 5)
    for call in (once.get_object, once.head_object):
        with pytest.raises((ConnectionError, HTTPClientError)):
            call(**where)
        call(**where)


@BODIES
def test_a_throttle(
    once: Any, s3_bucket: str, s3_faults: Faults, s3_requests: RequestLog, data: bytes
) -> None:
    seconds = 0.3
    s3_faults.throttle("*", len(data) / seconds, times=2)
    began = time.monotonic()
    once.put_object(Bucket=s3_bucket, Key="k", Body=data)
    assert time.monotonic() - began >= seconds * 0.9
    began = time.monotonic()
    with once.get_object(Bucket=s3_bucket, Key="k")["Body"] as body:
        assert body.read() == data
    assert time.monotonic() - began >= seconds * 0.8  # it does not wait behind the last piece
    assert [one.faults for one in s3_requests] == [("throttle",)] * 2


def test_both_ways_over_tls(tmp_path: Any) -> None:
    certificate, key = write_pair(tmp_path, "test")
    with (
        Server(tls_cert=certificate, tls_key=key) as server,
        closing(boto3.client("s3", **server.client_arguments(), verify=certificate)) as client,
    ):
        bucket = server.create_bucket()
        server.faults.cut_upload("PutObject", 100_000)
        server.faults.throttle("PutObject", 10**8, times=2)
        client.put_object(Bucket=bucket, Key="k", Body=LARGE)  # trailing checksums, second try
        assert server.requests.last("PutObject").bytes_received > len(LARGE)
        server.faults.cut_download("GetObject", 100_000)
        with (
            client.get_object(Bucket=bucket, Key="k")["Body"] as body,
            pytest.raises((HTTPClientError, ProtocolError)),
        ):
            body.read()
