"""Invariant 1 over both stores together: whatever the database knows durably has its file durably.

The scenario runs once, with every file operation recorded, and a copy of the database as it is
after each commit (that a commit is durable when it is answered is proven in tests/meta). Then the
power is cut after each recorded step: the files are laid out as their syncs left them, the database
as its last commit left it, and both are opened and checked.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast.blobs import layout
from holdfast.meta.commands import Command, Result
from holdfast.meta.contract import MetaStore
from holdfast.testing.fileops import Disk, RecordingFileOps
from tests.crash.scenario import problems_after, steps
from tests.maintenance.stores import Stores, in_stores

COMMITTED, ACKNOWLEDGED = "committed", "acknowledged"
#: every so many steps the power is also cut in a way that keeps a random part of the unsynced
RANDOM_CUT_STRIDE = 5


class CopyingMeta:
    """The real store, and after each commit a copy of its database."""

    def __init__(
        self, meta: MetaStore, database: Path, copies: Path, ops: RecordingFileOps
    ) -> None:
        self._meta = meta
        self._database = database
        self._copies = copies
        self._ops = ops
        self._count = 0

    async def submit(self, command: Command) -> Result:
        result = await self._meta.submit(command)
        copy = self._copies / str(self._count)
        copy.mkdir(parents=True)
        for file in self._database.parent.glob(f"{self._database.name}*"):
            if not file.name.endswith(("-shm", "-committer")):
                shutil.copy(file, copy)
        self._ops.mark((COMMITTED, self._count))
        self._count += 1
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._meta, name)


def record(base: Path) -> RecordingFileOps:
    """Run the scenario once."""
    files = base / "files"
    files.mkdir()
    ops = RecordingFileOps(files)
    database = base / "data" / "meta" / "holdfast.db"

    async def work(stores: Stores) -> None:
        stores.meta = cast(MetaStore, CopyingMeta(stores.meta, database, base / "copies", ops))
        for number, step in enumerate(steps(), 1):
            await step.act(stores)
            ops.mark((ACKNOWLEDGED, number))

    in_stores(base / "data", work, ops, files / "store")
    return ops


def cuts(ops: RecordingFileOps) -> Iterator[tuple[Disk, int, int, random.Random | None]]:
    """(the disk, the last commit, steps acknowledged, what is left by chance) at each power cut.

    What is left when everything unsynced is lost changes only with a sync, what is owed only with a
    mark; in between, a random part of the unsynced is left.
    """
    disk = Disk(ops.base)
    commit, done = -1, 0
    for number, step in enumerate(ops.steps):
        if step.kind == "mark":
            what, value = cast(tuple[str, int], step.mark)
            if what == COMMITTED:
                commit = value
            else:
                done = value
        else:
            disk.apply(step)
        if commit < 0:
            continue
        if step.kind in ("sync", "mark"):
            yield disk, commit, done, None
        if number % RANDOM_CUT_STRIDE == 0:
            yield disk, commit, done, random.Random(number)


def check_all(ops: RecordingFileOps, base: Path) -> int:
    """How many power cuts were survived. Fails at the first that was not."""
    count = 0
    for disk, commit, done, chance in cuts(ops):
        into = base / "cut"
        (into / "data" / "meta").mkdir(parents=True)
        shutil.copy(base / "data" / "format.json", into / "data")
        for file in (base / "copies" / str(commit)).iterdir():
            shutil.copy(file, into / "data" / "meta")
        (into / "files").mkdir()
        disk.rebuild(into / "files", chance)

        async def work(stores: Stores, done: int = done) -> list[str]:
            return await problems_after(stores, done)

        problems = in_stores(into / "data", work, files=into / "files" / "store")
        assert not problems, f"power cut {count}, commit {commit}: {problems}"
        shutil.rmtree(into)
        count += 1
    return count


def test_what_is_committed_has_its_files(tmp_path: Path) -> None:
    assert check_all(record(tmp_path), tmp_path) > 60


def test_a_missing_directory_sync_would_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout.Directories, "sync_for", lambda self, path: None)
    ops = record(tmp_path)
    with pytest.raises((AssertionError, FileNotFoundError)):
        check_all(ops, tmp_path)
