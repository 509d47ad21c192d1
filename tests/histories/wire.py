"""A kept connection to one worker: signed requests in, answers out, several at once in a row.

The kernel spreads connections over the workers; which one has ours is read from /proc (its process
holds the other end's socket), so that a test can be sure to ask both.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import cast
from urllib.parse import quote

from bench.sign import EMPTY_SHA256, Signer, canonical_query
from tests.crash.process import ACCESS_KEY, SECRET_KEY
from tests.histories.operations import Call
from tests.s3.raw import Answer

REGION = "us-east-1"
ANSWER_SECONDS_MAX = 60.0
#: S3 takes a signature for 15 minutes
SIGNER_SECONDS_MAX = 60.0
HEADS_KEPT_MAX = 50_000
_ESTABLISHED = "01"


class Lost(Exception):
    """The connection failed: whether the request was carried out is unknown."""


class Hung(Exception):
    """A server that runs does not answer."""


class Requests:
    """Turns calls into bytes. A request that comes again within a minute is signed once."""

    def __init__(self, port: int) -> None:
        self._host = f"127.0.0.1:{port}"
        self._made_at = 0.0
        self._renew()

    def _renew(self) -> None:
        self._signer = Signer(self._host, ACCESS_KEY, SECRET_KEY, REGION)
        self._head = functools.lru_cache(HEADS_KEPT_MAX)(self._make_head)

    def bytes_of(self, bucket: str, call: Call, now: float) -> bytes:
        """now: of a monotonic clock."""
        if now - self._made_at > SIGNER_SECONDS_MAX:
            self._made_at = now
            self._renew()
        path = f"/{bucket}/{quote(call.key, safe='/-_.~')}" if call.key else f"/{bucket}"
        payload = hashlib.sha256(call.body).hexdigest() if call.body else EMPTY_SHA256
        headers = tuple(call.headers.items())
        length = len(call.body) if call.method in ("PUT", "POST") else -1
        return self._head(call.method, path, call.query, headers, payload, length) + call.body

    def _make_head(
        self,
        method: str,
        path: str,
        query: tuple[tuple[str, str], ...],
        headers: tuple[tuple[str, str], ...],
        payload: str,
        length: int,
    ) -> bytes:
        text = canonical_query(query)
        signed = self._signer.headers(method, path, text, payload, dict(headers))
        lines = [f"{method} {path}{'?' + text if text else ''} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in signed.items()]
        if length >= 0:
            lines.append(f"content-length: {length}")
        return "\r\n".join((*lines, "", "")).encode()


class Wire(asyncio.Protocol):
    """`owner`: the process that answers, once `open_wire` has found it."""

    def __init__(self) -> None:
        self.owner = 0
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._methods: deque[str] = deque()
        self._answers: list[Answer] = []
        self._done: asyncio.Future[list[Answer]] | None = None

    async def ask(self, requests: Iterable[tuple[str, bytes]]) -> list[Answer]:
        """(method, request) sent in one go; the answers in their order. Raises Lost, Hung."""
        if self.closed or self._transport is None:
            raise Lost("closed before the request was sent")
        requests = list(requests)
        self._methods.extend(method for method, _ in requests)
        self._answers = []
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        watch = loop.call_later(ANSWER_SECONDS_MAX, self._hangs)
        self._transport.write(b"".join(data for _, data in requests))
        try:
            return await self._done
        finally:
            watch.cancel()
            self._done = None

    def _hangs(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(Hung(f"no answer within {ANSWER_SECONDS_MAX:.0f} s"))
        self.close()

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def port(self) -> int:
        """This end's."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    # ---- the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(Lost(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._methods and (answer := self._next()) is not None:
            self._answers.append(answer)
            self._methods.popleft()
        if not self._methods and self._done is not None and not self._done.done():
            self._done.set_result(self._answers)

    def _next(self) -> Answer | None:
        """The next whole answer; None when it is not all there."""
        received = self._received
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = received[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        status = int(first[9:12])
        start = end + 4
        if self._methods[0] == "HEAD" or status in (204, 304):
            body, after = b"", start
        elif "content-length" in headers:
            after = start + int(headers["content-length"])
            if len(received) < after:
                return None
            body = bytes(received[start:after])
        else:
            whole = _dechunked(received, start)
            if whole is None:
                return None
            body, after = whole
        del received[:after]
        return Answer(status, headers, body)


def _dechunked(received: bytearray, at: int) -> tuple[bytes, int] | None:
    """(the body, where it ends), RFC 9112 7.1 without trailers; None when it is not all there."""
    body = bytearray()
    while True:
        end = received.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(received[at:end], 16)
        start = end + 2
        at = start + size + 2
        if len(received) < at:
            return None
        if size == 0:
            return bytes(body), at
        body += received[start : start + size]


async def open_wire(port: int, requests: Requests, children: list[int]) -> Wire:
    """Raises Lost. The owner is 0 when its process has gone already."""
    loop = asyncio.get_running_loop()
    try:
        _, wire = await loop.create_connection(Wire, "127.0.0.1", port)
    except OSError as error:
        raise Lost(str(error)) from None
    try:  # once a request was answered, it was accepted
        ready = f"GET /_holdfast/ready HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode()
        await wire.ask([("GET", ready)])
        wire.owner = _socket_owner(port, wire.port, children)
    except BaseException:
        wire.close()
        raise
    return wire


def _socket_owner(port: int, client_port: int, pids: list[int]) -> int:
    """Which of the processes holds the server's end of a loopback connection; 0 for none."""
    ends = [f"0100007F:{port:04X}", f"0100007F:{client_port:04X}", _ESTABLISHED]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:4] == ends:
            return next((pid for pid in pids if _holds(pid, f"socket:[{fields[9]}]")), 0)
    return 0


def _holds(pid: int, name: str) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    if os.readlink(entry.path) == name:
                        return True
                except OSError:
                    continue
    except OSError:
        pass
    return False
