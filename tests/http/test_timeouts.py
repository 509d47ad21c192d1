"""Clients that are slow, silent or gone: what ends, and that it costs the others nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

import pytest

from holdfast.http.message import ClientDisconnected, Request, Response
from tests.http.conftest import NewSite
from tests.http.site import FAST, Client, chunked, echo, get, put


def test_an_idle_connection_is_closed_without_a_word(new_site: NewSite) -> None:
    site = new_site(echo, idle_seconds=0.1, **FAST)
    with site.connect() as fresh, site.connect() as used:
        assert used.ask(get()).status == 200
        assert fresh.is_closed()
        assert used.is_closed()
    assert len(site.records) == 1


@pytest.mark.parametrize("trickle", [False, True])
def test_a_head_that_does_not_end_is_408(new_site: NewSite, trickle: bool) -> None:
    """The whole head has one deadline: a byte now and then does not move it."""
    site = new_site(echo, head_seconds=0.1, **FAST)
    with site.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX: ")
        if trickle:
            client.sock.settimeout(0.01)
            while True:
                try:
                    client.send(b"a")
                    client._buffer += client.sock.recv(1 << 16)
                    break
                except TimeoutError:
                    continue
            client.sock.settimeout(20)
        assert client.answer().status == 408
        assert client.is_closed()


def test_other_connections_are_not_touched(new_site: NewSite) -> None:
    site = new_site(echo, head_seconds=0.05, idle_seconds=60.0, **FAST)
    with site.connect() as client, site.connect() as slow:
        slow.send(b"GET / HT")
        assert slow.answer().status == 408
        assert client.ask(get()).status == 200


async def disconnected(request: Request) -> Response:
    with pytest.raises(ClientDisconnected):
        await request.body.read(1 << 30)
    raise ClientDisconnected("seen by the handler")


@pytest.mark.parametrize(
    "beginning",
    [
        get("/", "Content-Length: 1000000", method="PUT"),
        get("/", "Transfer-Encoding: chunked", method="PUT"),
    ],
)
def test_a_body_without_progress_is_given_up(new_site: NewSite, beginning: bytes) -> None:
    site = new_site(disconnected, body_seconds=0.1, **FAST)
    with site.connect() as client:
        client.send(beginning)
        assert client.is_closed()
    site.until(lambda: site.records)
    assert site.records[0].error == "the client was too slow with its body"


def test_a_body_that_trickles_is_given_up(new_site: NewSite) -> None:
    site = new_site(
        disconnected,
        body_seconds=60.0,
        body_rate_grace_seconds=0.2,
        body_bytes_per_second_min=100_000,
        **FAST,
    )
    with site.connect() as client:
        client.send(get("/", "Content-Length: 1000000", method="PUT"))
        client.sock.settimeout(0.01)
        while True:
            try:
                client.send(b"a")
                assert client.sock.recv(1) == b""
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    site.until(lambda: site.records)
    assert site.records[0].error == "the client was too slow with its body"


def test_a_slow_handler_is_not_the_clients_fault(new_site: NewSite) -> None:
    """Only the time that a fill waits counts."""

    async def slow(request: Request) -> Response:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, time.sleep, 0.3)
        return await echo(request)

    site = new_site(
        slow,
        body_seconds=0.1,
        body_rate_grace_seconds=0.1,
        idle_seconds=0.1,
        head_seconds=0.1,
        write_seconds=0.1,
        **FAST,
    )
    with site.connect() as client:
        client.send(get("/", "Content-Length: 3", method="PUT"))
        site.until(lambda: any(c._busy for c in site.server.connections))
        client.send(b"abc")
        assert client.answer().body.endswith(b"abc")


def test_the_rest_of_an_unread_body_must_come(new_site: NewSite) -> None:
    async def ignore(request: Request) -> Response:
        return Response(200, [])

    site = new_site(ignore, body_seconds=0.1, **FAST)
    with site.connect() as client:
        answer = client.ask(get("/", "Content-Length: 1000", method="PUT"))
        assert answer.status == 200
        assert client.is_closed()


def test_a_client_that_does_not_read_is_cut(new_site: NewSite) -> None:
    async def large(request: Request) -> Response:
        return Response(200, [], bytes(16 * 1024 * 1024))

    site = new_site(large, write_seconds=0.1, idle_seconds=60.0, **FAST)
    with site.connect(receive_buffer_bytes=64 * 1024) as client:
        client.send(get())
        site.until(lambda: site.records and not site.server.connections)
    with site.connect(receive_buffer_bytes=64 * 1024) as client:
        client.send(get("/", "Connection: close"))
        site.until(lambda: len(site.records) == 2 and not site.server.connections)


def test_lingering_ends_by_itself(new_site: NewSite) -> None:
    site = new_site(echo, linger_seconds=0.1, **FAST)
    with site.connect() as client:
        assert client.ask(b"bad\r\n\r\n").status == 400
        site.until(lambda: not site.server.connections)


def test_a_thousand_idle_connections_are_slim(new_site: NewSite) -> None:
    """An idle connection owns no buffer: all share one."""
    site = new_site(echo)
    clients = [site.connect() for _ in range(1000)]
    try:
        for client in clients:
            assert client.ask(put(bytes(4096))).status == 200
        connections = site.server.connections
        site.until(lambda: len(connections) == 1000 and not any(c._busy for c in connections))
        for connection in connections:
            assert connection._pending == b""
            held = (connection._body, connection._request, connection._duplicate)
            assert held == (None, None, None)
            assert not hasattr(connection, "__dict__")
    finally:
        for client in clients:
            client.sock.close()
    site.until(lambda: not site.server.connections)


# draining


def test_drain_closes_idle_connections_and_lets_requests_end(new_site: NewSite) -> None:
    gates: list[asyncio.Future[None]] = []

    async def wait(request: Request) -> Response:
        if request.path == "/wait":
            gates.append(asyncio.get_running_loop().create_future())
            await gates[-1]
        return Response(200, [], b"done")

    site = new_site(wait)
    with site.connect() as idle, site.connect() as busy:
        assert idle.ask(get()).status == 200
        busy.send(get("/wait"))
        site.until(lambda: gates)
        draining = asyncio.run_coroutine_threadsafe(site.server.drain(20.0), site._loop)
        assert idle.is_closed()
        assert not draining.done()
        site.call(lambda: gates[0].set_result(None))
        answer = busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        assert busy.is_closed()
        draining.result(20)
    assert not site.server.connections


def test_drain_ends_with_the_grace_time(new_site: NewSite) -> None:
    async def hang(request: Request) -> Response:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    site = new_site(hang)
    with site.connect() as client:
        client.send(get())
        site.until(lambda: any(c._busy for c in site.server.connections))
        site.run(site.server.drain(0.05))
        assert client.is_closed()
    # the handler never ends: forget it, or the fixture would complain of it
    site.call(site.server.connections.clear)


def test_a_new_connection_is_answered_once_while_draining(new_site: NewSite) -> None:
    site = new_site(echo, **FAST)
    site.run(site.server.drain(0.0))
    with site.connect() as client:
        client.send(get() + get("/second"))
        assert client.answer().headers["connection"] == "close"
        assert client.is_closed()


def test_a_new_connection_may_not_idle_while_draining(new_site: NewSite) -> None:
    site = new_site(echo, **FAST)
    site.run(site.server.drain(0.0))
    with site.connect() as client:
        assert client.is_closed()


# TLS


def test_tls_serves_the_same(new_site: NewSite, tls_context: ssl.SSLContext) -> None:
    seen: list[bool] = []

    async def handler(request: Request) -> Response:
        seen.append(request.secure)
        return await echo(request)

    site = new_site(handler, tls=tls_context, idle_seconds=0.2, **FAST)
    with site.connect() as client:
        client.send(put(b"abc") + chunked(b"d" * 100_000) + get("/3"))
        assert client.answer().body == b"PUT / \nabc"
        assert client.answer().body == b"PUT / \n" + b"d" * 100_000
        assert client.answer().body == b"GET /3 \n"
        assert client.ask(b"bad\r\n\r\n").status == 400
        client.sock.close()
    with site.connect() as client:
        assert client.is_closed()
    assert seen == [True] * 3


def test_unix_sockets(new_site: NewSite, tmp_path: object) -> None:
    site = new_site(echo)
    path = f"{tmp_path}/s"
    listening = site.run(site._loop.create_unix_server(lambda: site.server.protocol(False), path))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    with Client(sock) as client:
        assert client.ask(put(b"abc")).body == b"PUT / \nabc"
    site.call(listening.close)
    site.until(lambda: site.records)
    assert site.records[0].request is not None
    assert site.records[0].request.peer == ""
