"""A full disk refuses what needs room and goes on with the rest (invariant 8): on a real file
system of a few MiB where mounting is allowed, and with injected errors everywhere."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from holdfast.meta.commands import (
    Command,
    DeleteBucket,
    DeleteObject,
    Done,
    ObjectDeleted,
    ObjectPut,
    PutDocument,
    Refused,
)
from holdfast.meta.sqlite.committer import Committer, Waiting
from holdfast.meta.sqlite.reserve import ReserveFile
from tests.meta.running import OWNER, Running, put

FULL = Refused("DiskFull")
DATA = b"x" * 30_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def wait_until_put(running: Running, bucket_id: int, key: bytes) -> None:
    for _ in range(500):
        result = running.run(running.meta.submit(put(bucket_id, key, DATA)))
        if isinstance(result, ObjectPut):
            return
        running.run(asyncio.sleep(0.02))
    raise AssertionError("it did not recover")


def test_full_disk(small_disk: Path) -> None:
    reserve = ReserveFile(small_disk / "reserve", 2 << 20)
    with Running(small_disk, reserve=reserve, durable=True) as running:
        bucket_id = running.create()
        assert (small_disk / "reserve").exists()
        kept: list[bytes] = []
        while len(kept) < 2000:
            keys = [b"%d" % (len(kept) + i) for i in range(10)]
            commands: list[Command] = [put(bucket_id, key, DATA) for key in keys]
            results = running.run(running.meta.submit_all(commands))
            kept += [
                key for key, one in zip(keys, results, strict=True) if isinstance(one, ObjectPut)
            ]
            if FULL in results:
                break
        assert FULL in results
        assert len(kept) > 200
        assert not reserve.held
        # Everything that was acknowledged is there; reads, listings and deletes go on.
        page = running.run(running.meta.list_objects(bucket_id, b"", b"", b"", 3000))
        assert sorted(entry.key for entry in page.entries) == sorted(kept)
        for key in kept[::20]:
            found = running.run(running.meta.find(bucket_id, key, with_data=True))
            assert found is not None
            assert found.data == DATA
        deletes: list[Command] = [DeleteObject(bucket_id, key, OWNER) for key in kept]
        for start in range(0, len(deletes), 50):
            results = running.run(running.meta.submit_all(deletes[start : start + 50]))
            assert [one for one in results if not isinstance(one, ObjectDeleted)] == []
        wait_until_put(running, bucket_id, b"again")
        assert (small_disk / "reserve").stat().st_size == 2 << 20
        assert running.run(running.meta.check()) == []


def test_what_the_wal_has_is_copied_while_the_reserve_is_enough_for_it(small_disk: Path) -> None:
    """The WAL's file is kept, so commits find room in it when the database can't grow any more."""
    reserve = ReserveFile(small_disk / "reserve", 2 << 20)
    with Running(small_disk, reserve=reserve, durable=True) as running:
        bucket_id = running.create()
        long = put(bucket_id, b"long", bytes(3 << 20))  # one transaction: a long WAL
        assert isinstance(running.run(running.meta.submit(long)), ObjectPut)
        assert (small_disk / "holdfast.db-wal").stat().st_size > 3 << 20
        with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        kept: list[bytes] = []
        for number in range(1000, 2000):
            key = b"%d" % number
            if running.run(running.meta.submit(put(bucket_id, key, DATA))) == FULL:
                break
            kept.append(key)
        assert len(kept) < 900
        for key in kept:
            deleted = running.run(running.meta.submit(DeleteObject(bucket_id, key, OWNER)))
            assert isinstance(deleted, ObjectDeleted)
        (small_disk / "ballast").unlink()
        wait_until_put(running, bucket_id, b"again")
        assert running.run(running.meta.check()) == []


class NoRoom(Committer):
    """Has no room for transactions that change something, until `room` of them have failed."""

    failures: int = 0
    error: type[apsw.Error] = apsw.FullError

    def _decide(self, batch: list[Waiting], decided: list[Waiting], *, full: bool) -> bool:
        self._changed = super()._decide(batch, decided, full=full)
        return self._changed

    def _end(self) -> None:
        if NoRoom.failures and self._changed:
            NoRoom.failures -= 1
            raise NoRoom.error("injected")
        super()._end()


def test_what_needs_room_is_refused_and_the_rest_done(tmp_path: Path) -> None:
    reserve = ReserveFile(tmp_path / "reserve", 1 << 20)
    with Running(tmp_path, NoRoom, reserve=reserve) as running:
        bucket_id = running.create()
        other = running.create("other")
        running.run(running.meta.submit(put(bucket_id, b"old", DATA)))
        NoRoom.failures = 1
        commands: list[Command] = [
            put(bucket_id, b"new", DATA),
            DeleteObject(bucket_id, b"old", OWNER),
            PutDocument(bucket_id, "cors", b"x"),
            PutDocument(bucket_id, "cors", None),
            DeleteBucket(other),
        ]
        results = running.run(running.meta.submit_all(commands))
        assert [type(one) for one in results] == [Refused, ObjectDeleted, Refused, Done, Done]
        assert not (tmp_path / "reserve").exists()
        wait_until_put(running, bucket_id, b"new")
        assert (tmp_path / "reserve").stat().st_size == 1 << 20


def test_no_room_even_with_the_reserve(tmp_path: Path) -> None:
    with Running(tmp_path, NoRoom) as running:
        bucket_id = running.create()
        running.run(running.meta.submit(put(bucket_id, b"old", DATA)))
        NoRoom.failures = 2
        deleted = running.run(running.meta.submit(DeleteObject(bucket_id, b"old", OWNER)))
        assert deleted == FULL
        assert running.run(running.meta.find(bucket_id, b"old")) is not None
        deleted = running.run(running.meta.submit(DeleteObject(bucket_id, b"old", OWNER)))
        assert isinstance(deleted, ObjectDeleted)
        wait_until_put(running, bucket_id, b"new")


def test_a_failing_disk_ends_the_committer_and_the_next_goes_on(tmp_path: Path) -> None:
    with Running(tmp_path, NoRoom) as running:
        bucket_id = running.create()
        NoRoom.failures, NoRoom.error = 1, apsw.IOError
        try:
            submitted = running.loop.create_task(running.meta.submit(put(bucket_id, b"k", DATA)))
            running.run(asyncio.sleep(0.05))
            running.thread.join(30)
            assert isinstance(running.failure, apsw.IOError)
            running.start_committer()
            assert isinstance(running.loop.run_until_complete(submitted), ObjectPut)
        finally:
            NoRoom.failures, NoRoom.error = 0, apsw.FullError


class Poisoned(Committer):
    """Fails on the key `poison` when its effects are applied, after some of them."""

    def _decide(self, batch: list[Waiting], decided: list[Waiting], *, full: bool) -> bool:
        changed = super()._decide(batch, decided, full=full)
        if any(getattr(one.command, "key", b"") == b"poison" for one in batch):
            raise RuntimeError("injected")
        return changed


def test_a_command_that_fails_does_not_take_others_with_it(tmp_path: Path) -> None:
    with Running(tmp_path, Poisoned) as running:
        bucket_id = running.create()
        keys = [b"a", b"poison", b"b"]
        commands: list[Command] = [put(bucket_id, key, b"x") for key in keys]
        commits = running.counters.commits
        results = running.run(_gathered(running, commands))
        assert [type(one) for one in results[::2]] == [ObjectPut, ObjectPut]
        assert "injected" in str(results[1])
        assert running.counters.commits == commits + 2
        page = running.run(running.meta.list_objects(bucket_id, b"", b"", b"", 10))
        assert [entry.key for entry in page.entries] == [b"a", b"b"]
        # A command that no caller may send is answered as well.
        wrong = put(bucket_id, b"c", b"x")
        wrong = msgspec.structs.replace(wrong, size=99)
        (answer,) = running.run(_gathered(running, [wrong]))
        assert "not as long" in str(answer)


async def _gathered(running: Running, commands: list[Command]) -> list[Any]:
    work = [running.meta.submit(command) for command in commands]
    return await asyncio.gather(*work, return_exceptions=True)


def test_reserve_file(tmp_path: Path) -> None:
    reserve = ReserveFile(tmp_path / "reserve", 1 << 20)
    assert reserve.hold()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 20
    assert ReserveFile(tmp_path / "reserve", 1 << 20).hold()
    reserve.release()
    reserve.release()
    assert not reserve.held
    assert not (tmp_path / "reserve").exists()
    assert not ReserveFile(tmp_path / "reserve", 1 << 60).hold()
    assert not ReserveFile(tmp_path / "missing" / "reserve", 1).hold()
    assert ReserveFile(tmp_path / "reserve", 0).hold()
