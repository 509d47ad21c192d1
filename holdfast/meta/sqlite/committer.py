"""The only writer of the database: takes every command that waits, commits once, answers all.

A blocking loop without asyncio. One turn: read all sockets, then in one transaction decide and
apply the commands one after the other, and those that arrived meanwhile (they would else wait for
a whole commit), remember the results (sessions.py), commit, move the shared counters, answer. A
condition that fails is an answer like any other.
- A command that can't be applied must not take others with it: the transaction is rolled back and
  its commands are done again one by one.
- No room, for a commit or for copying the WAL: the reserve is given up, what needs room is refused
  (`DiskFull`), the rest done again.
- Any other fault of the disk ends the committer without an answer, because what is on the disk
  is unknown. The next one finds out: clients ask again, and results that reached it are there.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec

from holdfast.meta.commands import Command, Refused
from holdfast.meta.decide import decide, needs_room
from holdfast.meta.sqlite import wal
from holdfast.meta.sqlite.apply import Applier
from holdfast.meta.sqlite.connection import ClientConnection, ProtocolError
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.recent import begin_change, end_change, settle
from holdfast.meta.sqlite.reserve import ReserveFile
from holdfast.meta.sqlite.schema import open_writer
from holdfast.meta.sqlite.sessions import Session, Sessions
from holdfast.meta.sqlite.state import SqliteState
from holdfast.meta.sqlite.wire import Failed, decode_command, encode_answer
from holdfast.meta.state import GRACE_MS, Clock

RECEIVE_BYTES = 256 << 10
BATCH_COMMANDS_MAX = 512
BATCH_BYTES_MAX = 8 << 20
#: how often a transaction takes in what arrived while it was made
LATE_ROUNDS_MAX = 2
# A commit in which a page of an index was split walks over the whole table of the cache
# (sqlite3PcacheTruncate): with 32 MiB that was an eighth of the committer's time.
CACHE_BYTES_MAX = 4 << 20
HOUSEKEEPING_SECONDS = 1.0


class CommitterRunning(Exception):
    """Another committer has this database."""


class _NoRoom(Exception):
    """The disk has no room for the transaction; nothing of it happened."""


def _is_fatal(error: BaseException) -> bool:
    """Whether the database itself failed, and not one command."""
    of_command = (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError)
    return isinstance(error, apsw.Error) and not isinstance(error, of_command)


def _now_us() -> int:
    return time.time_ns() // 1000


class Waiting:
    """A command of a client, and its answer when there is one."""

    __slots__ = ("answer", "client", "command", "number", "session")

    def __init__(self, client: ClientConnection, session: Session, number: int) -> None:
        self.client = client
        self.session = session
        self.number = number
        self.command: Command | None = None
        self.answer: bytes | None = None


class Committer:
    """`listener`: a listening AF_UNIX stream socket, and stays the caller's. `run` blocks.

    `durable` False: commits are not synced (`durability = "relaxed"`). All connections to the
    database are made in `run`, so in the process and thread that runs it.
    """

    def __init__(
        self,
        path: Path,
        listener: socket.socket,
        counters: Counters,
        *,
        durable: bool = True,
        reserve: ReserveFile | None = None,
        wal_bytes_max: int = wal.WAL_BYTES_MAX,
        grace_ms: int = GRACE_MS,
        now_us: Callable[[], int] = _now_us,
        vfs: str | None = None,
    ) -> None:
        self._path = path
        self._listener = listener
        self._counters = counters
        self._durable = durable
        self._reserve = reserve or ReserveFile(path.parent / "reserve", 0)
        self._wal_bytes_max = wal_bytes_max
        self._vfs = vfs
        self._now_us = now_us
        self._clock = Clock(grace_ms=grace_ms)
        self._connection: apsw.Connection | None = None
        self._selector = selectors.DefaultSelector()
        # One for all connections: to allocate it anew takes longer than the system call.
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._clients: dict[bytes, ClientConnection] = {}
        self._ready: deque[ClientConnection] = deque()
        self._batch_bytes = 0  # of the commands in the batch that is being made
        self._stopping = False
        self._stop_receiver, self._stop_sender = socket.socketpair()

    def stop(self) -> None:
        """Ends `run` after the turn in progress. From any thread or a signal handler, any time."""
        try:
            self._stop_sender.send(b"x")
        except OSError:
            pass  # it has ended

    def run(self) -> None:
        """Raises SchemaError, CommitterRunning, or apsw.Error when the disk fails."""
        lock = os.open(f"{self._path}-committer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CommitterRunning(str(self._path)) from None
            self._open()
            while self._turn():
                pass
        finally:
            self._close()
            os.close(lock)

    def _open(self) -> None:
        self._reserve.hold()
        connection = open_writer(self._path, durable=self._durable, vfs=self._vfs)
        self._connection = connection
        connection.pragma("cache_size", -(CACHE_BYTES_MAX // 1024))
        # Beyond that a transaction waits in memory, not in the WAL: a full disk refuses it at its end,
        # where it is known what to do. A batch's bounds are the bounds of it.
        connection.pragma("cache_spill", 0)
        self._wal = wal.WalBound(
            connection,
            self._path,
            self._counters,
            self._wal_bytes_max,
            self._reserve.size_bytes,
            self._vfs,
        )
        self._run_sql = connection.cursor().execute
        self._state = SqliteState(connection)
        self._applier = Applier(connection, self._state)
        self._sessions = Sessions(connection, time.monotonic())
        self._clock.last_seq = self._sessions.last_seq
        self._housekeeping_at = time.monotonic() + HOUSEKEEPING_SECONDS
        settle(self._counters.marks)
        self._listener.setblocking(False)
        self._stop_receiver.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._stop_receiver, selectors.EVENT_READ, None)
        self._counters.move(config=True)

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, ClientConnection):
                key.data.close()
        self._selector.close()
        self._stop_receiver.close()
        self._stop_sender.close()
        if self._connection is not None:
            self._connection.close()

    # -- one turn ------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Whether to go on."""
        self._poll(0.0 if self._ready else max(0.0, self._housekeeping_at - time.monotonic()))
        batch: list[Waiting] = []
        self._batch_bytes = 0
        if self._gather(batch):
            self._process(batch)
        if time.monotonic() >= self._housekeeping_at:
            self._keep_house()
        return not self._stopping

    def _poll(self, wait_s: float) -> None:
        for key, events in self._selector.select(wait_s):
            client = key.data
            if client is not None:
                self._serve(client, events)
            elif key.fileobj is self._listener:
                self._accept()
            else:
                self._stopping = True

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.accept()
        except OSError:
            return  # it went away again, or there is no descriptor left: the next turn tries again
        client = ClientConnection(connected)
        self._selector.register(connected, selectors.EVENT_READ, client)

    def _serve(self, client: ClientConnection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and client.send():
                self._selector.modify(client.socket, selectors.EVENT_READ, client)
            if events & selectors.EVENT_READ and client.receive(self._buffer):
                self._greet(client)
                if not client.is_ready:
                    client.is_ready = True
                    self._ready.append(client)
        except (OSError, ProtocolError):
            self._drop(client)

    def _greet(self, client: ClientConnection) -> None:
        """Take the session's place from an older connection of the same session."""
        if client.session is not None or client.session_id is None:
            return
        older = self._clients.get(client.session_id)
        if older is not None:
            self._drop(older)
        self._clients[client.session_id] = client
        client.session = self._sessions.open(client.session_id)

    def _drop(self, client: ClientConnection) -> None:
        if client.is_closed:
            return
        self._selector.unregister(client.socket)
        client.close()
        if client.session is not None:
            client.session.gone_s = time.monotonic()
            del self._clients[client.session.id]

    def _gather(self, batch: list[Waiting]) -> list[Waiting]:
        """Add the commands that wait to `batch`, within its bounds and in turn over the clients.
        Returns what came new."""
        start = len(batch)
        while self._ready and self._has_place(batch):
            client = self._ready.popleft()
            client.is_ready = False
            session = client.session
            if client.is_closed or session is None:
                continue
            try:
                while (frame := client.next_command()) is not None:
                    number, acknowledged, body = frame
                    session.acknowledge(acknowledged)
                    waiting = Waiting(client, session, number)
                    try:
                        waiting.command = decode_command(body)
                    except msgspec.MsgspecError as error:
                        waiting.answer = encode_answer(number, Failed(f"not a command: {error}"))
                    batch.append(waiting)
                    self._batch_bytes += len(body)
                    if not self._has_place(batch):
                        client.is_ready = True
                        self._ready.append(client)
                        break
            except ProtocolError:
                self._drop(client)
        return batch[start:]

    def _has_place(self, batch: list[Waiting]) -> bool:
        return len(batch) < BATCH_COMMANDS_MAX and self._batch_bytes < BATCH_BYTES_MAX

    def _gather_late(self, batch: list[Waiting]) -> list[Waiting]:
        """What arrived while the transaction was made."""
        if self._has_place(batch):
            self._poll(0.0)
        return self._gather(batch)

    # -- the transaction -----------------------------------------------------------------------

    def _process(self, batch: list[Waiting]) -> None:
        try:
            self._commit(batch, full=not self._reserve.held, late_rounds=LATE_ROUNDS_MAX)
        except _NoRoom:
            self._make_room(batch)
        except Exception as error:
            if _is_fatal(error):
                raise
            for waiting in batch:
                self._process_alone(waiting)
        self._answer(batch)
        had_room = self._wal.keep_bounded(full=not self._reserve.held)
        if not had_room and self._reserve.held:
            self._give_up_reserve()

    def _process_alone(self, waiting: Waiting) -> None:
        try:
            self._commit([waiting], full=not self._reserve.held)
        except _NoRoom:
            self._make_room([waiting])
        except Exception as error:
            if _is_fatal(error):
                raise
            failed = Failed(f"{type(error).__name__}: {error}")
            waiting.answer = encode_answer(waiting.number, failed)

    def _make_room(self, batch: list[Waiting]) -> None:
        """Give up the reserve and do again what needs no room."""
        self._give_up_reserve()
        try:
            self._commit(batch, full=True)
        except _NoRoom:
            for waiting in batch:
                waiting.answer = encode_answer(waiting.number, Refused("DiskFull"))

    def _give_up_reserve(self) -> None:
        self._reserve.release()
        self._wal.reset()

    def _commit(self, batch: list[Waiting], *, full: bool, late_rounds: int = 0) -> None:
        """All of `batch`, and what is added to it in the late rounds, in one transaction; on any
        exception nothing of it happened."""
        self._clock.set(self._now_us())
        decided: list[Waiting] = []
        try:
            self._begin()
            changed = self._decide(batch, decided, full=full)
            for _ in range(late_rounds):
                late = self._gather_late(batch)
                if not late:
                    break
                changed = self._decide(late, decided, full=full) or changed
            if changed:
                self._sessions.save({one.session for one in decided}, self._clock.last_seq)
            begin_change(self._counters.marks, self._applier.touched)
            self._end()
        except BaseException as error:
            for waiting in decided:
                waiting.session.results.pop(waiting.number, None)
                waiting.answer = None
            self._state.buckets.clear()
            self._applier.config_changed = False
            if self._in_transaction():
                self._run_sql("ROLLBACK")
            no_room = wal.is_no_room(error)
            if no_room or not _is_fatal(error):
                self._end_change()
            # else it is unknown what is on the disk, and the next committer moves the marks
            if no_room:
                raise _NoRoom from error
            raise
        self._end_change()
        self._count()

    def _end_change(self) -> None:
        end_change(self._counters.marks, self._applier.touched)
        self._applier.touched.clear()

    def _begin(self) -> None:
        self._run_sql("BEGIN IMMEDIATE")

    def _decide(self, batch: list[Waiting], decided: list[Waiting], *, full: bool) -> bool:
        """Decide and apply; whether anything changed. `decided`: those whose result is new."""
        state, clock, apply = self._state, self._clock, self._applier.apply
        changed = False
        for waiting in batch:
            command = waiting.command
            if command is None:
                continue
            results = waiting.session.results
            known = results.get(waiting.number)
            if known is not None:
                waiting.answer = known
                continue
            if full and needs_room(command):
                waiting.answer = encode_answer(waiting.number, Refused("DiskFull"))
                continue
            result, effects = decide(command, state, clock)
            if effects:
                apply(effects)
                changed = True
            waiting.answer = encode_answer(waiting.number, result)
            results[waiting.number] = waiting.answer
            decided.append(waiting)
        return changed

    def _end(self) -> None:
        self._run_sql("COMMIT")

    def _in_transaction(self) -> bool:
        return self._connection is not None and self._connection.in_transaction

    def _count(self) -> None:
        self._counters.move(config=self._applier.config_changed)
        self._applier.config_changed = False

    def _answer(self, batch: list[Waiting]) -> None:
        answered: set[ClientConnection] = set()
        for waiting in batch:
            if waiting.answer is not None and not waiting.client.is_closed:
                waiting.client.queue(waiting.answer)
                answered.add(waiting.client)
        for client in answered:
            try:
                if not client.send():
                    both = selectors.EVENT_READ | selectors.EVENT_WRITE
                    self._selector.modify(client.socket, both, client)
            except (OSError, ProtocolError):
                self._drop(client)

    # -- now and then --------------------------------------------------------------------------

    def _keep_house(self) -> None:
        now_s = time.monotonic()
        self._housekeeping_at = now_s + HOUSEKEEPING_SECONDS
        if not self._reserve.hold():
            self._wal.shrink()
            self._reserve.hold()
        try:
            self._sessions.forget(now_s, self._clock.last_seq)
        except apsw.Error as error:
            if not wal.is_no_room(error):
                raise
