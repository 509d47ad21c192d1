"""File responses: by sendfile, cold, by pieces, over TLS; slow readers, shrinking files."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from holdfast.http import send
from holdfast.http.message import FileBody, Region, Request, Response
from tests.http.conftest import NewSite
from tests.http.site import FAST, Client, Site, get

SIZE = 12 * 1024 * 1024 + 17


@pytest.fixture(params=["sendfile", "cold", "pieces", "tls"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the bytes leave. "pieces" hides sendfile, as on a system without it; "cold" says of most
    that the disk has to be waited for."""
    if request.param == "pieces":
        monkeypatch.setattr(send, "SENDFILE_AVAILABLE", False)
    elif not send.SENDFILE_AVAILABLE and request.param in ("sendfile", "cold"):
        pytest.skip("no sendfile here")
    elif request.param == "cold":
        asked = itertools.count()
        monkeypatch.setattr(
            send, "_cached", lambda *asked_for: asked_for[2] * (next(asked) % 3 == 2)
        )
    return str(request.param)


class Files:
    """A handler that answers with files of its own making; counts what is open."""

    def __init__(self, directory: Path) -> None:
        self.content = os.urandom(SIZE)
        self.path = directory / "content"
        self.path.write_bytes(self.content)
        self.closed = 0
        self.opened = 0

    async def __call__(self, request: Request) -> Response:
        match request.path:
            case "/whole":
                return self._response([(0, SIZE)], SIZE)
            case "/parts":
                return self._response([(0, 1000), (5, 0), (1000, SIZE - 1000)], SIZE)
            case "/later":
                return self._response([(0, 1000), (1000, SIZE - 1000)], SIZE, later=True)
            case "/small":
                return self._response([(7, 100)], 100)
            case "/empty":
                return self._response([], 0)
            case "/none":
                return self._response([(0, 10)], 10, status=204)
            case "/short":
                return self._response([(0, SIZE), (SIZE, 10)], SIZE + 10)
            case "/missing":
                return self._response([(0, 10)], 20)
            case "/beyond":
                return self._response([(0, 30)], 20)
            case "/raises":
                return self._response([(0, 10), (-1, 10)], 20)
            case "/injected":
                response = self._response([(0, 10)], 10)
                response.headers.append(("X", "\n"))
                return response
        return Response(200, [], request.path.encode())

    def _response(
        self, spans: list[tuple[int, int]], length: int, status: int = 200, later: bool = False
    ) -> Response:
        fd = os.open(self.path, os.O_RDONLY)
        self.opened += 1

        def close() -> None:
            self.closed += 1
            os.close(fd)

        def regions() -> Iterable[Region]:
            for offset, count in spans:
                if offset < 0:
                    raise OSError("no next file")
                yield Region(fd, offset, count)

        async def regions_later() -> AsyncIterator[Region]:
            for region in regions():
                await asyncio.sleep(0)
                yield region

        return Response(
            status, [], FileBody(length, regions_later() if later else regions(), close)
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def site(files: Files, way: str, new_site: NewSite, tls_context: ssl.SSLContext) -> Site:
    return new_site(files, tls=tls_context if way == "tls" else None)


@pytest.mark.parametrize("path", ["/whole", "/parts", "/later"])
def test_the_bytes_are_the_files(site: Site, files: Files, path: str) -> None:
    with site.connect() as client:
        answer = client.ask(get(path))
        assert answer.headers["content-length"] == str(SIZE)
        assert answer.body == files.content
        assert client.ask(get("/next")).body == b"/next"
    assert files.closed == 1
    assert site.records[0].bytes_sent == SIZE


def test_files_pipelined_with_others_stay_in_order(site: Site, files: Files) -> None:
    paths = ["/1", "/small", "/small", "/empty", "/whole", "/2", "/small", "/3", "/none", "/4"]
    with site.connect() as client:
        client.send(b"".join(get(path) for path in paths))
        for path in paths:
            expected = {
                "/small": files.content[7:107],
                "/whole": files.content,
                "/empty": b"",
                "/none": b"",
            }.get(path, path.encode())
            assert client.answer().body == expected
    site.until(lambda: files.closed == files.opened == 6)


def test_a_file_behind_a_large_answer_waits_for_it(new_site: NewSite, files: Files) -> None:
    """sendfile may not overtake what is still in the transport's buffer."""
    big = bytes(8 * 1024 * 1024)
    room = threading.Event()

    async def handler(request: Request) -> Response:
        if request.path == "/big":
            return Response(200, [], big)
        # holds the loop: the socket gets room while the transport can't use it
        assert room.wait(20)
        return await files(request)

    site = new_site(handler, write_buffer_bytes=1 << 30)
    with site.connect(receive_buffer_bytes=64 * 1024) as client:
        client.send(get("/big") + get("/small"))
        first = client.exactly(1024 * 1024)
        room.set()
        client._buffer = first
        assert client.answer().body == big
        assert client.answer().body == files.content[7:107]


def test_head_and_faulty_heads_close_the_file(
    site: Site, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    with site.connect() as client:
        client.send(get("/whole", method="HEAD"))
        answer = client.answer("HEAD")
        assert answer.headers["content-length"] == str(SIZE)
        assert client.ask(get("/injected")).status == 500
    site.until(lambda: files.closed == files.opened == 2)


def test_a_slow_reader_holds_nobody_up(new_site: NewSite, way: str, files: Files) -> None:
    site = new_site(files)
    with site.connect(receive_buffer_bytes=64 * 1024) as slow, site.connect() as other:
        slow.send(get("/whole"))
        site.until(lambda: any(stuck(c) for c in site.server.connections))
        for _ in range(5):
            assert other.ask(get("/x")).body == b"/x"
        assert other.ask(get("/whole")).body == files.content
        assert slow.answer().body == files.content
    site.until(lambda: files.closed == 2)


def stuck(connection: object) -> bool:
    waiter = getattr(connection, "_writable_waiter")  # noqa: B009 - a private look inside
    return waiter is not None or bool(getattr(connection, "writing_paused"))  # noqa: B009


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_reader_that_leaves_closes_the_file(site: Site, files: Files, how: str) -> None:
    client = site.connect(receive_buffer_bytes=64 * 1024)
    with client:
        client.send(get("/whole"))
        site.until(lambda: any(stuck(c) for c in site.server.connections))
        if how == "reset":
            leave_by_reset(client)
    site.until(lambda: site.records)
    assert files.closed == 1
    assert site.records[0].error
    assert site.records[0].bytes_sent < SIZE


def leave_by_reset(client: Client) -> None:
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize("path", ["/short", "/missing", "/beyond", "/raises"])
def test_a_file_that_fails_midway_never_looks_whole(
    site: Site, files: Files, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with site.connect() as client, pytest.raises((EOFError, ConnectionError)):
        client.ask(get(path))
    site.until(lambda: site.records)
    assert files.closed == 1
    assert "response broken" in site.records[0].error
    assert "broke off" in caplog.text


def test_a_reader_that_stops_is_cut(new_site: NewSite, way: str, files: Files) -> None:
    site = new_site(files, write_seconds=0.1, **FAST)
    with site.connect(receive_buffer_bytes=64 * 1024) as client:
        client.send(get("/whole"))
        site.until(lambda: site.records)
    assert site.records[0].error == "the client does not read"
    assert files.closed == 1


def test_a_reader_that_takes_drops_is_cut(new_site: NewSite, way: str, files: Files) -> None:
    """Each drop is progress, but together they are too little to keep a file open for."""
    site = new_site(files, write_rate_grace_seconds=0.2, write_bytes_per_second_min=4 << 20, **FAST)
    with site.connect(receive_buffer_bytes=64 * 1024) as client:
        client.send(get("/whole"))
        deadline = time.monotonic() + 20
        while not site.records and time.monotonic() < deadline:
            client.exactly(1)
            time.sleep(0.001)
    assert site.records[0].error == "the client reads too slowly"
    assert files.closed == 1


def test_what_the_disk_has_to_be_waited_for_is_read_by_a_thread(
    new_site: NewSite, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only that: what the page cache has takes no thread."""
    if not (send.SENDFILE_AVAILABLE and hasattr(os, "RWF_NOWAIT")):
        pytest.skip("no sendfile or no RWF_NOWAIT here")
    read: list[tuple[int, threading.Thread]] = []
    preadv, sendfile = os.preadv, os.sendfile
    cold = True

    def probe(fd: int, views: list[bytearray], offset: int, flags: int = 0) -> int:
        if cold:
            raise BlockingIOError(errno.EAGAIN, "the disk has it")
        return preadv(fd, views, offset, flags)

    def noted(target: int, source: int, offset: int, count: int) -> int:
        if os.path.samestat(os.fstat(target), os.stat(os.devnull)):
            read.append((offset, threading.current_thread()))
        return sendfile(target, source, offset, count)

    site = new_site(files)
    monkeypatch.setattr(os, "preadv", probe)
    monkeypatch.setattr(os, "sendfile", noted)
    with site.connect() as client:
        assert client.ask(get("/whole")).body == files.content
        assert sum(offset == 0 for offset, _ in read) == 1
        assert max(offset for offset, _ in read) > SIZE - 1024 * 1024
        loop_thread = site.call(threading.current_thread)
        assert loop_thread not in [thread for _, thread in read]
        read.clear()
        cold = False
        with files.path.open("rb") as file:
            file.read()
        assert client.ask(get("/whole")).body == files.content
        assert not read
