"""Every command applies exactly once, however often and wherever the committer dies."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast.meta.commands import (
    BucketCreated,
    Conditions,
    CreateBucket,
    DeleteObject,
    InlineContent,
    ObjectDeleted,
    ObjectPut,
    PutObject,
    Refused,
    SetVersioning,
)
from holdfast.meta.contract import MetaUnavailable
from holdfast.meta.sqlite import sessions
from holdfast.meta.sqlite.committer import Committer
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.store import SqliteMetaStore
from tests.meta.raw import RawClient, frame
from tests.meta.running import OWNER, Running, listening, put, wait_for

ROOT = Path(__file__).resolve().parents[2]
KILLS = 18
WRITERS = 6
A, B = b"A" * 16, b"B" * 16


def put_new(bucket_id: int, key: bytes, data: bytes = b"x") -> PutObject:
    """A put that can't happen twice without being noticed."""
    return PutObject(
        bucket_id,
        key,
        len(data),
        "0" * 32,
        OWNER,
        InlineContent(data),
        conditions=Conditions(if_none_match="*"),
    )


def test_kills_of_a_real_process(tmp_path: Path) -> None:
    """Each put of a versioned bucket leaves one version; applied twice it would be refused."""
    listener = listening(tmp_path)
    counters = Counters.in_file(tmp_path / "counters")
    arguments = [tmp_path / "holdfast.db", listener.fileno(), tmp_path / "counters", 1, KILLS]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.meta.killing", *map(str, arguments)],
        pass_fds=[listener.fileno()],
        stdin=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        wait_for(lambda: counters.commits or process.poll() is not None)
        starts = asyncio.run(_write_under_kills(tmp_path, counters, process))
        assert starts >= KILLS
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
        listener.close()


async def _write_under_kills(
    directory: Path, counters: Counters, process: subprocess.Popen[bytes]
) -> int:
    stores = []
    for _ in range(2):
        store = SqliteMetaStore(directory / "holdfast.db", str(directory / "commit.sock"), counters)
        store.start()
        stores.append(store)
    created = await stores[0].submit(CreateBucket("bucket", OWNER, "us-east-1"))
    assert isinstance(created, BucketCreated)
    bucket_id = created.bucket.id
    await stores[0].submit(SetVersioning(bucket_id, "Enabled"))
    seqs: list[int] = []
    deleted = 0

    async def write(number: int) -> None:
        nonlocal deleted
        turn = 0
        # A committer that starts moves `config`; the two commands above moved it too.
        while counters.config < KILLS + 3 or turn < 20:
            turn += 1
            key = b"%d/%d" % (number, turn)
            result = await stores[number % 2].submit(put_new(bucket_id, key))
            assert isinstance(result, ObjectPut), result
            seqs.append(result.seq)
            if turn % 3 == 0:
                gone = await stores[number % 2].submit(DeleteObject(bucket_id, key, OWNER))
                assert isinstance(gone, ObjectDeleted)
                assert gone.marker_made
                deleted += 1
            assert process.poll() is None

    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    assert len(set(seqs)) == len(seqs)
    assert await stores[0].check() == []
    for store in stores:
        await store.close()
    connection = apsw.Connection(str(directory / "holdfast.db"), flags=apsw.SQLITE_OPEN_READONLY)
    kept: list[tuple[Any, ...]] = connection.execute(
        "SELECT seq FROM objects UNION ALL SELECT seq FROM versions WHERE delete_marker = 0"
    ).fetchall()
    markers = connection.execute("SELECT count(*) FROM versions WHERE delete_marker = 1").fetchall()
    connection.close()
    assert sorted(row[0] for row in kept) == sorted(seqs)
    assert markers == [(deleted,)]
    return counters.config - 2


class Crash(BaseException):
    """Stands for a SIGKILL, in a thread."""


class CrashesAfterCommit(Committer):
    """Ends without an answer right after the commit, while `armed`."""

    armed = False

    def _count(self) -> None:
        if type(self).armed:
            type(self).armed = False
            raise Crash
        super()._count()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    CrashesAfterCommit.armed = False
    with Running(tmp_path, CrashesAfterCommit) as running:
        yield running


def crash_with(running: Running, client: RawClient, frames: bytes) -> None:
    """The commands are committed, the committer dies, nothing is answered; a new one starts."""
    CrashesAfterCommit.armed = True
    client.send(frames)
    running.thread.join(30)
    assert isinstance(running.failure, Crash)
    running.start_committer()


def test_outcome_waits_for_a_client_that_comes_late(running: Running) -> None:
    bucket_id = running.create()
    a = RawClient(running.directory, A)
    crash_with(running, a, frame(1, put_new(bucket_id, b"a")) + frame(2, put_new(bucket_id, b"b")))
    assert a.is_hung_up()
    a.close()
    # Others commit in between, also through a second crash.
    for number in range(1, 4):
        other = RawClient(running.directory, B)
        crash_with(running, other, frame(number, put_new(bucket_id, b"other %d" % number)))
        other.close()
        running.run(running.meta.submit(put(bucket_id, b"more", b"x")))
    a = RawClient(running.directory, A)
    a.send(frame(1, put_new(bucket_id, b"a")) + frame(2, put_new(bucket_id, b"b")))
    a.send(frame(3, put_new(bucket_id, b"a")))
    first, second, third = a.answer(), a.answer(), a.answer()
    for number, (answered, result) in enumerate((first, second), 1):
        assert answered == number
        assert isinstance(result, ObjectPut), result
    assert third == (3, Refused("PreconditionFailed"))
    a.close()


def test_results_stay_until_acknowledged(running: Running) -> None:
    """Answers of an earlier commit can be lost as well: later commits must not drop them."""
    bucket_id = running.create()
    a = RawClient(running.directory, A)
    one = a.ask(1, put_new(bucket_id, b"a"))
    two = a.ask(2, put_new(bucket_id, b"b"))
    assert isinstance(one, ObjectPut)
    crash_with(running, a, frame(3, put_new(bucket_id, b"c"), 0))
    a.close()
    a = RawClient(running.directory, A)
    assert a.ask(1, put_new(bucket_id, b"a")) == one
    assert a.ask(2, put_new(bucket_id, b"b")) == two
    assert isinstance(a.ask(3, put_new(bucket_id, b"c")), ObjectPut)
    # Acknowledged ones are forgotten, so that the row stays small.
    a.ask(4, put_new(bucket_id, b"d"), acknowledged=3)
    crash_with(running, a, frame(5, put_new(bucket_id, b"e"), acknowledged=4))
    a.close()
    a = RawClient(running.directory, A)
    assert isinstance(a.ask(5, put_new(bucket_id, b"e"), acknowledged=4), ObjectPut)
    connection = apsw.Connection(str(running.path), flags=apsw.SQLITE_OPEN_READONLY)
    saved: list[tuple[Any, ...]]
    saved = connection.execute("SELECT results FROM outcomes WHERE session = ?", (A,)).fetchall()
    connection.close()
    assert len(saved[0][0]) < 60
    a.close()


def test_refusals_keep_their_place(running: Running) -> None:
    """A refused command that is asked again must not be decided behind a later one."""
    bucket_id = running.create()
    a = RawClient(running.directory, A)
    wants = PutObject(
        bucket_id, b"k", 0, "0" * 32, OWNER, InlineContent(b""), conditions=Conditions("*")
    )
    assert a.ask(1, wants) == Refused("NoSuchKey")
    crash_with(running, a, frame(2, put(bucket_id, b"k", b"x")))
    a.close()
    a = RawClient(running.directory, A)
    assert a.ask(1, wants) == Refused("NoSuchKey")
    assert isinstance(a.ask(2, put(bucket_id, b"k", b"x")), ObjectPut)
    a.close()


def test_command_sent_twice_in_one_batch(running: Running) -> None:
    bucket_id = running.create()
    a = RawClient(running.directory, A)
    a.send(frame(1, put_new(bucket_id, b"a")) * 2)
    assert a.answer() == a.answer()
    a.close()


def test_new_connection_takes_the_place_of_the_old(running: Running) -> None:
    bucket_id = running.create()
    old = RawClient(running.directory, A)
    one = old.ask(1, put_new(bucket_id, b"a"))
    new = RawClient(running.directory, A)
    assert new.ask(1, put_new(bucket_id, b"a")) == one
    assert old.is_hung_up()
    old.close()
    new.close()


def test_client_gives_up_and_never_asks_again(running: Running) -> None:
    bucket_id = running.create()
    running.stop_committer()
    store = running.open_store(answer_seconds_max=0.05)
    with pytest.raises(MetaUnavailable):
        running.run(store.submit(put_new(bucket_id, b"late")))
    running.start_committer()
    assert isinstance(running.run(store.submit(put_new(bucket_id, b"next"))), ObjectPut)
    assert running.run(store.find(bucket_id, b"late")) is None
    running.run(store.close())


def test_sessions_of_the_dead_are_forgotten(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket_id = running.create()
    for number in range(5):
        client = RawClient(running.directory, bytes([number]) * 16)
        client.ask(1, put_new(bucket_id, b"%d" % number))
        client.close()
    last = running.run(running.meta.submit(put(bucket_id, b"last", b"x")))
    assert isinstance(last, ObjectPut)
    monkeypatch.setattr(sessions, "SESSION_SECONDS_MAX", 0.0)
    connection = apsw.Connection(str(running.path), flags=apsw.SQLITE_OPEN_READONLY)

    def rows() -> list[tuple[object, ...]]:
        return connection.execute("SELECT last_seq FROM outcomes").fetchall()

    wait_for(lambda: len(rows()) == 1)
    assert rows() == [(last.seq,)]
    connection.close()


def test_sequence_goes_on_when_the_clock_does_not(tmp_path: Path) -> None:
    time_us = 5_000_000
    with Running(tmp_path, now_us=lambda: time_us) as running:
        bucket_id = running.create()
        seqs = []
        for turn in range(6):
            result = running.run(running.meta.submit(put(bucket_id, b"k", b"x")))
            assert isinstance(result, ObjectPut)
            seqs.append(result.seq)
            time_us -= 1_000_000
            if turn % 2:
                running.stop_committer()
                running.start_committer()
    assert seqs == list(range(5_000_000, 5_000_006))


def test_bad_clients_are_dropped(running: Running) -> None:
    bucket_id = running.create()
    assert _dropped(RawClient(running.directory, A, hello=b"HTTP"))
    long = RawClient(running.directory, A)
    long.send(b"\xff" * 64)
    assert _dropped(long)
    client = RawClient(running.directory, B)
    nonsense = frame(1, put(bucket_id, b"k", b"x"))[:20] + b"\xc1" * 8
    client.send(nonsense[:4].replace(nonsense[:4], (8).to_bytes(4, "little")) + nonsense[4:])
    number, answer = client.answer()
    assert (number, type(answer).__name__) == (1, "Failed")
    assert isinstance(client.ask(2, put(bucket_id, b"k", b"x")), ObjectPut)
    client.close()


def _dropped(client: RawClient) -> bool:
    try:
        return client.is_hung_up()
    finally:
        client.close()


def test_stop_is_safe_from_anywhere(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        threads = [threading.Thread(target=running.committer.stop) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        running.thread.join(30)
        running.committer.stop()
        running.start_committer()
