"""Large objects, each over one connection, with as little work in the client as can be.

Upload: the bytes lie in memory as a file without a disk (memfd) and go by sendfile, with their
hash known beforehand. Download: into one buffer again and again. Nothing of it touches the disk,
so that all of the disk is the server's.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from typing import Protocol

from bench.load import STALL_SECONDS, Address, Expectation, Outcome
from bench.response import ResponseError, ResponseReader

_BLOCK_BYTES = 1024 * 1024
_STAMP_BYTES = 16


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> _Hash: ...


class Content:
    """Random bytes of a given size, of which the last 16 differ from use to use.

    So no two uploads are the same content, and yet the hash of all costs only their end; uploads side
    by side share the rest.
    """

    def __init__(self, size: int) -> None:
        """size: in bytes, at least 16."""
        self.size = size
        self.common = size - _STAMP_BYTES
        self.file = FileIO(os.memfd_create("bench-content"), "r+b")
        state = hashlib.sha256()
        left = self.common
        while left:
            block = os.urandom(min(left, _BLOCK_BYTES))
            self.file.write(block)
            state.update(block)
            left -= len(block)
        self._state: _Hash = state

    def renew(self) -> Use:
        """New content."""
        stamp = os.urandom(_STAMP_BYTES)
        state = self._state.copy()
        state.update(stamp)
        return Use(self, stamp, state.hexdigest())

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True)
class Use:
    """What one upload sends: the common bytes, then its own 16. digest: SHA-256 in hex."""

    content: Content
    stamp: bytes
    digest: str

    @property
    def size(self) -> int:
        return self.content.size


def upload(address: Address, head: bytes, content: Use) -> Outcome:
    """Send the head and the content. Errors are counted in the outcome, never raised."""
    return _transfer(address, head, Expectation(), content)


def download(address: Address, head: bytes, size: int, digest: _Hash | None = None) -> Outcome:
    """Fetch `size` bytes. digest: fed with all of them; costs time, so not while measuring."""
    return _transfer(address, head, Expectation(body_bytes=size), None, digest)


def _transfer(
    address: Address,
    head: bytes,
    expect: Expectation,
    content: Use | None,
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


def _send_content(sock: socket.socket, use: Use) -> str | None:
    """None once all is sent; else what cut it short. A server that refuses may still say why."""
    try:
        send_file(sock, use.content.file.fileno(), 0, use.content.common)
        sock.sendall(use.stamp)
    except (BrokenPipeError, ConnectionResetError) as error:
        return f"socket: {error.strerror}"
    return None


def send_file(sock: socket.socket, fd: int, at: int, end: int) -> None:
    """Send the bytes of a file from `at` to `end`. Raises OSError.

    Not socket.sendfile: it moves the file's offset, which threads that send the same file share.
    """
    if isinstance(sock, ssl.SSLSocket):
        for start in range(at, end, _BLOCK_BYTES):
            sock.sendall(os.pread(fd, min(_BLOCK_BYTES, end - start), start))
        return
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    while at < end:
        try:
            at += os.sendfile(sock.fileno(), fd, at, end - at)
        except BlockingIOError:
            if not poll.poll(STALL_SECONDS * 1000):
                raise TimeoutError(f"nothing taken within {STALL_SECONDS:.0f} s") from None


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


def side_by_side(jobs: Sequence[Callable[[], Outcome]]) -> Outcome:
    """All at once, each in a thread of its own: the time is that of all together."""
    together, ready = Outcome(), threading.Barrier(len(jobs) + 1)

    def work(job: Callable[[], Outcome]) -> Outcome:
        ready.wait(STALL_SECONDS)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        ready.wait(STALL_SECONDS)
        started, cpu = time.perf_counter(), time.process_time()
        outcomes = [future.result() for future in futures]
    together.seconds = time.perf_counter() - started
    together.client_seconds = time.process_time() - cpu
    for outcome in outcomes:
        together.latencies += outcome.latencies
        together.bytes_moved += outcome.bytes_moved
        together.errors += outcome.errors
    return together
