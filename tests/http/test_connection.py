"""Requests and responses on real sockets: order, keeping, refusing, failing."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.http import drive
from holdfast.http.message import (
    BadBody,
    BodyTooLarge,
    ClientDisconnected,
    FileBody,
    Handler,
    Region,
    Request,
    Response,
)
from tests.http.conftest import NewSite
from tests.http.site import FAST, Answer, chunked, echo, get, put
from tests.http.test_parse import REFUSED


async def hello(request: Request) -> Response:
    return Response(200, [("X-Path", request.path)], b"hello")


def test_one_connection_serves_many_requests(new_site: NewSite) -> None:
    site = new_site(echo)
    with site.connect() as client:
        for number in range(3):
            answer = client.ask(put(b"body%d" % number, path=f"/a?n={number}"))
            assert answer.status == 200
            assert answer.body == b"PUT /a n=%d\nbody%d" % (number, number)
            assert "connection" not in answer.headers
    site.until(lambda: len(site.records) == 3)
    assert len({record.request_id for record in site.records}) == 3
    for record in site.records:
        assert re.fullmatch("[0-9A-F]{16}", record.request_id)
        assert record.request is not None
        assert (record.method, record.status, record.error) == ("PUT", 200, "")
        assert record.request.id == record.request_id
        assert record.request.peer == "127.0.0.1"
        assert record.bytes_sent == len(b"PUT /a n=0\nbody0")


def test_the_date_is_one_of_rfc_9110(new_site: NewSite) -> None:
    with new_site(hello).connect() as client:
        date = client.ask(get()).headers["date"]
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)


def test_delay_is_not_left_to_nagle(new_site: NewSite) -> None:
    site = new_site(hello)
    with site.connect() as client:
        client.ask(get())

        def no_delay() -> int:
            (connection,) = site.server.connections
            sock = connection._transport.get_extra_info("socket")
            return int(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        assert site.call(no_delay)


def test_a_small_put_needs_no_future(new_site: NewSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """One packet, one pass: nothing is waited for, so no Driver is ever made."""
    made: list[object] = []
    original = drive.Driver

    def counting(*arguments: Any) -> drive.Driver:
        made.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(drive, "Driver", counting)
    taken: list[bytes | None] = []

    async def take(request: Request) -> Response:
        taken.append(request.body.take())
        return Response(200, [])

    body = b"x" * 4096
    with new_site(take).connect() as client:
        assert client.ask(put(body)).status == 200
        assert client.ask(chunked(b"ab", b"c")).status == 200
        assert client.ask(get()).status == 200
    assert taken == [body, b"abc", b""]
    assert not made


def test_pipelined_requests_are_answered_in_order(new_site: NewSite) -> None:
    async def slow_first(request: Request) -> Response:
        number = int(request.path[1:])
        if number % 3 == 0:
            await asyncio.sleep(0)
        elif number % 3 == 1:
            await asyncio.get_running_loop().run_in_executor(None, len, b"")
        return await echo(request)

    site = new_site(slow_first)
    paths = [f"/{number}" for number in range(100)]
    stream = b"".join(put(b"b" * int(p[1:]), path=p) if p[-1] < "5" else get(p) for p in paths)
    with site.connect() as client:
        client.send(stream)
        for path in paths:
            first, _, body = client.answer().body.partition(b"\n")
            assert first.split()[1].decode() == path
            assert len(body) == (int(path[1:]) if path[-1] < "5" else 0)
        # half-closed behind the last byte: everything that came whole is answered
        client.send(stream)
        client.sock.shutdown(socket.SHUT_WR)
        assert len(client.rest().split(b"HTTP/1.1 200 OK")) == 101


def test_reading_stops_while_a_response_is_outstanding(new_site: NewSite) -> None:
    gate: asyncio.Future[None] | None = None

    async def wait_once(request: Request) -> Response:
        nonlocal gate
        if gate is None:
            gate = asyncio.get_running_loop().create_future()
            await gate
        return Response(200, [])

    site = new_site(wait_once, read_ahead_bytes_max=4096)
    with site.connect() as client:
        client.send(get())
        client.send(get("/next") * 200)
        site.until(lambda: any(c._reading_paused for c in site.server.connections))
        (connection,) = site.server.connections
        assert len(connection._pending) <= 2 * 4096
        assert gate is not None
        site.call(lambda: gate.set_result(None))
        for _ in range(201):
            assert client.answer().status == 200


@pytest.mark.parametrize(
    ("request_bytes", "connection", "kept"),
    [
        (get(), None, True),
        (get("/", "Connection: close"), "close", False),
        (get(version="1.0"), "close", False),
        (get("/", "Connection: keep-alive", version="1.0"), "keep-alive", True),
        (get("/close"), "close", False),
    ],
)
def test_connection_is_kept_or_closed(
    new_site: NewSite, request_bytes: bytes, connection: str | None, kept: bool
) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, [], b"x", close=request.path == "/close")

    with new_site(handler).connect() as client:
        answer = client.ask(request_bytes)
        assert answer.headers.get("connection") == connection
        if kept:
            assert client.ask(request_bytes).status == 200
        else:
            assert client.is_closed()


async def parts(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        await asyncio.sleep(0)
        yield b"part%d" % number
        yield b""


@pytest.mark.parametrize(
    ("response", "length"),
    [
        (Response(200, [], b"abc"), "3"),
        (Response(200, [("Content-Length", "77")], b""), "77"),
        (Response(200, [("content-length", "77")]), "77"),
        (Response(404, [], b""), "0"),
        (Response(200, [], parts(3)), None),
    ],
)
def test_head_sends_no_body(new_site: NewSite, response: Response, length: str | None) -> None:
    async def handler(request: Request) -> Response:
        return response if request.method == "HEAD" else await hello(request)

    with new_site(handler).connect() as client:
        client.send(get(method="HEAD") + get("/next"))
        answer = client.answer("HEAD")
        assert answer.headers.get("content-length") == length
        assert client.answer().headers["x-path"] == "/next"


@pytest.mark.parametrize("status", [204, 304])
def test_bodiless_statuses_have_no_length(new_site: NewSite, status: int) -> None:
    async def handler(request: Request) -> Response:
        return Response(status, [], b"never sent")

    with new_site(handler).connect() as client:
        for _ in range(2):
            answer = client.ask(get())
            assert answer.status == status
            assert "content-length" not in answer.headers


def test_streams_are_chunked_or_end_with_the_connection(new_site: NewSite) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, [], parts(1000))

    whole = b"".join(b"part%d" % number for number in range(1000))
    site = new_site(handler)
    with site.connect() as client:
        for _ in range(2):
            answer = client.ask(get())
            assert answer.headers["transfer-encoding"] == "chunked"
            assert answer.body == whole
    with site.connect() as client:
        answer = client.ask(get("/", "Connection: keep-alive", version="1.0"))
        assert "transfer-encoding" not in answer.headers
        assert answer.body == whole
    site.until(lambda: len(site.records) == 3)
    assert {record.bytes_sent for record in site.records} == {len(whole)}


def test_a_stream_waits_for_a_slow_reader(new_site: NewSite) -> None:
    made = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal made
        while made < 200:
            made += 1
            yield bytes(64 * 1024)

    async def handler(request: Request) -> Response:
        return Response(200, [], endless())

    site = new_site(handler)
    with site.connect(receive_buffer_bytes=32 * 1024) as client:
        client.send(get())
        site.until(lambda: any(c.writing_paused for c in site.server.connections))
        assert made < 150
        assert len(client.answer().body) == 200 * 64 * 1024


def test_a_broken_stream_never_looks_whole(
    new_site: NewSite, caplog: pytest.LogCaptureFixture
) -> None:
    closed = []

    async def broken() -> AsyncIterator[bytes]:
        try:
            yield b"begin"
            raise ValueError("secret")
        finally:
            closed.append(True)

    async def handler(request: Request) -> Response:
        return Response(200, [], broken())

    site = new_site(handler)
    with site.connect() as client, pytest.raises((EOFError, ConnectionResetError)):
        client.ask(get())
    with site.connect() as client, pytest.raises(ConnectionResetError):
        client.ask(get(version="1.0"))
    site.until(lambda: len(site.records) == 2)
    assert all("secret" in record.error for record in site.records)
    assert len(closed) == 2
    assert "broke off" in caplog.text


async def fails(request: Request) -> Response:
    match request.path:
        case "/late":
            await asyncio.sleep(0)
            raise ValueError("secret")
        case "/none":
            return None  # type: ignore[return-value]
        case "/injected":
            return Response(200, [("X-A", "b\r\nSet-Cookie: c")], b"secret")
        case "/lf":
            return Response(200, [("X-A", "b\nc")], b"secret")
        case "/nul":
            return Response(200, [("X-A", "b\0c")], b"secret")
        case "/unicode":
            return Response(200, [("X-A", "\u20ac")], b"secret")
        case "/cancelled":
            raise asyncio.CancelledError
        case "/no-future":
            await NoFuture()
    raise ValueError("secret")


class NoFuture:
    def __await__(self) -> Any:
        yield "not a future"


@pytest.mark.parametrize(
    "path",
    ["/", "/late", "/none", "/injected", "/lf", "/nul", "/unicode", "/cancelled", "/no-future"],
)
def test_a_fault_of_the_handler_is_500_without_details(
    new_site: NewSite, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    site = new_site(fails)
    with site.connect() as client, caplog.at_level(logging.ERROR, "holdfast.http"):
        answer = client.ask(get(path))
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert "set-cookie" not in answer.headers
        assert answer.headers["connection"] == "close"
        assert client.is_closed()
    site.until(lambda: site.records)
    (record,) = site.records
    assert record.status == 500
    assert record.request_id in caplog.text
    assert caplog.records[0].exc_info


def test_a_handler_that_is_no_coroutine_function_is_500_too(new_site: NewSite) -> None:
    def handler(request: Request) -> Any:
        raise ValueError("secret")

    with new_site(handler).connect() as client:
        assert client.ask(get()).status == 500


@pytest.mark.parametrize(
    ("error", "status"), [(BadBody("b"), 400), (BodyTooLarge("b"), 413), (None, 200)]
)
def test_body_errors_that_escape_are_answered(
    new_site: NewSite, error: Exception | None, status: int
) -> None:
    async def handler(request: Request) -> Response:
        if error is not None:
            raise error
        return Response(200, [])

    with new_site(handler).connect() as client:
        assert client.ask(get()).status == status


def test_nobody_is_answered_after_client_disconnected(new_site: NewSite) -> None:
    async def handler(request: Request) -> Response:
        raise ClientDisconnected("gone")

    site = new_site(handler)
    with site.connect() as client:
        client.send(get())
        assert client.is_closed()
    site.until(lambda: site.records)
    assert site.records[0].error == "gone"


def test_what_could_be_smuggled_is_refused_and_closed(new_site: NewSite) -> None:
    reached: list[str] = []

    async def handler(request: Request) -> Response:
        reached.append(request.path)
        return Response(200, [])

    site = new_site(handler)
    for name, head, status in REFUSED:
        with site.connect() as client:
            answer = client.ask(head + get("/smuggled"))
            assert answer.status == status, name
            assert answer.headers["connection"] == "close", name
            assert client.is_closed(), name
        assert site.records[-1].request is None
        assert site.records[-1].request_id.encode() in answer.body
    assert len(site.records) == len(REFUSED)
    assert not reached


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nX: \x00",
        b"GET /" + b"a" * 20_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 6_000,
    ],
)
def test_a_bad_head_is_refused_before_its_end(new_site: NewSite, beginning: bytes) -> None:
    with new_site(hello).connect() as client:
        assert client.ask(beginning).status in (400, 414, 431)
        assert client.is_closed()


def test_the_error_response_can_be_given(new_site: NewSite) -> None:
    def xml(status: int, reason: str, request_id: str) -> Response:
        text = f"<Error><Status>{status}</Status><Id>{request_id}</Id></Error>"
        return Response(status, [("Content-Type", "application/xml")], text.encode())

    site = new_site(fails, options={"error_response": xml})
    for request, status in ((get(), 500), (b"x\r\n\r\n", 400)):
        with site.connect() as client:
            answer = client.ask(request)
            assert answer.headers["content-type"] == "application/xml"
            assert b"<Status>%d</Status>" % status in answer.body


@pytest.mark.parametrize("fault", ["raises", "injects"])
def test_a_faulty_error_response_is_replaced(new_site: NewSite, fault: str) -> None:
    def faulty(status: int, reason: str, request_id: str) -> Response:
        if fault == "raises":
            raise ValueError
        return Response(status, [("X", "\r\n")])

    with new_site(fails, options={"error_response": faulty}).connect() as client:
        assert client.ask(get()) == Answer(500, client_headers(), b"")


def client_headers() -> Any:
    """Equal to any headers that end the connection."""

    class Any_:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return isinstance(other, dict) and other["connection"] == "close"

    return Any_()


def test_connections_beyond_the_bound_get_503(new_site: NewSite) -> None:
    site = new_site(hello, connections_max=2)
    with site.connect() as first, site.connect() as second:
        assert first.ask(get()).status == second.ask(get()).status == 200
        with site.connect() as third:
            assert third.answer().status == 503
            assert third.is_closed()
        assert first.ask(get()).status == 200
    site.until(lambda: not site.server.connections)
    with site.connect() as again:
        assert again.ask(get()).status == 200


def test_a_large_answer_to_a_client_that_left_is_dropped(new_site: NewSite) -> None:
    closed: list[bool] = []

    async def handler(request: Request) -> Response:
        loop = asyncio.get_running_loop()
        while any(c._state < 5 for c in site.server.connections):
            await loop.run_in_executor(None, len, b"")
        body = FileBody(1, [Region(0, 0, 1)], lambda: closed.append(True))
        return Response(200, [], body)

    site = new_site(handler, **FAST)
    with site.connect() as client:
        client.send(get())
        site.until(lambda: any(c._busy for c in site.server.connections))
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    site.until(lambda: site.records)
    assert closed == [True]
    assert site.records[0].error


def handler_types() -> Handler:
    """A handler is any callable that gives an awaitable; checked by the type checker."""
    return hello
