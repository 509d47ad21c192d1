"""What the network and servers do to a client: each fault is survived, or named."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.client import (
    ChecksumMismatch,
    ConnectionFailed,
    InvalidPart,
    NoSuchBucket,
    NoSuchKey,
    S3Error,
    ServerError,
    SlowDown,
)
from holdfast.testing.server import Server

from .conftest import MIB, PART, Connect
from .proxy import Proxy, Scripted, answer, error

BIG = os.urandom(2 * PART + 12345)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.endpoint) as running:
        yield running


def test_a_download_goes_on_where_it_was_cut(
    connected: Connect, store: Any, bucket: str, proxy: Proxy, tmp_path: Path
) -> None:
    store.put_object(bucket, "k", BIG)
    cut = connected(proxy.endpoint)
    proxy.down_cuts += [3 * MIB, MIB, 10_000]
    with cut.get_object(bucket, "k") as stream:
        assert stream.read() == BIG
        assert stream.verified == "CRC64NVME"
    assert not proxy.down_cuts
    proxy.down_cuts += [3 * MIB, MIB, 10_000]
    result = cut.download(bucket, "k", tmp_path / "k")
    assert result.verified == "CRC64NVME"
    assert (tmp_path / "k").read_bytes() == BIG
    assert not proxy.down_cuts


def test_a_stream_that_keeps_breaking_ends(
    connected: Connect, store: Any, bucket: str, proxy: Proxy
) -> None:
    store.put_object(bucket, "k", BIG)
    with connected(proxy.endpoint).get_object(bucket, "k") as stream:
        proxy.down_cuts += [0] * 20
        proxy.close()
        with pytest.raises(ConnectionFailed):
            stream.read()


def test_uploads_are_sent_again(connected: Connect, bucket: str, proxy: Proxy) -> None:
    cut = connected(proxy.endpoint)
    seen: list[int] = []
    proxy.up_cuts += [PART, MIB, 2 * MIB]
    result = cut.put_object(bucket, "k", BIG, progress=lambda done, total: seen.append(done))
    assert not proxy.up_cuts
    assert result.etag.endswith("-3")
    assert seen[-1] == len(BIG)
    assert max(seen) <= len(BIG)
    with cut.get_object(bucket, "k") as stream:
        assert stream.read() == BIG
    assert list(cut.list_uploads(bucket)) == []


def test_bytes_that_change_on_their_way(
    connected: Connect, store: Any, bucket: str, proxy: Proxy, tmp_path: Path
) -> None:
    store.put_object(bucket, "small", b"0" * 1000)
    store.put_object(bucket, "big", b"0" * (2 * PART + 1))
    cut = connected(proxy.endpoint)
    proxy.change = lambda data: data.replace(b"0" * 900, b"0" * 899 + b"1")
    with cut.get_object(bucket, "small") as stream, pytest.raises(ChecksumMismatch):
        stream.read()
    for key in ("small", "big"):
        with pytest.raises(ChecksumMismatch):
            cut.download(bucket, key, tmp_path / key, resume=key == "big")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_busy_is_asked_again(connected: Connect) -> None:
    with Scripted(
        error(503, "SlowDown"), error(500, "InternalError"), b"", answer(200, etag='"e"')
    ) as far:
        assert connected(far.endpoint).put_object("bkt", "k", b"data").etag == "e"
        assert len(far.requests) == 4


def test_attempts_are_bounded(connected: Connect) -> None:
    with Scripted(*[error(503, "SlowDown")] * 9) as far:
        with pytest.raises(SlowDown) as refused:
            connected(far.endpoint).put_object("bkt", "k", b"data")
        assert (refused.value.request_id, refused.value.resource) == ("r", "bkt/k")
        assert len(far.requests) == 4


def test_what_is_not_idempotent_is_not_repeated(connected: Connect) -> None:
    """To begin a multipart upload twice would leave one behind; a 503 says that it was not begun."""
    with Scripted(error(503, "SlowDown"), error(500, "InternalError")) as far:
        with pytest.raises(ServerError):
            connected(far.endpoint).put_object("bkt", "k", BIG)
        assert len(far.requests) == 2
    with Scripted(b"") as far:
        with pytest.raises(ConnectionFailed):
            connected(far.endpoint).request("POST", "bkt", "k", query={"restore": ""})
        assert len(far.requests) == 1


def test_refusals_are_not_repeated(connected: Connect) -> None:
    with Scripted(error(404, "NoSuchKey")) as far:
        with pytest.raises(NoSuchKey):
            connected(far.endpoint).get_object("bkt", "k")
        assert len(far.requests) == 1


def test_nobody_listens(connected: Connect) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match="endpoint"):
            connected(url).bucket_exists("bkt")


def test_an_idle_connection_that_was_closed(connected: Connect) -> None:
    """Found closed after the request was sent: asked again at once, and no attempt is spent."""
    close = answer(200, etag='"e"')
    with Scripted(close, b"", close) as far:
        store = connected(far.endpoint)
        assert store.put_object("bkt", "k", b"1").etag == "e"
        assert store.put_object("bkt", "k", b"1").etag == "e"
        assert len(far.requests) == 3


def test_errors_inside_a_success(connected: Connect) -> None:
    late = b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code></Error>"
    copied = b"<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>"
    with Scripted(answer(200, late), answer(200, copied)) as far:
        assert connected(far.endpoint).copy_object("bkt", "a", "bkt", "b").etag == "e"
    with Scripted(answer(200, late.replace(b"InternalError", b"InvalidPart"))) as far:
        with pytest.raises(InvalidPart):
            connected(far.endpoint).copy_object("bkt", "a", "bkt", "b")
        assert len(far.requests) == 1


def test_the_region_is_learned(connected: Connect) -> None:
    wrong = error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1")
    with Scripted(wrong, answer(200, etag='"e"'), answer(200, etag='"f"')) as far:
        store = connected(far.endpoint)
        assert store.put_object("bkt", "k", b"1").etag == "e"
        assert store.put_object("bkt", "k", b"1").etag == "f"
        assert ["/eu-west-1/s3/" in head for head in far.requests] == [False, True, True]


def test_the_clock_is_set_by_the_server(connected: Connect) -> None:
    skewed = error(403, "RequestTimeTooSkewed", date="Tue, 01 Jan 2030 00:00:00 GMT")
    with Scripted(skewed, answer(200, etag='"e"')) as far:
        assert connected(far.endpoint).put_object("bkt", "k", b"1").etag == "e"
        assert "x-amz-date: 2030" in far.requests[1]


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 abc\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabXX\r\n",
    ],
)
def test_answers_that_are_not_http(connected: Connect, reply: bytes) -> None:
    with Scripted(*[reply] * 4) as far, pytest.raises(ConnectionFailed):
        connected(far.endpoint, timeout=2.0).request("GET", "bkt")


def test_answers_that_are_not_s3(connected: Connect) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'
    for body in (b"<html>hello", bomb, b"\xff\xfe<a/>"):
        with Scripted(answer(200, body)) as far, pytest.raises(S3Error) as refused:
            list(connected(far.endpoint).list_objects("bkt"))
        assert refused.value.code == "InvalidResponse"
    with Scripted(answer(418, b"<html>teapot</html>")) as far, pytest.raises(S3Error) as refused:
        connected(far.endpoint).put_object("bkt", "k", b"")
    assert refused.value.status == 418


def test_bodies_of_every_framing(connected: Connect) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    chunked = head + b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: u\r\n\r\n"
    old = b"HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n"
    with Scripted(chunked, b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, b"x"), old) as far:
        store = connected(far.endpoint)
        assert store.request("GET", "bkt").body == b"abcde"
        assert store.request("GET", "bkt").body == b"x"
    with Scripted(chunked) as far, connected(far.endpoint).get_object("bkt", "k") as stream:
        assert stream.read() == b"abcde"


def test_a_refusal_comes_before_a_large_body(
    connected: Connect, store: Any, bucket: str, proxy: Proxy
) -> None:
    """`Expect: 100-continue`: what is refused is not sent."""
    proxy.up_cuts.append(MIB)
    with pytest.raises(NoSuchBucket):
        connected(proxy.endpoint).put_object("no-such-bucket", "k", bytes(PART))
    assert proxy.up_cuts == [MIB]
