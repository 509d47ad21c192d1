"""Request bodies: pulled, bounded, exact; 100 Continue; what an unread body does."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from holdfast.http.message import BadBody, BodyTooLarge, ClientDisconnected, Request, Response
from tests.http.conftest import NewSite
from tests.http.site import Site, chunked, echo, get, put

MIB = 1024 * 1024


def pattern(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


class Filler:
    """A handler that fills views of a given size; keeps what it got."""

    def __init__(self, view_bytes: int) -> None:
        self.view_bytes = view_bytes
        self.bodies: list[bytes] = []
        self.counts: list[int] = []
        self.errors: list[Exception] = []

    async def __call__(self, request: Request) -> Response:
        body = bytearray()
        buffer = bytearray(self.view_bytes)
        with memoryview(buffer) as view:
            while True:
                try:
                    count = await request.body.fill(view)
                except (BadBody, ClientDisconnected) as error:
                    self.errors.append(error)
                    raise
                self.counts.append(count)
                body += view[:count]
                if count < len(view):
                    break
        self.bodies.append(bytes(body))
        return Response(200, [], b"%d" % len(body))


@pytest.mark.parametrize("view_bytes", [1000, 64 * 1024, MIB])
@pytest.mark.parametrize("size", [1, 1000, 200_000, 3 * MIB])
def test_fill_gets_the_body_and_nothing_else(new_site: NewSite, view_bytes: int, size: int) -> None:
    filler = Filler(view_bytes)
    body = pattern(size)
    with new_site(filler).connect() as client:
        # a second request right behind must not land in the view
        client.send(put(body) + put(b"second"))
        assert client.answer().body == b"%d" % size
        assert client.answer().body == b"6"
    assert filler.bodies == [body, b"second"]
    assert all(c == view_bytes for c in filler.counts[: size // view_bytes])


@pytest.mark.parametrize("view_bytes", [1000, 64 * 1024, MIB])
@pytest.mark.parametrize("part_bytes", [1, 100, 70_000])
def test_chunked_bodies(new_site: NewSite, view_bytes: int, part_bytes: int) -> None:
    filler = Filler(view_bytes)
    body = pattern(part_bytes * 20)
    parts = [body[i : i + part_bytes] for i in range(0, len(body), part_bytes)]
    with new_site(filler).connect() as client:
        client.send(chunked(*parts) + chunked(b"second") + get())
        assert client.answer().body == b"%d" % len(body)
        assert client.answer().body == b"6"
        assert client.answer().body == b"0"
    assert filler.bodies == [body, b"second", b""]


@pytest.mark.parametrize("secure", [False, True])
def test_large_bodies_over_both_wires(new_site: NewSite, tls_context: Any, secure: bool) -> None:
    filler = Filler(300_000)
    body = pattern(2 * MIB)
    site = new_site(filler, tls=tls_context if secure else None)
    with site.connect() as client:
        client.send(put(body))
        assert client.answer().status == 200
        client.send(chunked(body[:MIB], body[MIB:]))
        assert client.answer().status == 200
    assert filler.bodies == [body, body]


async def take_or_read(request: Request) -> Response:
    first = request.body.take()
    if first is None:
        assert request.body.take() is None
        return Response(200, [], b"read " + await request.body.read(1000))
    return Response(200, [], b"took " + first)


@pytest.mark.parametrize("whole", [put(b"abcdef"), chunked(b"abc", b"def")])
def test_take_gives_all_or_nothing(new_site: NewSite, whole: bytes) -> None:
    site = new_site(take_or_read)
    with site.connect() as client:
        assert client.ask(whole).body == b"took abcdef"
        split = whole.index(b"\r\n\r\n") + 4
        for cut in (split, split + 1, len(whole) - 1):
            client.send(whole[:cut])
            site.until(lambda: any(c._busy for c in site.server.connections))
            client.send(whole[cut:])
            assert client.answer().body == b"read abcdef"


@pytest.mark.parametrize("request_bytes", [put(bytes(1001)), chunked(bytes(500), bytes(501))])
def test_read_is_bounded(new_site: NewSite, request_bytes: bytes) -> None:
    async def read(request: Request) -> Response:
        with pytest.raises(BodyTooLarge):
            await request.body.read(1000)
        return Response(413, [])

    with new_site(read).connect() as client:
        assert client.ask(request_bytes).status == 413


def test_too_large_is_said_before_the_body_comes(new_site: NewSite) -> None:
    async def read(request: Request) -> Response:
        await request.body.read(1000)
        raise AssertionError

    with new_site(read).connect() as client:
        answer = client.ask(get("/", f"Content-Length: {10 * MIB}", method="PUT"))
        assert answer.status == 413
        assert client.is_closed()


STOPS_SHORT = pytest.mark.parametrize(
    "beginning",
    [
        get("/", "Content-Length: 100", method="PUT") + b"x" * 50,
        get("/", "Content-Length: 100", method="PUT"),
        get("/", "Transfer-Encoding: chunked", method="PUT") + b"64\r\n" + b"x" * 50,
        get("/", "Transfer-Encoding: chunked", method="PUT") + b"2\r\nxx\r\n",
        get("/", "Transfer-Encoding: chunked", method="PUT") + b"2\r\nxx\r\n0\r\n",
    ],
)


def body_is_awaited(site: Site) -> bool:
    return any(c._body and c._body.waiting for c in site.server.connections)


@pytest.mark.parametrize("late", [False, True])
@STOPS_SHORT
def test_a_body_that_stops_short_is_400_and_closed(
    new_site: NewSite, beginning: bytes, late: bool
) -> None:
    """A client that shuts down its sending side only still reads."""
    filler = Filler(1000)
    site = new_site(filler)
    with site.connect() as client:
        client.send(beginning)
        if late:
            site.until(lambda: body_is_awaited(site))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().status == 400
        assert client.is_closed()
    assert [type(error) for error in filler.errors] == [BadBody]
    assert not filler.bodies
    assert [record.status for record in site.records] == [400]


@pytest.mark.parametrize("how", ["close", "reset"])
@STOPS_SHORT
def test_a_client_that_leaves_within_its_body(
    new_site: NewSite, how: str, beginning: bytes
) -> None:
    filler = Filler(1000)
    site = new_site(filler)
    with site.connect() as client:
        client.send(beginning)
        site.until(lambda: body_is_awaited(site))
        if how == "reset":
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    site.until(lambda: site.records and not site.server.connections)
    expected = BadBody if how == "close" else ClientDisconnected
    assert [type(error) for error in filler.errors] == [expected]
    assert not filler.bodies


def test_what_a_handler_leaves_of_a_body_that_stops_short(new_site: NewSite) -> None:
    async def refuse(request: Request) -> Response:
        return Response(403, [])

    site = new_site(refuse)
    with site.connect() as client:
        client.send(get("/", "Content-Length: 100", method="PUT") + b"x" * 50)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().status == 403
        assert client.is_closed()
    site.until(lambda: not site.server.connections)


@pytest.mark.parametrize("late", [False, True])
def test_bad_chunking_is_400_and_closed(new_site: NewSite, late: bool) -> None:
    filler = Filler(1000)
    site = new_site(filler)
    with site.connect() as client:
        client.send(get("/", "Transfer-Encoding: chunked", method="PUT") + b"3\r\nabc")
        if late:
            site.until(lambda: any(c._body and c._body.waiting for c in site.server.connections))
        client.send(b"\r\nxyz\r\n" + get("/smuggled"))
        answer = client.answer()
        assert answer.status == 400
        assert client.is_closed()
    assert [type(error) for error in filler.errors] == [BadBody]
    assert len(site.records) == 1


CONTINUE = "Expect: 100-continue"


def test_continue_is_sent_when_the_handler_reads(new_site: NewSite) -> None:
    with new_site(echo).connect() as client:
        for _ in range(2):
            client.send(get("/", "Content-Length: 3", CONTINUE, method="PUT"))
            assert client.answer().status == 100
            client.send(b"abc")
            assert client.answer().body.endswith(b"\nabc")


def test_continue_is_not_sent_for_a_body_that_came_along(new_site: NewSite) -> None:
    with new_site(echo).connect() as client:
        assert client.ask(put(b"abc", CONTINUE)).status == 200


@pytest.mark.parametrize("length", [("Content-Length: 0",), ()])
def test_continue_is_sent_for_an_empty_body(new_site: NewSite, length: tuple[str, ...]) -> None:
    """botocore asks for it with empty bodies too; without it, it garbles what comes next."""
    with new_site(echo).connect() as client:
        for _ in range(2):
            assert client.ask(get("/", *length, CONTINUE, method="PUT")).status == 100
            assert client.answer().status == 200


def test_an_early_refusal_is_sent_without_continue(new_site: NewSite) -> None:
    async def refuse(request: Request) -> Response:
        assert request.body.take() is None
        return Response(403, [])

    with new_site(refuse).connect() as client:
        answer = client.ask(get("/", "Content-Length: 3", CONTINUE, method="PUT"))
        assert answer.status == 403
        assert answer.headers["connection"] == "close"
        assert client.is_closed()


def test_http_1_0_gets_no_continue(new_site: NewSite) -> None:
    with new_site(echo).connect() as client:
        client.send(get("/", "Content-Length: 3", CONTINUE, method="PUT", version="1.0"))
        client.send(b"abc")
        assert client.answer().status == 200


async def ignore(request: Request) -> Response:
    return Response(200, [], request.path.encode())


@pytest.mark.parametrize(
    "unread", [put(bytes(200_000)), chunked(bytes(100_000), bytes(100_000)), put(b"x")]
)
def test_a_small_unread_body_is_skipped(new_site: NewSite, unread: bytes) -> None:
    with new_site(ignore).connect() as client:
        client.send(unread)
        assert client.answer().body == b"/"
        client.send(unread + get("/next"))
        assert client.answer().body == b"/"
        assert client.answer().body == b"/next"


@pytest.mark.parametrize("chunks", [False, True])
def test_behind_a_large_unread_body_the_answer_still_arrives(
    new_site: NewSite, chunks: bool
) -> None:
    """Lingering close: the client sends on for a while, and must not lose the answer to a reset."""
    body = bytes(12 * MIB)
    request = chunked(body) if chunks else put(body)
    with new_site(ignore).connect() as client:
        client.send(request)
        assert client.answer().status == 200
        assert client.is_closed()


def test_lingering_is_bounded(new_site: NewSite) -> None:
    site = new_site(ignore, linger_bytes_max=MIB)
    with site.connect() as client:
        client.send(get("/", f"Content-Length: {1 << 40}", method="PUT"))
        with pytest.raises(ConnectionError):
            client.send(bytes(1000 * MIB))
    site.until(lambda: not site.server.connections)


def test_an_unread_body_holds_the_client_back(new_site: NewSite) -> None:
    """Nothing is read ahead but one bounded buffer, however much the client sends."""
    gates: list[asyncio.Future[None]] = []

    async def wait(request: Request) -> Response:
        gates.append(asyncio.get_running_loop().create_future())
        await gates[0]
        return await filler(request)

    filler = Filler(100_000)
    body = pattern(20 * MIB)
    site = new_site(wait, read_ahead_bytes_max=8192)
    with site.connect() as client:
        client.sock.setblocking(False)
        request = put(body)
        sent = client.sock.send(request)
        site.until(lambda: any(c._reading_paused for c in site.server.connections))
        (connection,) = site.server.connections
        assert connection._body is not None
        assert connection._body.held_bytes <= 2 * 8192
        site.call(lambda: gates[0].set_result(None))
        client.sock.settimeout(20)
        client.send(request[sent:])
        assert client.answer().status == 200
    assert filler.bodies == [body]


def test_the_socket_writes_into_the_callers_view(new_site: NewSite) -> None:
    """A large body is not copied: what is held stays empty while a fill waits."""
    filler = Filler(MIB)
    site = new_site(filler)
    with site.connect() as client:
        client.send(get("/", f"Content-Length: {MIB}", method="PUT"))
        site.until(lambda: waiting_view(site) is not None)
        client.send(bytes(1000))
        site.until(lambda: len(waiting_view(site) or b"") == MIB - 1000)
        client.send(bytes(MIB - 1000))
        assert client.answer().status == 200


def waiting_view(site: Site) -> memoryview | None:
    for connection in site.server.connections:
        if connection._body is not None:
            return connection._body.direct_view()
    return None


def test_an_abandoned_fill_breaks_the_body(new_site: NewSite) -> None:
    """Bytes may have gone into a view that nobody looks at: no later fill may go on behind them."""
    outcome: list[object] = []

    async def abandon(request: Request) -> Response:
        loop = asyncio.get_running_loop()
        task = loop.create_task(request.body.fill(memoryview(bytearray(100))))
        await asyncio.sleep(0)
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        outcome.append(task.cancelled())
        with pytest.raises(ClientDisconnected):
            await request.body.fill(memoryview(bytearray(100)))
        return Response(200, [])

    with new_site(abandon).connect() as client:
        answer = client.ask(get("/", "Content-Length: 100", method="PUT"))
        assert answer.headers["connection"] == "close"
    assert outcome == [True]
