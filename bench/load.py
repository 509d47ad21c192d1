"""A closed-loop load generator: each connection sends its next request when it has its answer.

One thread with epoll, requests signed beforehand, one `sendmsg` and one `recv_into` for a small
exchange, so that the client takes little of the cores that it shares with the server (the figure
is in every result: `client_us`). Nothing but a complete response with a 2xx status and the body
that was asked for counts as an answer; everything else is counted as an error by its name.
Bounded: by the requests given, by the time, by STALL_SECONDS for the last answers, by ERRORS_MAX.
"""

from __future__ import annotations

import functools
import gc
import select
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.response import ResponseError, ResponseReader

STALL_SECONDS = 30.0
ERRORS_MAX = 1000
_RECEIVE_BYTES = 256 * 1024
_POLL_SECONDS = 0.5

#: One request as the buffers that are sent, in order: its head, and the parts of its body.
Request = tuple[bytes, ...]


@functools.cache
def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Once for each server: some close every connection after its first answer. IPv4 first."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, where


@dataclass(frozen=True)
class Address:
    """Where a server listens. tls: None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def connect(self, timeout: float = STALL_SECONDS) -> socket.socket:
        """Raises OSError, ssl.SSLError among them."""
        family, where = _resolve(self.host, self.port)
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(where)
        except OSError:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tls.wrap_socket(sock, server_hostname=self.host) if self.tls else sock


@dataclass(frozen=True)
class Expectation:
    """What makes a 2xx response an answer.

    body_bytes: the length that the body must have, None for any.
    marker, marker_count: these bytes must occur so many times in the body.
    """

    no_body: bool = False
    body_bytes: int | None = None
    marker: bytes = b""
    marker_count: int = 0

    def error(self, response: ResponseReader) -> str | None:
        """The name of what is wrong, None when all is well."""
        if not 200 <= response.status < 300:
            return f"status {response.status}"
        if self.body_bytes is not None and response.body_bytes != self.body_bytes:
            return f"body of {response.body_bytes} bytes"
        if self.marker and (count := response.body.count(self.marker)) != self.marker_count:
            return f"{count} of {self.marker_count} entries"
        return None


@dataclass
class Outcome:
    """What a run gave. latencies: seconds from send to the last byte, of the answers only."""

    seconds: float = 0.0
    client_seconds: float = 0.0
    bytes_moved: int = 0
    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        return len(self.latencies)


class _Connection:
    __slots__ = ("response", "sent_at", "sock", "unsent")

    def __init__(self, sock: socket.socket, response: ResponseReader) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.response = response
        self.sent_at = 0.0
        self.unsent = b""


class _Run:
    """The state of one run. A connection is either waiting for its answer, or closed."""

    def __init__(
        self, address: Address, requests: Iterator[Request], expect: Expectation, until: float
    ) -> None:
        self.outcome = Outcome()
        self._address = address
        self._requests = requests
        self._expect = expect
        self._until = until
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._buffer = bytearray(_RECEIVE_BYTES)

    def start(self, sockets: Sequence[socket.socket]) -> None:
        for sock in sockets:
            self._adopt(sock)

    def loop(self) -> None:
        """Run until no request is left or the time is over, and all answers are there."""
        give_up = self._until + STALL_SECONDS
        while self._open and time.perf_counter() < give_up:
            for fd, event in self._poll.poll(_POLL_SECONDS):
                connection = self._open.get(fd)
                if connection is None:
                    continue
                try:
                    if connection.unsent:
                        self._flush(connection)
                    if event & ~select.EPOLLOUT:
                        self._receive(fd, connection)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    continue
                except ResponseError as error:
                    self._fail(fd, f"bad response: {error}")
                except OSError as error:
                    self._fail(fd, f"socket: {error.strerror or type(error).__name__}")
        if self._open:
            self.outcome.errors[f"no answer within {STALL_SECONDS:.0f} s"] += len(self._open)

    def close(self) -> None:
        for connection in self._open.values():
            connection.sock.close()
        self._open.clear()
        self._poll.close()

    def _adopt(self, sock: socket.socket) -> None:
        expect = self._expect
        reader = ResponseReader(no_body=expect.no_body, keep=bool(expect.marker))
        connection = _Connection(sock, reader)
        fd = sock.fileno()
        self._open[fd] = connection
        self._poll.register(fd, select.EPOLLIN)
        self._send_next(fd, connection)

    def _send_next(self, fd: int, connection: _Connection) -> None:
        now = time.perf_counter()
        request = next(self._requests, None) if now < self._until else None
        if request is None:
            self._drop(fd)
            return
        connection.response.begin()
        connection.sent_at = now
        if self._address.tls:
            connection.unsent = b"".join(request)
            self._flush(connection)
            return
        try:
            sent = connection.sock.sendmsg(request)
        except BlockingIOError:
            sent = 0
        if sent < sum(map(len, request)):
            connection.unsent = b"".join(request)[sent:]
            self._poll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, connection: _Connection) -> None:
        """Send what the socket takes now; write readiness is watched while anything is left."""
        fd = connection.sock.fileno()
        try:
            connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]
        except (ssl.SSLWantWriteError, BlockingIOError):
            pass
        self._poll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if connection.unsent else 0))

    def _receive(self, fd: int, connection: _Connection) -> None:
        response = connection.response
        # the buffer is larger than a TLS record: nothing stays decrypted where epoll can't see it
        count = connection.sock.recv_into(self._buffer)
        if count == 0:
            self._fail(fd, "closed before the answer was complete")
            return
        if not response.feed(self._buffer, count):
            return
        now = time.perf_counter()
        if connection.unsent:
            # it answered early, as servers do to refuse: the rest of the body has no reader
            self._fail(fd, f"status {response.status} before the request was sent")
            return
        wrong = self._expect.error(response)
        if wrong is None:
            self.outcome.latencies.append(now - connection.sent_at)
            self.outcome.bytes_moved += response.body_bytes
        if wrong or response.close:
            self._fail(fd, wrong)
        else:
            self._send_next(fd, connection)

    def _fail(self, fd: int, error: str | None) -> None:
        """Count the error, if it is one, and go on with a new connection."""
        self._drop(fd)
        if error:
            self.outcome.errors[error] += 1
        if self.outcome.errors.total() >= ERRORS_MAX or time.perf_counter() >= self._until:
            return
        try:
            self._adopt(self._address.connect())
        except OSError as failure:
            self.outcome.errors[f"connect: {failure.strerror or type(failure).__name__}"] += 1

    def _drop(self, fd: int) -> None:
        connection = self._open.pop(fd)
        self._poll.unregister(fd)
        connection.sock.close()


def run_load(
    address: Address,
    requests: Iterator[Request],
    expect: Expectation,
    *,
    connections: int,
    seconds: float,
) -> Outcome:
    """Send `requests` over `connections` for `seconds`, or until there are no more.

    Raises OSError when the server can't be reached at the start.
    """
    sockets: list[socket.socket] = []
    run: _Run | None = None
    gc.collect()
    gc.disable()  # a collection would walk over all the signed requests
    try:
        for _ in range(connections):
            sockets.append(address.connect())
        started, cpu = time.perf_counter(), time.process_time()
        run = _Run(address, requests, expect, started + seconds)
        run.start(sockets)
        run.loop()
        run.outcome.seconds = time.perf_counter() - started
        run.outcome.client_seconds = time.process_time() - cpu
        return run.outcome
    finally:
        gc.enable()
        if run is not None:
            run.close()
        for sock in sockets:
            sock.close()
