"""The asyncio side of the committer: sends commands, keeps them until answered, asks again.

Rule: a command keeps its number from the first try to its answer, so asking again never applies it
twice. All commands of one turn of the loop leave in one write. When the connection is lost, the
client connects again, with growing pauses, and sends what is unanswered in the old order; a command
older than ANSWER_SECONDS_MAX is given up (MetaUnavailable, outcome unknown), never sent again, and
its connection dropped, since the committer takes nothing from a connection that was closed.
Nothing here needs a running task; everything belongs to one loop.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import cast

from holdfast.meta.commands import Command, Result
from holdfast.meta.contract import MetaUnavailable
from holdfast.meta.sqlite.wire import (
    ANSWER_BYTES_MAX,
    ANSWER_HEAD,
    COMMAND_BYTES_MAX,
    COMMAND_HEAD,
    HELLO,
    SESSION_BYTES,
    Failed,
    command_encoder,
    decode_answer,
)

ANSWER_SECONDS_MAX = 10.0
CHECK_SECONDS = 0.5
IN_FLIGHT_COMMANDS_MAX = 4_096
IN_FLIGHT_BYTES_MAX = 16 << 20
RECONNECT_SECONDS_MIN = 0.01
RECONNECT_SECONDS_MAX = 0.5


class _Pending:
    """A command without an answer. `head` and `body` were sent and may be sent again."""

    __slots__ = ("body", "deadline_s", "future", "head")

    def __init__(
        self, future: asyncio.Future[Result], head: bytes, body: bytes, deadline_s: float
    ) -> None:
        self.future = future
        self.head = head
        self.body = body
        self.deadline_s = deadline_s


class CommitterClient(asyncio.Protocol):
    """`address`: the path of the committer's Unix socket. `start` and `close` inside the loop."""

    def __init__(self, address: str, *, answer_seconds_max: float = ANSWER_SECONDS_MAX) -> None:
        self._address = address
        self._answer_seconds_max = answer_seconds_max
        self._session = os.urandom(SESSION_BYTES)
        self._number = 0
        self._pending: dict[int, _Pending] = {}
        self._pending_bytes = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._outgoing: list[bytes] = []
        self._flush_planned = False
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._checking: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Connect in the background. Commands may be submitted at once."""
        self._loop = asyncio.get_running_loop()
        self._connect_soon()

    async def close(self) -> None:
        """Give up what is unanswered and disconnect."""
        self._closed = True
        if self._checking is not None:
            self._checking.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()
        for pending in list(self._pending.values()):
            _fail(pending.future, "the store was closed")
        self._pending.clear()
        while self._waiters:
            _fail(self._waiters.popleft(), "the store was closed")

    # -- submitting ----------------------------------------------------------------------------

    async def submit(self, command: Command) -> Result:
        """See MetaStore.submit."""
        if self._is_crowded:
            await self._wait_for_room()
        return await self.send(command)

    async def submit_all(self, commands: list[Command]) -> list[Result]:
        """See MetaStore.submit_all. Raises MetaUnavailable when any outcome stayed unknown."""
        futures = []
        for command in commands:
            if self._is_crowded:
                await self._wait_for_room()
            futures.append(self.send(command))
        results, failure = [], None
        for future in futures:
            try:
                results.append(await future)
            except MetaUnavailable as error:
                failure = error
        if failure is not None:
            raise failure
        return results

    def send(self, command: Command) -> asyncio.Future[Result]:
        """The result to come. Raises MetaUnavailable when closed, ValueError when too long."""
        if self._closed:
            raise MetaUnavailable("the store is closed")
        # Content is copied once, by the encoder: the frames are sent from where they lie.
        body = command_encoder.encode(command)
        length = len(body)
        if length > COMMAND_BYTES_MAX:
            raise ValueError(f"a command of {length} bytes")
        number = self._number = self._number + 1
        pending = self._pending
        acknowledged = next(iter(pending)) - 1 if pending else number - 1
        head = COMMAND_HEAD.pack(length, number, acknowledged)
        loop = self._loop
        future: asyncio.Future[Result] = loop.create_future()
        pending[number] = _Pending(future, head, body, loop.time() + self._answer_seconds_max)
        self._pending_bytes += length
        outgoing = self._outgoing
        outgoing.append(head)
        outgoing.append(body)
        if not self._flush_planned:
            self._flush_planned = True
            loop.call_soon(self._flush)
        return future

    @property
    def _is_crowded(self) -> bool:
        return (
            len(self._pending) >= IN_FLIGHT_COMMANDS_MAX
            or self._pending_bytes >= IN_FLIGHT_BYTES_MAX
            or bool(self._waiters)
        )

    async def _wait_for_room(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _let_in(self) -> None:
        """Wake as many waiters as there is room for commands; each is one command."""
        room = IN_FLIGHT_COMMANDS_MAX - len(self._pending)
        while self._waiters and room > 0 and self._pending_bytes < IN_FLIGHT_BYTES_MAX:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                room -= 1

    def _flush(self) -> None:
        self._flush_planned = False
        outgoing, self._outgoing = self._outgoing, []
        # Without a connection the frames wait in `pending`, and are sent when there is one.
        if self._transport is not None:
            self._transport.writelines(outgoing)
        if self._checking is None:
            self._checking = self._loop.call_later(CHECK_SECONDS, self._check)

    # -- answers -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        received = self._received
        if received:
            received += data
            frames: bytes | bytearray = received
        else:
            frames = data
        at, end, head = 0, len(frames), ANSWER_HEAD.size
        view = memoryview(frames)
        while end - at >= head:
            length, number = ANSWER_HEAD.unpack_from(view, at)
            if length > ANSWER_BYTES_MAX:
                raise ValueError(f"an answer of {length} bytes")  # the loop drops the connection
            body = at + head
            if end - body < length:
                break
            at = body + length
            self._settle(number, view[body:at])
        rest = bytes(view[at:])
        view.release()
        self._received = bytearray(rest)
        if self._waiters:
            self._let_in()

    def _settle(self, number: int, packed: memoryview) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:
            return  # given up, or asked for twice
        self._pending_bytes -= len(pending.body)
        if pending.future.done():
            return  # nobody waits for it any more
        answer = decode_answer(packed)
        if isinstance(answer, Failed):
            pending.future.set_exception(MetaUnavailable(answer.reason))
        else:
            pending.future.set_result(answer)

    def _check(self) -> None:
        self._checking = None
        if self._give_up_old() and self._transport is not None:
            # What waits in the socket must not be applied later, behind a caller's next try.
            self._transport.abort()
        if (self._pending or self._waiters) and not self._closed:
            self._checking = self._loop.call_later(CHECK_SECONDS, self._check)

    def _give_up_old(self) -> bool:
        """Whether any command was too old. The oldest come first."""
        now_s = self._loop.time()
        before = len(self._pending)
        for number, pending in list(self._pending.items()):
            if pending.deadline_s > now_s:
                break
            del self._pending[number]
            self._pending_bytes -= len(pending.body)
            _fail(pending.future, f"no answer within {self._answer_seconds_max:g} s")
        if self._waiters:
            self._let_in()
        return len(self._pending) < before

    # -- the connection ------------------------------------------------------------------------

    def _connect_soon(self) -> None:
        if not self._closed and self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        pause_s = RECONNECT_SECONDS_MIN
        try:
            while True:
                try:
                    await self._loop.create_unix_connection(lambda: self, self._address)
                    return
                except OSError:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, RECONNECT_SECONDS_MAX)
        finally:
            self._connecting = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._received = bytearray()
        # What was not flushed yet is among the pending: it must not go out twice.
        self._outgoing = []
        self._give_up_old()
        frames = [HELLO, self._session]
        for pending in self._pending.values():
            frames += (pending.head, pending.body)
        self._transport.writelines(frames)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._closed:
            # One pause first: a committer that refuses us at once must not be asked in a circle.
            self._loop.call_later(RECONNECT_SECONDS_MIN, self._connect_soon)


def _fail(future: asyncio.Future[Result] | asyncio.Future[None], reason: str) -> None:
    if not future.done():
        future.set_exception(MetaUnavailable(reason))
