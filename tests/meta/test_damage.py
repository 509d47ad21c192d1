"""A damaged file is told from a healthy one: by `check`, and by `holdfast fsck` at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from holdfast.config import load
from holdfast.meta.commands import Command
from holdfast.meta.contract import DAMAGED
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.reader import SqliteReader
from holdfast.meta.sqlite.schema import PAGE_BYTES
from holdfast.server.metadata import COMMITTER_START_SECONDS_MAX
from holdfast.server.offline import check
from tests.maintenance.stores import Stores, in_stores
from tests.meta.running import Running, put

Harm = Callable[[Path], None]


def overwrite(path: Path, start: int, end: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * (end - start))


def header(path: Path) -> None:
    overwrite(path, 0, 100)


def pages(path: Path) -> None:
    """All but the first, which holds the header and the schema's root."""
    overwrite(path, PAGE_BYTES, path.stat().st_size)


def last_pages(path: Path) -> None:
    size = path.stat().st_size
    overwrite(path, size // 2, size)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // PAGE_BYTES * PAGE_BYTES)


HARMS: list[Harm] = [header, pages, last_pages, cut]


@pytest.mark.parametrize("harm", HARMS[1:])
def test_check_finds_damaged_pages(tmp_path: Path, harm: Harm) -> None:
    with Running(tmp_path) as running:
        bucket_id = running.create()
        commands: list[Command] = [put(bucket_id, b"%d" % i, b"x" * 3000) for i in range(200)]
        running.run(running.meta.submit_all(commands))
        assert running.run(running.meta.check()) == []
    empty_wal(running.path)
    counters = Counters.anonymous()
    reader = SqliteReader(running.path, counters)
    harm(running.path)
    problems = asyncio.run(reader.check())
    assert problems
    assert {problem.kind for problem in problems} == {DAMAGED}
    assert not any(problem.repairable for problem in problems)
    reader.close_reader()
    counters.close()


def make(data: Path) -> Path:
    async def work(stores: Stores) -> None:
        for number in range(50):
            await stores.put("one", b"%d" % number, b"%d" % number * 40_000)

    in_stores(data, work)
    database = data / "meta" / "holdfast.db"
    empty_wal(database)
    return database


def empty_wal(database: Path) -> None:
    """Else its pages would stand for those of the file."""
    connection = apsw.Connection(str(database))
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # takes part in the WAL
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()


@pytest.mark.parametrize("harm", HARMS)
def test_fsck_reports_a_damaged_database_at_once(tmp_path: Path, harm: Harm) -> None:
    data = tmp_path / "data"
    harm(make(data))
    settings = load({"data": str(data)}, environ={}).settings
    started = time.monotonic()
    report = asyncio.run(check(settings, content=True, reclaim=True))
    assert time.monotonic() - started < COMMITTER_START_SECONDS_MAX, "it waited for the committer"
    assert report.exit_code == 1
    assert DAMAGED in report.damage[0]
    assert "content was not checked" in report.lines()[0]
    assert report.reclaimed is None
    assert report.as_dict()["metadata_unreadable"]


def fsck(data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "holdfast", "fsck", str(data), "--reclaim"]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_the_command(tmp_path: Path) -> None:
    """Damage is told on standard output, and the status is 1; what is no check at all is status 2."""
    data = tmp_path / "data"
    database = make(data)
    header(database)
    found = fsck(data)
    assert (found.returncode, found.stderr) == (1, "")
    assert "DAMAGE metadata: damaged database: " in found.stdout
    database.unlink()
    other = apsw.Connection(str(database))
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    found = fsck(data)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == (
        "holdfast: the metadata can't be opened: the file is not Holdfast's metadata\n"
    )


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: os.truncate(path, 0)])
def test_content_without_its_database_is_not_taken_for_garbage(tmp_path: Path, harm: Harm) -> None:
    data = tmp_path / "data"
    database = make(data)
    files = sorted(path for path in (data / "buckets").rglob("*") if path.is_file())
    harm(database)
    found = fsck(data)
    assert found.returncode == 2
    assert found.stderr.endswith("holds content: restore it from a copy\n")
    assert sorted(path for path in (data / "buckets").rglob("*") if path.is_file()) == files
