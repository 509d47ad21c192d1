"""Sockets of an event loop (asyncio's or uvloop's) under the client's coroutines.

Rule: bytes go from the socket into the reader's own buffer where one waits, else into a small one of
the connection's; when that is full, reading pauses. Writing pauses with the transport.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from holdfast.client.address import Buffer, Target
from holdfast.client.backend import CONNECT_SECONDS_MAX

T = TypeVar("T")
SPARE_BYTES = 64 * 1024
WRITE_BYTES_MAX = 256 * 1024


class LoopStream(asyncio.BufferedProtocol):
    """A wire.Stream, and the protocol below it. One sender and one receiver at a time."""

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._transport: asyncio.Transport | None = None
        self._spare = memoryview(bytearray(SPARE_BYTES))
        self._first = self._end = 0  # of what waits in _spare
        self._target: memoryview | None = None
        self._reader: asyncio.Future[int] | None = None
        self._signal: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._paused_writing = self._paused_reading = False
        self._ended = False
        self._error: Exception | None = None

    # the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BYTES_MAX)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._target is not None:
            return self._target
        return self._spare[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._target is not None:
            self._target = None
            reader, self._reader = self._reader, None
            if reader is not None and not reader.done():
                reader.set_result(nbytes)
            return
        self._end += nbytes
        if self._end == SPARE_BYTES and self._transport is not None:
            self._paused_reading = True
            self._transport.pause_reading()
        self._wake_signal()
        self._wake_reader()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake_all()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._error = exc
        self._transport = None  # it takes no more calls
        self._wake_all()

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._paused_writing = False
        self._wake_writer()

    def _wake_all(self) -> None:
        self._wake_signal()
        self._wake_writer()
        self._wake_reader()

    def _wake_signal(self) -> None:
        if self._signal is not None and not self._signal.done():
            self._signal.set_result(None)

    def _wake_writer(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _wake_reader(self) -> None:
        """A reader waits with its own buffer unless the end has come."""
        if self._ended and self._reader is not None and not self._reader.done():
            self._target = None
            self._reader.set_result(0)

    # the stream

    async def send(self, data: Buffer) -> None:
        self._check()
        assert self._transport is not None
        self._transport.write(data)
        if self._paused_writing:
            self._writer = self._loop.create_future()
            await self._wait(self._writer)
            self._check()

    def _check(self) -> None:
        if self._ended or self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection was closed") from self._error

    async def recv_into(self, view: memoryview) -> int:
        have = self._end - self._first
        if have:
            count = min(have, len(view))
            view[:count] = self._spare[self._first : self._first + count]
            self._first += count
            if self._first == self._end:
                self._first = self._end = 0
                if self._paused_reading and self._transport is not None and not self._ended:
                    self._paused_reading = False
                    self._transport.resume_reading()
            return count
        if self._ended:
            if self._error is not None:
                raise ConnectionResetError(str(self._error)) from self._error
            return 0
        self._target = view
        self._reader = self._loop.create_future()
        try:
            count = await self._wait(self._reader)
        finally:
            self._target = None
            self._reader = None
        if not count and self._error is not None:
            raise ConnectionResetError(str(self._error)) from self._error
        return count

    async def wait_readable(self, seconds: float) -> bool:
        if self._end == self._first and not self._ended:
            self._signal = self._loop.create_future()
            await asyncio.wait([self._signal], timeout=seconds)
        return self._end > self._first or self._ended

    async def _wait(self, future: asyncio.Future[T]) -> T:
        timer = self._loop.call_later(self._timeout, self._expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    def _expire(self, future: asyncio.Future[T]) -> None:
        if not future.done():
            self._target = None
            future.set_exception(TimeoutError(f"no answer within {self._timeout:g} s"))

    def is_idle(self) -> bool:
        closing = self._transport is None or self._transport.is_closing()
        return not closing and not self._ended and self._end == self._first

    def close(self) -> None:
        self._ended = True
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


class LoopBackend:
    """A backend.Backend for the running loop."""

    async def connect(
        self, target: Target, tls: ssl.SSLContext | None, timeout: float
    ) -> LoopStream:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(min(timeout, CONNECT_SECONDS_MAX)):
            _, stream = await loop.create_connection(
                lambda: LoopStream(timeout), target.host, target.port, ssl=tls
            )
        return stream

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)

    async def each(
        self,
        pull: Callable[[], Awaitable[T | None]],
        work: Callable[[T], Awaitable[None]],
        limit: int,
    ) -> None:
        # as many workers as work is there for; only one pulls at a time
        turn = asyncio.Lock()
        ended = False

        async def worker() -> None:
            nonlocal ended
            while True:
                async with turn:
                    item = None if ended else await pull()
                    if item is None:
                        ended = True
                        return
                try:
                    await work(item)
                except BaseException:
                    ended = True
                    raise

        tasks = [asyncio.ensure_future(worker()) for _ in range(limit)]
        try:
            done, _ = await asyncio.wait(tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        for task in done:
            error = task.exception()
            if error is not None:
                raise error
