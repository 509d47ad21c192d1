"""What goes by the clock, end to end, on a server whose clock the test moves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from holdfast.testing.clock import Clock
from holdfast.testing.server import Server

from .conftest import make_client
from .raw import Raw
from .test_object_lock import BYPASS, configuration, put_retention, retention, rule
from .test_post_object import Poster

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
BUCKET = "clocked"


@pytest.fixture
def server() -> Iterator[Server]:
    """Its clock stands."""
    with Server() as server:
        server.clock.stop()
        yield server


@pytest.fixture
def s3(server: Server) -> Iterator[Any]:
    with closing(make_client(server)) as client:
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        yield client


@pytest.fixture
def raw(server: Server, s3: Any) -> Iterator[Raw]:
    with Raw(server) as client:
        yield client


def today(server: Server) -> datetime:
    """The server's time, in the whole seconds that headers carry."""
    return datetime.fromtimestamp(int(server.clock()), UTC)


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_retention_ends(server: Server, s3: Any, mode: str) -> None:
    until = today(server) + DAY
    put = s3.put_object(Bucket=BUCKET, Key="k", Body=b"kept", **retention(mode, until))
    version = {"Bucket": BUCKET, "Key": "k", "VersionId": put["VersionId"]}
    for step in (timedelta(0), DAY - 2 * SECOND):
        server.clock.advance(step)
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(**version)
    server.clock.advance(3 * SECOND)
    assert s3.head_object(**version)["ObjectLockMode"] == mode, "it is told as long as it is there"
    s3.delete_object(**version)
    assert "Versions" not in s3.list_object_versions(Bucket=BUCKET)


def test_compliance_is_only_prolonged_until_it_ends(server: Server, s3: Any, raw: Raw) -> None:
    path = f"/{BUCKET}/k"
    until = today(server) + 10 * DAY
    put = s3.put_object(Bucket=BUCKET, Key="k", Body=b"kept", **retention("COMPLIANCE", until))
    version = put["VersionId"]
    for _ in range(3):
        server.clock.advance(3 * DAY)
        for sooner in (today(server) + SECOND, until - SECOND):
            answer = put_retention(raw, path, version, "COMPLIANCE", sooner)
            assert (answer.status, answer.code) == (403, "AccessDenied")
        assert raw("DELETE", path, f"versionId={version}", BYPASS).code == "AccessDenied"
    later = until + DAY
    assert put_retention(raw, path, version, "COMPLIANCE", later).status == 200
    server.clock.advance(DAY + SECOND)  # what held at first is over
    assert raw("DELETE", path, f"versionId={version}").code == "AccessDenied"
    server.clock.advance(DAY)
    # a date that is past by the server's clock, whatever the client's says
    assert put_retention(raw, path, version, "COMPLIANCE", later).code == "InvalidArgument"
    assert raw("DELETE", path, f"versionId={version}").status == 204


def test_default_retention_counts_from_the_clock(server: Server, s3: Any, raw: Raw) -> None:
    body = configuration(rule("COMPLIANCE", "<Days>3</Days>"))
    assert raw("PUT", f"/{BUCKET}", "object-lock", body=body).status == 200
    server.clock.advance(1000 * DAY)
    put = s3.put_object(Bucket=BUCKET, Key="k", Body=b"x")
    head = s3.head_object(Bucket=BUCKET, Key="k")
    until = head["ObjectLockRetainUntilDate"].timestamp()
    assert until == pytest.approx(server.clock() + 3 * 86400, abs=0.001)
    assert head["LastModified"] == today(server)
    version = {"Bucket": BUCKET, "Key": "k", "VersionId": put["VersionId"]}
    server.clock.advance(3 * DAY - SECOND)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(**version)
    server.clock.advance(2 * SECOND)
    s3.delete_object(**version)


def test_a_legal_hold_does_not_end(server: Server, s3: Any) -> None:
    put = s3.put_object(Bucket=BUCKET, Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")
    server.clock.advance(100_000 * DAY)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=BUCKET, Key="k", VersionId=put["VersionId"])


def test_presigned_urls_expire(server: Server, s3: Any, raw: Raw) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"data")
    path, query = raw.presign("GET", f"/{BUCKET}/k", expires_seconds=3600)
    host = {"host": raw.host}
    assert raw.send("GET", path, query, host).body == b"data"
    server.clock.advance(3500)
    assert raw.send("GET", path, query, host).body == b"data"
    server.clock.advance(200)
    answer = raw.send("GET", path, query, host)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert answer.text("Message") == "Request has expired"
    path, query = raw.presign("GET", f"/{BUCKET}/k", now=server.clock() + 1000)
    assert raw.send("GET", path, query, host).text("Message") == "Request is not valid yet"


def test_form_policies_expire(server: Server, s3: Any, raw: Raw) -> None:
    poster = Poster(raw, BUCKET)
    fields = poster.signed([("key", "form")], seconds=3600)
    assert poster(fields, b"data").status == 204
    server.clock.advance(4000)
    assert poster(fields, b"data").code == "AccessDenied"


def test_signed_headers_go_by_the_machine(server: Server, s3: Any, raw: Raw) -> None:
    """Else no client could speak to a server whose clock was moved."""
    server.clock.advance(400 * DAY)
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"data")
    path = f"/{BUCKET}/k"
    late = raw.sign("GET", path, now=time.time() - 1000)
    assert raw.send("GET", path, headers=late).code == "RequestTimeTooSkewed"
    moved = raw.sign("GET", path, now=server.clock())
    assert raw.send("GET", path, headers=moved).code == "RequestTimeTooSkewed"


def test_content_written_before_a_move_is_read_after_it(server: Server, s3: Any) -> None:
    """The collector goes by the same clock, and takes nothing that is referred to."""
    data = b"0123456789" * 100_000
    s3.put_object(Bucket=BUCKET, Key="k", Body=data)
    server.clock.advance(1000 * DAY)
    s3.put_object(Bucket=BUCKET, Key="again", Body=data)
    for key in ("k", "again"):
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data


def test_the_clock() -> None:
    clock = Clock()
    before = time.time()
    assert before <= clock() <= time.time()
    clock.advance(DAY)
    clock.advance(0.5)
    assert before + 86400.5 <= clock() <= time.time() + 86400.5
    clock.stop()
    stands = clock()
    assert clock() == stands
    clock.advance(10)
    assert clock() == stands + 10
    clock.stop()
    assert clock() == stands + 10
    clock.start()
    assert stands + 10 <= clock() <= stands + 10 + (time.time() - before)
    clock.start()
    for back in (-1.0, timedelta(seconds=-1), float("nan")):
        with pytest.raises(ValueError):
            clock.advance(back)
