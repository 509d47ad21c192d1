"""Blocking sockets under the client's coroutines: no loop, no hop between threads for one request.

Rule: nothing awaited here ever suspends, so `run` drives a coroutine to its end in one step, in the
thread that calls. Work in parallel has threads of its own; sockets, files and hashes release the GIL.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.client.address import Buffer, Target
from holdfast.client.backend import CONNECT_SECONDS_MAX

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that stands on a BlockingBackend."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("this store is synchronous: use connect_async with asynchronous iterators")


class BlockingStream:
    __slots__ = ("_socket",)

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    async def send(self, data: Buffer) -> None:
        self._socket.sendall(data)

    async def recv_into(self, view: memoryview) -> int:
        return self._socket.recv_into(view)

    async def wait_readable(self, seconds: float) -> bool:
        return self._readable(seconds)

    def _readable(self, seconds: float) -> bool:
        pending = getattr(self._socket, "pending", None)  # what TLS has read already
        if pending is not None and pending():
            return True
        if not hasattr(select, "poll"):
            return bool(select.select([self._socket], [], [], seconds)[0])
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def is_idle(self) -> bool:
        return self._socket.fileno() >= 0 and not self._readable(0)

    def close(self) -> None:
        self._socket.close()


class BlockingBackend:
    """A backend.Backend."""

    async def connect(
        self, target: Target, tls: ssl.SSLContext | None, timeout: float
    ) -> BlockingStream:
        sock = socket.create_connection(
            (target.host, target.port), timeout=min(timeout, CONNECT_SECONDS_MAX)
        )
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                sock = tls.wrap_socket(sock, server_hostname=target.host)
            sock.settimeout(timeout)
        except BaseException:
            sock.close()
            raise
        return BlockingStream(sock)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 the thread is the caller's own

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        return function(*arguments)

    async def each(
        self,
        pull: Callable[[], Awaitable[T | None]],
        work: Callable[[T], Awaitable[None]],
        limit: int,
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        free = threading.Semaphore(limit)
        failures: list[BaseException] = []

        def one(item: T) -> None:
            try:
                run(_awaited(work, item))
            except BaseException as error:  # noqa: BLE001 raised below, by the caller's thread
                failures.append(error)
            finally:
                free.release()

        with ThreadPoolExecutor(limit, thread_name_prefix="holdfast-client") as threads:
            try:
                while True:
                    free.acquire()
                    item = None if failures else await pull()
                    if item is None:
                        break
                    threads.submit(one, item)
            except BaseException as error:  # noqa: BLE001 what has begun ends first
                failures.insert(0, error)
        if failures:
            raise failures[0]


async def _awaited(work: Callable[[T], Awaitable[None]], item: T) -> None:
    await work(item)
