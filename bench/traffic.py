"""Mixed traffic of many connections that knows what every answer must be: the soak's small requests.

Every connection has keys of its own, so what each of them holds is known for certain, and an answer
that is a moment too old is found. A few connections are active at a time: one sends a burst of
requests, each when it has the answer before, then rests while the others have their turn; a server may
close those that rest. One thread with epoll; requests are signed as they are sent.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import select
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.endpoint import Endpoint
from bench.load import STALL_SECONDS, allow_files
from bench.response import ResponseError, ResponseReader
from bench.sign import UNSIGNED_PAYLOAD, Signer, canonical_query

KEYS_PER_CONNECTION = 20
BURST_REQUESTS = 20
STAMP_BYTES = 16
_SIGNER_SECONDS = 60.0
_POLL_SECONDS = 0.1
_RECEIVE_BYTES = 256 * 1024
_SIGNED_BYTES_MAX = 16 * 1024
_ERROR_KINDS_MAX = 100
#: how often each is done, out of a hundred
_MIX = {"GET": 48, "PUT": 27, "HEAD": 8, "DELETE": 12, "LIST": 5}
#: bytes of a body, and how often out of a hundred
_SIZES = {4096: 70, 16 * 1024: 20, 64 * 1024: 8, 512 * 1024: 2}

Check = Callable[[ResponseReader], str | None]


@dataclass
class Tally:
    """What happened since it was last taken. latencies: seconds, by operation."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    def count(self) -> int:
        return sum(map(len, self.latencies.values()))


class Ledger:
    """A tally that several threads write and one takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally = Tally()

    def add(self, operation: str, seconds: float) -> None:
        with self._lock:
            self._tally.latencies.setdefault(operation, []).append(seconds)

    def error(self, text: str) -> None:
        with self._lock:
            errors = self._tally.errors
            errors[text if text in errors or len(errors) < _ERROR_KINDS_MAX else "others"] += 1

    def take(self) -> Tally:
        with self._lock:
            tally, self._tally = self._tally, Tally()
        return tally


class _Connection:
    """One client: its keys, what they hold (size and stamp), and the request under way."""

    def __init__(self, number: int) -> None:
        self.folder = f"s/{number:05d}/"
        self.holds: dict[str, tuple[int, bytes]] = {}
        self.sock: socket.socket | None = None
        self.left = 0  # of the burst
        self.operation = ""
        self.sent_at = 0.0
        self.unsent = b""
        self.reader = ResponseReader()
        self.check: Check
        #: run when the answer is right: what it changes
        self.settle: Callable[[], None]


class Traffic:
    """`connections` clients of which `active` are at work; runs in the thread that calls `run`."""

    def __init__(
        self, endpoint: Endpoint, bucket: str, ledger: Ledger, *, connections: int, active: int
    ) -> None:
        allow_files(2 * connections)
        self._endpoint = endpoint
        self._bucket = bucket
        self._ledger = ledger
        self._active = min(active, connections)
        self._clients = [_Connection(number) for number in range(connections)]
        self._resting = deque(self._clients)
        self._open: dict[int, _Connection] = {}
        self._busy = 0
        self._poll = select.epoll()
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._filling = os.urandom(max(_SIZES))
        self._dice = random.Random(connections)
        self._stamps = 0
        self._signer: Signer = endpoint.signer()
        self._signed_at = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`, and until the last answers are there."""
        try:
            for client in self._clients:  # all are connected from the first moment on
                self._connect(client)
            last = None
            while not (stop.is_set() and not self._busy):
                if stop.is_set():
                    last = last or time.monotonic() + STALL_SECONDS
                    if time.monotonic() > last:
                        self._ledger.error(f"no answer within {STALL_SECONDS:.0f} s")
                        break
                else:
                    while self._busy < self._active and self._resting:
                        self._wake(self._resting.popleft())
                self._turn(stop)
        finally:
            for client in self._clients:
                if client.sock:
                    client.sock.close()
            self._poll.close()

    def _turn(self, stop: threading.Event) -> None:
        if time.monotonic() - self._signed_at > _SIGNER_SECONDS:
            self._signer, self._signed_at = self._endpoint.signer(), time.monotonic()
        for fd, event in self._poll.poll(_POLL_SECONDS):
            client = self._open.get(fd)
            if client is None:
                continue
            try:
                if client.unsent:
                    self._flush(client)
                if event & ~select.EPOLLOUT:
                    self._receive(client, stop)
            except BlockingIOError:
                continue
            except (OSError, ResponseError) as error:
                if client.left:
                    self._broken(client, f"{client.operation}: {error}")
                else:
                    self._close(client)

    # -- connections ---------------------------------------------------------------------------

    def _connect(self, client: _Connection) -> None:
        """Raises OSError."""
        client.sock = self._endpoint.address.connect()
        client.sock.setblocking(False)
        self._open[client.sock.fileno()] = client
        self._poll.register(client.sock.fileno(), select.EPOLLIN)

    def _close(self, client: _Connection) -> None:
        if client.sock:
            self._open.pop(client.sock.fileno(), None)
            client.sock.close()  # epoll forgets it with that
            client.sock = None

    def _wake(self, client: _Connection) -> None:
        self._busy += 1
        client.left = BURST_REQUESTS
        self._next(client)

    def _rest(self, client: _Connection) -> None:
        self._busy -= 1
        client.left = 0
        self._resting.append(client)

    def _broken(self, client: _Connection, error: str) -> None:
        self._ledger.error(error)
        self._close(client)
        # what the request did is not known: the keys are given up for new ones
        client.holds.clear()
        client.folder += "x/" if len(client.folder) < 200 else ""
        if client.left:
            self._rest(client)

    # -- requests ------------------------------------------------------------------------------

    def _next(self, client: _Connection) -> None:
        try:
            if client.sock is None:
                self._connect(client)
            request = self._make(client)
            client.reader.begin()
            client.sent_at = time.perf_counter()
            client.unsent = request
            self._flush(client)
        except OSError as error:
            self._broken(client, f"connect: {error}")

    def _flush(self, client: _Connection) -> None:
        assert client.sock
        try:
            client.unsent = client.unsent[client.sock.send(client.unsent) :]
        except BlockingIOError:
            pass
        watched = select.EPOLLIN | (select.EPOLLOUT if client.unsent else 0)
        self._poll.modify(client.sock.fileno(), watched)

    def _receive(self, client: _Connection, stop: threading.Event) -> None:
        assert client.sock
        count = client.sock.recv_into(self._buffer)
        if not client.left:
            # it rests: the server closes it, which is its right, or says what nobody asked for
            if count:
                self._broken(client, "bytes without a request")
            self._close(client)
            return
        if count == 0:
            self._broken(client, f"{client.operation}: closed before the answer was complete")
            return
        if not client.reader.feed(self._buffer, count):
            return
        wrong = client.check(client.reader)
        if wrong or client.unsent:
            self._broken(client, f"{client.operation}: {wrong or 'answered too early'}")
            return
        self._ledger.add(client.operation, time.perf_counter() - client.sent_at)
        client.settle()
        if client.reader.close:
            self._close(client)
        client.left -= 1
        if client.left and not stop.is_set():
            self._next(client)
        else:
            self._rest(client)

    def _make(self, client: _Connection) -> bytes:
        """The next request; what it must be answered is noted in the client."""
        operation = self._dice.choices(tuple(_MIX), tuple(_MIX.values()))[0]
        key = f"{client.folder}{self._dice.randrange(KEYS_PER_CONNECTION):02d}"
        if operation == "DELETE" and client.holds:
            key = self._dice.choice(tuple(client.holds))
        client.operation = operation
        client.reader = ResponseReader(no_body=operation == "HEAD", keep=True)
        client.settle = lambda: None
        path = f"/{self._bucket}/{key}"
        if operation == "PUT":
            return self._put(client, key, path)
        if operation == "LIST":
            client.check = _list_check(sorted(client.holds))
            query = canonical_query((("list-type", "2"), ("prefix", client.folder)))
            return self._signer.head("GET", f"/{self._bucket}", query)
        if operation == "DELETE":
            client.check = _status_check(204)
            client.settle = lambda: _forget(client, key)
        else:
            client.check = _read_check(operation, client.holds.get(key))
        return self._signer.head(operation, path)

    def _put(self, client: _Connection, key: str, path: str) -> bytes:
        size = self._dice.choices(tuple(_SIZES), tuple(_SIZES.values()))[0]
        self._stamps += 1
        stamp = struct.pack("<QQ", self._stamps, time.time_ns())
        body = stamp + self._filling[: size - STAMP_BYTES]
        signed = size <= _SIGNED_BYTES_MAX
        payload = hashlib.sha256(body).hexdigest() if signed else UNSIGNED_PAYLOAD
        client.check = _status_check(200)
        client.settle = lambda: client.holds.update({key: (size, stamp)})
        return self._signer.head("PUT", path, "", payload, size) + body


def _forget(client: _Connection, key: str) -> None:
    client.holds.pop(key, None)


def _status_check(status: int) -> Check:
    return lambda answer: None if answer.status == status else _said(answer)


def _read_check(operation: str, held: tuple[int, bytes] | None) -> Check:
    """Of GET and HEAD: exactly what the key holds, or 404 where it holds nothing."""

    def check(answer: ResponseReader) -> str | None:
        if held is None:
            return None if answer.status == 404 else f"status {answer.status} of a key not there"
        if answer.status != 200:
            return _said(answer)
        if operation == "GET" and (
            len(answer.body) != held[0] or not answer.body.startswith(held[1])
        ):
            return "other bytes than were put there"
        return None

    return check


def _list_check(keys: list[str]) -> Check:
    def check(answer: ResponseReader) -> str | None:
        if answer.status != 200:
            return _said(answer)
        found = [key.decode() for key in re.findall(rb"<Key>([^<]*)</Key>", bytes(answer.body))]
        return None if found == keys else f"{len(found)} keys, not the {len(keys)} that are there"

    return check


def _said(answer: ResponseReader) -> str:
    code = re.search(rb"<Code>(\w+)</Code>", bytes(answer.body))
    return f"status {answer.status}{' ' + code[1].decode() if code else ''}"
