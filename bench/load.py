"""A closed-loop load generator: each connection sends its next request when it has its answer.

One thread with epoll, requests signed beforehand, one `sendmsg` and one `recv_into` for a small
exchange, and a short way to see that an answer is like the first right one, so that the client
takes little of the cores that it shares with the server (the figure is in every result:
`client_seconds`). Nothing but a complete response with the status and the body that was asked for
counts as an answer; everything else is counted as an error by its name.
Bounded: by the requests given, by the time, by STALL_SECONDS for the last answers, by ERRORS_MAX.
"""

from __future__ import annotations

import functools
import gc
import itertools
import resource
import select
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.response import ResponseError, ResponseReader

STALL_SECONDS = 30.0
ERRORS_MAX = 1000
_RECEIVE_BYTES = 256 * 1024
_POLL_SECONDS = 0.5
_SPARE_FILES = 64

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
    """What makes a response an answer.

    status: the one it must have, None for any 2xx.
    body_bytes: the length that the body must have, None for any.
    marker, marker_count: these bytes must occur so many times in the body.
    kind: names the requests' sort where a run has several; latencies are kept for each.
    """

    no_body: bool = False
    body_bytes: int | None = None
    marker: bytes = b""
    marker_count: int = 0
    status: int | None = None
    kind: str = ""

    def error(self, response: ResponseReader) -> str | None:
        """The name of what is wrong, None when all is well."""
        if not 200 <= response.status < 300 or self.status not in (None, response.status):
            return f"status {response.status}"
        if self.body_bytes is not None and response.body_bytes != self.body_bytes:
            return f"body of {response.body_bytes} bytes"
        if self.marker and (count := response.body.count(self.marker)) != self.marker_count:
            return f"{count} of {self.marker_count} entries"
        return None


@dataclass
class Outcome:
    """What a run gave. latencies: seconds from send to the last byte, of the answers only; by_kind:
    the same by the kinds that there are. counted: of the answers where `latencies` has another number
    of them."""

    seconds: float = 0.0
    client_seconds: float = 0.0
    bytes_moved: int = 0
    counted: int | None = None
    latencies: list[float] = field(default_factory=list)
    by_kind: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        return len(self.latencies) if self.counted is None else self.counted


class _Likeness:
    """The short way: a response like the first right one, whole in one read, is right as well.

    Like it: the same status, the same framing line, the same length, nothing about closing. What is
    not alike is read in full.
    """

    __slots__ = ("_body", "_framing", "_status", "expect", "taught")

    def __init__(self, expect: Expectation) -> None:
        self.expect = expect  # kept alive: these are found by its id
        self.taught = False
        self._status = self._framing = b""
        self._body = 0

    def teach(self, head: bytes, body_bytes: int) -> None:
        """head: of a right response to such a request, up to the empty line."""
        lines = head.split(b"\r\n")
        framing = [line for line in lines if line.lower().startswith(b"content-length:")]
        self._status = lines[0][:13]
        self._framing = b"\r\n%b\r\n" % framing[0] if framing else b""
        self._body = body_bytes
        self.taught = bool(framing) or not body_bytes

    def fits(self, buffer: bytearray, count: int) -> bool:
        end = count - self._body - 4
        return (
            end > 0  # else what the last answer left in the buffer would be looked at
            and buffer.startswith(self._status)
            and buffer.find(b"\r\n\r\n", 0, count) == end
            and buffer.find(self._framing, 0, end + 2) >= 0
            and buffer.find(b"lose\r\n", 0, end + 2) < 0
        )


class _Connection:
    __slots__ = (
        "expect",
        "like",
        "midway",
        "receive",
        "response",
        "send",
        "sent_at",
        "sock",
        "unsent",
    )

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.send = sock.sendmsg
        self.receive = sock.recv_into
        self.sent_at = 0.0
        self.unsent: list[memoryview] = []
        self.midway = False  # a part of the answer has been read
        self.expect: Expectation
        self.like: _Likeness
        self.response: ResponseReader


class _Run:
    """The state of one run. A connection is either waiting for its answer, or closed."""

    def __init__(
        self,
        address: Address,
        requests: Iterator[Request],
        expects: Iterator[Expectation],
        until: float,
    ) -> None:
        self.outcome = Outcome()
        self._address = address
        self._requests = requests
        self._expects = expects
        self._until = until
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._likes: dict[int, _Likeness] = {}
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
                        self._flush(fd, connection)
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
        connection = _Connection(sock)
        fd = sock.fileno()
        self._open[fd] = connection
        self._poll.register(fd, select.EPOLLIN)
        self._send_next(fd, connection, time.perf_counter())

    def _send_next(self, fd: int, connection: _Connection, now: float) -> None:
        request = next(self._requests, None) if now < self._until else None
        if request is None:
            self._drop(fd)
            return
        expect = next(self._expects)
        connection.expect = expect
        like = self._likes.get(id(expect))
        connection.like = like or self._likes.setdefault(id(expect), _Likeness(expect))
        connection.sent_at = now
        if self._address.tls:
            connection.unsent = [memoryview(b"".join(request))]
            self._flush(fd, connection)
            return
        try:
            sent = connection.send(request)
        except BlockingIOError:
            sent = 0
        if sent < sum(map(len, request)):
            connection.unsent = _rest([memoryview(part) for part in request], sent)
            self._poll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, fd: int, connection: _Connection) -> None:
        """Send what the socket takes now; write readiness is watched while anything is left."""
        unsent = connection.unsent
        try:
            sent = connection.sock.send(unsent[0]) if self._address.tls else connection.send(unsent)
            connection.unsent = _rest(unsent, sent)
        except (ssl.SSLWantWriteError, BlockingIOError):
            pass
        self._poll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if connection.unsent else 0))

    def _receive(self, fd: int, connection: _Connection) -> None:
        # the buffer is larger than a TLS record: nothing stays decrypted where epoll can't see it
        buffer = self._buffer
        count = connection.receive(buffer)
        if count == 0:
            self._fail(fd, "closed before the answer was complete")
            return
        like = connection.like
        if (
            not like.taught
            or connection.midway
            or connection.unsent
            or not like.fits(buffer, count)
        ):
            self._receive_slowly(fd, connection, count)
            return
        now = time.perf_counter()
        outcome, expect = self.outcome, connection.expect
        outcome.latencies.append(now - connection.sent_at)
        if expect.body_bytes:
            outcome.bytes_moved += expect.body_bytes
        if expect.kind:
            outcome.by_kind.setdefault(expect.kind, []).append(now - connection.sent_at)
        self._send_next(fd, connection, now)

    def _receive_slowly(self, fd: int, connection: _Connection, count: int) -> None:
        expect = connection.expect
        if not connection.midway:
            connection.response = ResponseReader(no_body=expect.no_body, keep=bool(expect.marker))
        response, whole = connection.response, not connection.midway
        connection.midway = not response.feed(self._buffer, count)
        if connection.midway:
            return
        now = time.perf_counter()
        if connection.unsent:
            # it answered early, as servers do to refuse: the rest of the body has no reader
            self._fail(fd, f"status {response.status} before the request was sent")
            return
        wrong = expect.error(response)
        if wrong is None:
            self.outcome.latencies.append(now - connection.sent_at)
            self.outcome.bytes_moved += response.body_bytes
            if expect.kind:
                kept = self.outcome.by_kind.setdefault(expect.kind, [])
                kept.append(now - connection.sent_at)
            if whole and not connection.like.taught and not expect.marker:
                head = bytes(self._buffer[: self._buffer.find(b"\r\n\r\n", 0, count)])
                connection.like.teach(head, response.body_bytes)
        if wrong or response.close:
            self._fail(fd, wrong)
        else:
            self._send_next(fd, connection, now)

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


def _rest(parts: list[memoryview], sent: int) -> list[memoryview]:
    """What is left of `parts` behind the first `sent` bytes."""
    left = []
    for part in parts:
        if sent < len(part):
            left.append(part[sent:])
        sent = max(0, sent - len(part))
    return left


def allow_files(count: int) -> None:
    """So many open files, as far as the hard limit lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def run_load(
    address: Address,
    requests: Iterator[Request],
    expect: Expectation | Iterable[Expectation],
    *,
    connections: int,
    seconds: float,
) -> Outcome:
    """Send `requests` over `connections` for `seconds`, or until there are no more.

    expect: of every answer, or one for each request in the same order.
    Raises OSError when the server can't be reached at the start.
    """
    expects = itertools.repeat(expect) if isinstance(expect, Expectation) else iter(expect)
    sockets: list[socket.socket] = []
    run: _Run | None = None
    allow_files(connections)
    gc.disable()  # a collection would walk over all the signed requests
    try:
        for _ in range(connections):
            sockets.append(address.connect())
        started, cpu = time.perf_counter(), time.process_time()
        run = _Run(address, requests, expects, started + seconds)
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
