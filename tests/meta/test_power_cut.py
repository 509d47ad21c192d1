"""What a power cut leaves: at every point of a recorded run the store opens, checks out clean, and
has everything that was acknowledged by then (invariants 1 and 2)."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.meta.commands import Command, DeleteObject, Refused
from holdfast.meta.sqlite.checkpointer import Checkpointer
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.reader import SqliteReader
from holdfast.meta.sqlite.schema import open_writer
from holdfast.testing.vfs import Mark, PowerCut, Recording, RecordingVFS, Write
from tests.meta.running import OWNER, Running, put

CUTS_MAX = 30
ROUNDS = 30
Expected = dict[bytes, set[bytes | None]]


@pytest.fixture
def recording() -> Iterator[tuple[Recording, str]]:
    recording = Recording()
    vfs = RecordingVFS("recording", recording)
    yield recording, "recording"
    vfs.unregister()


def record(directory: Path, recording: Recording, vfs: str, *, durable: bool) -> int:
    """Puts, overwrites and deletes, single and in batches, with checkpoints and WAL resets."""
    chosen = random.Random(7)
    with Running(directory, durable=durable, vfs=vfs, wal_bytes_max=300_000) as running:
        checkpointer = Checkpointer(running.path, running.counters, pages_step=20, vfs=vfs)
        bucket_id = running.create()
        recording.mark(("bucket", bucket_id))
        for turn in range(ROUNDS):
            commands: list[Command] = []
            values: dict[bytes, bytes | None] = {}
            for number in range(chosen.choice((1, 1, 5))):
                key = b"key %d" % chosen.randrange(20)
                if key in values:
                    continue
                value = None
                if chosen.random() < 0.8:
                    value = b"%d.%d " % (turn, number) * chosen.randrange(1, 1500)
                values[key] = value
                commands.append(
                    DeleteObject(bucket_id, key, OWNER)
                    if value is None
                    else put(bucket_id, key, value)
                )
            recording.mark(("submitted", values))
            results = running.run(running.meta.submit_all(commands))
            assert not any(isinstance(result, Refused) for result in results)
            recording.mark(("acknowledged", values))
            if checkpointer.is_due:
                checkpointer.checkpoint()
        checkpointer.close()
    return bucket_id


def restore(images: dict[str, bytes], directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, image in images.items():
        (directory / name).write_bytes(image)
    return directory / "holdfast.db"


def lost(path: Path, bucket_id: int, expected: Expected) -> list[str]:
    """What is wrong in the store that a power cut left."""
    open_writer(path).close()  # recovers, as the next committer does
    counters = Counters.anonymous()
    reader = SqliteReader(path, counters)

    async def look() -> list[str]:
        wrong = [str(problem) for problem in await reader.check()]
        for key, allowed in expected.items():
            found = await reader.find(bucket_id, key, with_data=True)
            if (found.data if found else None) not in allowed:
                wrong.append(f"{key!r} is {found!r:.200}")
        return wrong

    try:
        return asyncio.run(look())
    finally:
        reader.close_reader()
        counters.close()


def cuts(recording: Recording, bucket_id: int, directory: Path) -> list[str]:
    """The problems over at most CUTS_MAX points of the record, each with and without leftovers."""
    steps = recording.steps
    start = steps.index(Mark(("bucket", bucket_id)))
    chosen = random.Random(3)
    points = set(chosen.sample(range(start, len(steps)), min(CUTS_MAX, len(steps) - start)))
    cut, expected, problems = PowerCut(), Expected(), []
    for at, step in enumerate(steps):
        cut.play(step)
        if isinstance(step, Mark) and step.what[0] == "submitted":
            for key, value in step.what[1].items():
                expected.setdefault(key, {None}).add(value)
        elif isinstance(step, Mark) and step.what[0] == "acknowledged":
            for key, value in step.what[1].items():
                expected[key] = {value}
        if at in points:
            for kept in (None, chosen):
                path = restore(cut.images(kept), directory)
                problems += [f"at {at}: {one}" for one in lost(path, bucket_id, expected)]
    return problems


def test_power_cuts_lose_nothing(tmp_path: Path, recording: tuple[Recording, str]) -> None:
    bucket_id = record(tmp_path, *recording, durable=True)
    assert recording[0].syncs("-wal") >= ROUNDS
    assert recording[0].syncs(".db") > 3, "no checkpoint was recorded"
    zeros = [one for one in recording[0].steps if isinstance(one, Write) and not any(one.data)]
    assert any(one.name.endswith("-wal") for one in zeros), "the WAL had no tail of zeros"
    assert cuts(recording[0], bucket_id, tmp_path / "cut") == []


def test_the_test_sees_a_missing_sync(tmp_path: Path, recording: tuple[Recording, str]) -> None:
    """Without synced commits the very same run loses acknowledged writes."""
    bucket_id = record(tmp_path, *recording, durable=False)
    problems = cuts(recording[0], bucket_id, tmp_path / "cut")
    assert problems
    assert all("key" in problem for problem in problems), "relaxed, but never damaged"


def test_one_sync_for_a_batch(tmp_path: Path, recording: tuple[Recording, str]) -> None:
    """Commands that wait together are committed together."""
    record_, vfs = recording
    with Running(tmp_path, durable=True, vfs=vfs) as running:
        bucket_id = running.create()
        commits, syncs = running.counters.commits, record_.syncs("-wal")
        commands: list[Command] = [put(bucket_id, b"%d" % i, b"x" * 1000) for i in range(100)]
        running.run(running.meta.submit_all(commands))
        assert running.counters.commits == commits + 1
        assert record_.syncs("-wal") == syncs + 1
        # What changes nothing is not synced.
        running.run(running.meta.submit(DeleteObject(bucket_id, b"nothing", OWNER)))
        assert running.counters.commits == commits + 2
        assert record_.syncs("-wal") == syncs + 1
