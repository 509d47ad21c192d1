"""One large object over one connection, with as little work in the client as can be.

Upload: the bytes lie in memory as a file without a disk (memfd) and go by sendfile, with their
hash known beforehand. Download: into one buffer again and again. Nothing of it touches the disk,
so that all of the disk is the server's.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from io import FileIO
from typing import Protocol

from bench.load import Address, Expectation, Outcome
from bench.response import ResponseError, ResponseReader

_BLOCK_BYTES = 1024 * 1024
_STAMP_BYTES = 16


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> _Hash: ...


class Content:
    """Random bytes of a given size, of which the last 16 differ from use to use.

    So no two uploads are the same content, and yet the hash of all costs only their end.
    """

    def __init__(self, size: int) -> None:
        """size: in bytes, at least 16."""
        self.size = size
        self.file = FileIO(os.memfd_create("bench-content"), "r+b")
        state = hashlib.sha256()
        left = size - _STAMP_BYTES
        while left:
            block = os.urandom(min(left, _BLOCK_BYTES))
            self.file.write(block)
            state.update(block)
            left -= len(block)
        self._state: _Hash = state
        self.digest = self.renew()

    def renew(self) -> str:
        """Make it new content; its SHA-256 in hex."""
        stamp = os.urandom(_STAMP_BYTES)
        os.pwrite(self.file.fileno(), stamp, self.size - _STAMP_BYTES)
        state = self._state.copy()
        state.update(stamp)
        self.digest = state.hexdigest()
        return self.digest

    def close(self) -> None:
        self.file.close()


def upload(address: Address, head: bytes, content: Content) -> Outcome:
    """Send the head and the content. Errors are counted in the outcome, never raised."""
    return _transfer(address, head, Expectation(), content)


def download(address: Address, head: bytes, size: int, digest: _Hash | None = None) -> Outcome:
    """Fetch `size` bytes. digest: fed with all of them; costs time, so not while measuring."""
    return _transfer(address, head, Expectation(body_bytes=size), None, digest)


def _transfer(
    address: Address,
    head: bytes,
    expect: Expectation,
    content: Content | None,
    digest: _Hash | None = None,
) -> Outcome:
    outcome = Outcome()
    try:
        with address.connect() as sock:
            started, cpu = time.perf_counter(), time.process_time()
            sock.sendall(head)
            cut = _send_content(sock, content) if content else None
            response = _receive(sock, digest)
            outcome.seconds = time.perf_counter() - started
            outcome.client_seconds = time.process_time() - cpu
    except ResponseError as error:
        outcome.errors[f"bad response: {error}"] += 1
        return outcome
    except OSError as error:
        outcome.errors[f"socket: {error.strerror or error or type(error).__name__}"] += 1
        return outcome
    wrong = expect.error(response) or cut
    if wrong:
        outcome.errors[wrong] += 1
    else:
        outcome.latencies.append(outcome.seconds)
        outcome.bytes_moved = content.size if content else response.body_bytes
    return outcome


def _send_content(sock: socket.socket, content: Content) -> str | None:
    """None once all is sent; else what cut it short. A server that refuses may still say why."""
    content.file.seek(0)
    try:
        sock.sendfile(content.file, 0, content.size)
    except (BrokenPipeError, ConnectionResetError) as error:
        return f"socket: {error.strerror}"
    return None


def _receive(sock: socket.socket, digest: _Hash | None) -> ResponseReader:
    response = ResponseReader(keep=digest is not None)
    buffer = bytearray(_BLOCK_BYTES)
    while True:
        count = sock.recv_into(buffer)
        if count == 0:
            raise ResponseError("closed before the answer was complete")
        done = response.feed(buffer, count)
        if digest is not None:
            digest.update(bytes(response.body))
            response.body.clear()
        if done:
            return response
