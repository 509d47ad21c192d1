"""A real server on a real loop in a thread of its own, and a client made of a blocking socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple, Self

from holdfast.http.access import AccessRecord
from holdfast.http.limits import Limits
from holdfast.http.message import Handler, Request, Response
from holdfast.http.server import HttpServer

#: no wait of a client is longer; none should come near it
TIMEOUT_SECONDS = 20.0

#: time-outs that end a test soon; the sweep is fine enough to see them
FAST = {"sweep_seconds": 0.02}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection. Reads responses exactly, so that a byte too many or too few shows."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(TIMEOUT_SECONDS)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, data: bytes, method: str = "GET") -> Answer:
        self.send(data)
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next final or interim response."""
        head = self._until(b"\r\n\r\n")[:-4].decode("latin-1")
        status_line, *lines = head.split("\r\n")
        status = int(status_line.split(" ")[1])
        headers = {}
        for line in lines:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers, head
            headers[name.lower()] = value
        if method == "HEAD" or status < 200 or status in (204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        if "content-length" in headers:
            return Answer(status, headers, self.exactly(int(headers["content-length"])))
        return Answer(status, headers, self.rest())

    def exactly(self, size: int) -> bytes:
        parts = [self._buffer[:size]]
        self._buffer = self._buffer[size:]
        left = size - len(parts[0])
        while left:
            data = self.sock.recv(min(left, 1 << 20))
            if not data:
                raise EOFError(f"{left} bytes missing")
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def rest(self) -> bytes:
        """Everything up to the end of the stream."""
        data = self._buffer
        self._buffer = b""
        while part := self.sock.recv(1 << 16):
            data += part
        return data

    def is_closed(self) -> bool:
        """Waits for the server's close (or reset), with no byte before it."""
        if self._buffer:
            return False
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError(self._buffer)
            self._buffer += data
        size = self._buffer.index(end) + len(end)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _chunks(self) -> bytes:
        parts = []
        while True:
            size = int(self._until(b"\r\n"), 16)
            parts.append(self.exactly(size))
            assert self.exactly(2) == b"\r\n"
            if not size:
                return b"".join(parts)


class Site:
    """An HttpServer that listens; `problems` is what its loop had to report."""

    def __init__(
        self,
        new_loop: Callable[[], asyncio.AbstractEventLoop],
        handler: Handler,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        self.records: list[AccessRecord] = []
        self.problems: list[object] = []
        self._tls = tls
        self._loop = new_loop()
        self._loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server = HttpServer(
            handler, limits, loop=self._loop, log=self.records.append, **options
        )
        self._listening = self.run(
            self._loop.create_server(
                partial(self.server.protocol, tls is not None), "127.0.0.1", 0, ssl=tls
            )
        )
        self.address = self._listening.sockets[0].getsockname()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(TIMEOUT_SECONDS)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call `function` in the server's thread."""

        async def calling() -> Any:
            return function()

        return self.run(calling())

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition, looked at in the server's thread, holds."""

        async def waiting() -> None:
            while not condition():  # noqa: ASYNC110 - any condition, no event
                await asyncio.sleep(0.002)

        self.run(waiting())

    def connect(self, receive_buffer_bytes: int = 0) -> Client:
        sock = socket.socket()
        sock.settimeout(TIMEOUT_SECONDS)
        if receive_buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.connect(self.address)
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        return Client(sock)

    def close(self) -> None:
        async def closing() -> None:
            self._listening.close()
            await self.server.drain(0.0)
            await self._loop.shutdown_default_executor()

        self.run(closing())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_SECONDS)
        self._loop.close()


async def echo(request: Request) -> Response:
    """Says what arrived: method, path, query and the body."""
    body = await request.body.read(1 << 26)
    text = f"{request.method} {request.path} {request.query}\n".encode("latin-1")
    return Response(200, [("Content-Type", "text/plain")], text + body)


def get(path: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: h", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def put(body: bytes, *fields: str, path: str = "/") -> bytes:
    return get(path, f"Content-Length: {len(body)}", *fields, method="PUT") + body


def chunked(*parts: bytes, path: str = "/") -> bytes:
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))
    return get(path, "Transfer-Encoding: chunked", method="PUT") + data
