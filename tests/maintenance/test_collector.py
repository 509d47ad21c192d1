"""Invariant 4: content goes when nothing refers to it and nothing can still read or adopt it, never
before; and what a crash leaves behind goes too."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path

from holdfast.blobs.contract import BlobAddress, BlobMissing
from holdfast.blobs.files import FileBlobStore
from holdfast.maintenance.collector import Collector, CollectorReport
from holdfast.maintenance.rounds import run_rounds
from holdfast.meta.commands import (
    AbortUpload,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    PutPart,
    StoredContent,
    UploadCreated,
)
from tests.maintenance.stores import OWNER, Stores, in_stores

GRACE_SECONDS = 1000.0
DATA = b"content" * 10_000


class Time:
    """A clock that tests move. Blobs go by the committer's own, so it begins at the present."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


def _collector(stores: Stores, clock: Time, oldest_read_ms: int = 0) -> Collector:
    return Collector(
        stores.meta,
        stores.blobs,
        grace_seconds=GRACE_SECONDS,
        now=clock,
        oldest_read_ms=lambda: oldest_read_ms,
    )


async def _is_there(stores: Stores, address: BlobAddress) -> bool:
    try:
        (await stores.blobs.open(address)).close()
    except BlobMissing:
        return False
    return True


async def _delete(stores: Stores, key: bytes) -> None:
    await stores.submit(DeleteObject(stores.buckets["one"].id, key, OWNER))


def test_a_going_blob_waits_for_the_grace_time(tmp_path: Path) -> None:
    async def work(stores: Stores) -> None:
        clock = Time()
        collector = _collector(stores, clock)
        address = await stores.put("one", b"key", DATA)
        await _delete(stores, b"key")
        clock.ahead_seconds = GRACE_SECONDS - 60
        assert not (await collector.run_once()).changed
        assert await _is_there(stores, address)
        clock.ahead_seconds = GRACE_SECONDS + 60
        report = await collector.run_once()
        assert (report.blobs, report.blob_bytes) == (1, len(DATA))
        assert not await _is_there(stores, address)
        assert not await stores.meta.has_blob(*address)
        assert not (await collector.run_once()).changed

    in_stores(tmp_path / "data", work)


def test_content_that_is_still_referred_to_stays(tmp_path: Path) -> None:
    async def work(stores: Stores) -> None:
        clock = Time()
        clock.ahead_seconds = 10 * GRACE_SECONDS
        address = await stores.put("one", b"first", DATA)
        await stores.put("one", b"second", DATA)
        await _delete(stores, b"first")
        collector = _collector(stores, clock)
        await collector.run_once()
        report = CollectorReport()
        await collector.sweep(report, older_than_seconds=-60)
        assert (report.files_swept, report.files_removed) == (1, 0)
        assert await _is_there(stores, address)

    in_stores(tmp_path / "data", work)


def test_a_read_under_way_holds_back_what_went_after_it_began(tmp_path: Path) -> None:
    async def work(stores: Stores) -> None:
        clock = Time()
        clock.ahead_seconds = 10 * GRACE_SECONDS
        address = await stores.put("one", b"key", DATA)
        read_began_ms = int(time.time() * 1000)
        await _delete(stores, b"key")
        assert not (await _collector(stores, clock, read_began_ms).run_once()).changed
        assert await _is_there(stores, address)
        later_ms = read_began_ms + 60_000
        assert (await _collector(stores, clock, later_ms).run_once()).blobs == 1

    in_stores(tmp_path / "data", work)


def test_a_file_without_row_goes_when_no_commit_can_adopt_it(tmp_path: Path) -> None:
    async def work(stores: Stores) -> None:
        collector = _collector(stores, Time())
        address = await stores.publish("one", DATA)
        assert (await collector.run_once()).files_removed == 0
        assert await _is_there(stores, address), "its commit may be on the way"
        report = CollectorReport()
        await collector.sweep(report, older_than_seconds=-60)
        assert (report.files_removed, report.file_bytes) == (1, len(DATA))
        assert not await _is_there(stores, address)

    in_stores(tmp_path / "data", work)


def test_aborted_uploads_and_deleted_buckets_leave_nothing(tmp_path: Path) -> None:
    async def work(stores: Stores) -> None:
        bucket = await stores.bucket("one")
        made = await stores.submit(CreateUpload(bucket.id, b"key", b"token678", OWNER))
        assert isinstance(made, UploadCreated)
        for number in (1, 2, 3):
            data = DATA + bytes([number])
            address = await stores.publish("one", data)
            content = StoredContent(address.sha256, address.n, len(data), int(time.time() * 1000))
            await stores.submit(
                PutPart(bucket.id, made.upload_id, number, len(data), "0" * 32, content)
            )
        await stores.submit(AbortUpload(bucket.id, made.upload_id))
        await stores.submit(DeleteBucket(bucket.id))
        clock = Time()
        clock.ahead_seconds = 2 * GRACE_SECONDS
        collector = _collector(stores, clock)
        report = await collector.run_once()
        assert (report.parts, report.blobs, report.directories) == (3, 3, 1)
        assert os.listdir(tmp_path / "data" / "buckets") == []
        assert not (await collector.run_once()).changed

    in_stores(tmp_path / "data", work)


class _Stubborn(FileBlobStore):
    """Refuses to remove one file, as a disk with a bad sector does."""

    refused: BlobAddress | None = None

    async def remove(self, address: BlobAddress) -> None:
        if address == self.refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        await super().remove(address)


def test_a_file_that_cannot_be_removed_holds_nothing_up(tmp_path: Path) -> None:
    async def work(stores: Stores) -> None:
        blobs = _Stubborn(tmp_path / "data")
        addresses = [await stores.put("one", b"%d" % n, DATA + bytes([n])) for n in range(4)]
        for n in range(4):
            await _delete(stores, b"%d" % n)
        blobs.refused = addresses[1]
        clock = Time()
        clock.ahead_seconds = 2 * GRACE_SECONDS
        collector = Collector(stores.meta, blobs, grace_seconds=GRACE_SECONDS, now=clock)
        report = await collector.run_once()
        assert report.blobs == 3
        assert report.failed >= 1
        assert [await _is_there(stores, a) for a in addresses] == [False, True, False, False]
        assert await stores.meta.has_blob(*addresses[1]), "its row must stay as long as its file"
        blobs.refused = None
        assert (await collector.run_once()).blobs == 1
        blobs.close()

    in_stores(tmp_path / "data", work)


def test_run_collects_by_itself_and_ends_when_told(tmp_path: Path) -> None:
    async def work(stores: Stores) -> None:
        address = await stores.put("one", b"key", DATA)
        await _delete(stores, b"key")
        stop = asyncio.Event()
        collector = Collector(stores.meta, stores.blobs, grace_seconds=0.0)
        running = asyncio.create_task(run_rounds(collector.rounds(), stop))
        while await _is_there(stores, address):
            assert not running.done()
            await asyncio.sleep(0.02)
        stop.set()
        await running

    in_stores(tmp_path / "data", work)
