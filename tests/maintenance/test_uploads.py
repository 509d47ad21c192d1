"""Forgotten multipart uploads go, those in use stay, whatever else happens in that moment."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import pytest

from holdfast.maintenance import uploads
from holdfast.maintenance.collector import Collector
from holdfast.maintenance.rounds import Round, run_rounds
from holdfast.maintenance.uploads import UploadExpiry
from holdfast.meta.commands import (
    AbortUpload,
    CompleteUpload,
    CreateUpload,
    PartPut,
    PutPart,
    StoredContent,
    UploadCreated,
)
from holdfast.meta.contract import MetaUnavailable
from tests.maintenance.stores import OWNER, Stores, in_stores
from tests.maintenance.test_collector import DATA, GRACE_SECONDS, Time

DAYS = 7
HOUR_SECONDS = 3600.0
EXPIRED_SECONDS = DAYS * 24 * HOUR_SECONDS


async def _initiate(stores: Stores, key: bytes) -> int:
    bucket = await stores.bucket("one")
    made = await stores.submit(CreateUpload(bucket.id, key, b"token678", OWNER))
    assert isinstance(made, UploadCreated)
    return made.upload_id


async def _put_part(stores: Stores, upload_id: int, number: int) -> PartPut:
    data = DATA + b"%d %d" % (upload_id, number)
    address = await stores.publish("one", data)
    content = StoredContent(address.sha256, address.n, len(data), int(time.time() * 1000))
    bucket_id = stores.buckets["one"].id
    command = PutPart(bucket_id, upload_id, number, len(data), "0" * 32, content)
    result = await stores.submit(command)
    assert isinstance(result, PartPut)
    return result


async def _left(stores: Stores) -> list[int]:
    return [one.id for one in await stores.meta.expired_uploads(1 << 60, 1000)]


def test_a_forgotten_upload_goes_with_its_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "holdfast")

    async def work(stores: Stores) -> None:
        clock = Time()
        expiry = UploadExpiry(stores.meta, days=DAYS, now=clock)
        upload = await _initiate(stores, b"forgotten")
        for number in (1, 2, 3):
            await _put_part(stores, upload, number)
        await _initiate(stores, b"without parts")
        clock.ahead_seconds = EXPIRED_SECONDS - HOUR_SECONDS
        assert await expiry.run_once() == 0
        assert len(await _left(stores)) == 2
        assert not caplog.records
        clock.ahead_seconds = EXPIRED_SECONDS + HOUR_SECONDS
        assert await expiry.run_once() == 2
        assert await _left(stores) == []
        assert "aborted 2 multipart uploads" in caplog.text
        clock.ahead_seconds += 2 * GRACE_SECONDS
        collector = Collector(stores.meta, stores.blobs, grace_seconds=GRACE_SECONDS, now=clock)
        report = await collector.run_once()
        assert (report.parts, report.blobs) == (3, 3)
        stores.blobs.release()  # seals its segment, so that it goes too
        files = [name for _, _, names in os.walk(tmp_path / "data" / "buckets") for name in names]
        assert files == []

    in_stores(tmp_path / "data", work)


def test_an_upload_that_goes_on_stays(tmp_path: Path) -> None:
    """Also where the part comes between the look and the abort: the committer decides."""

    async def work(stores: Stores) -> None:
        ids = [await _initiate(stores, b"%d" % n) for n in range(2 * uploads.UPLOADS_SLICE + 1)]
        await asyncio.sleep(0.005)
        looked_at = time.time()
        used = ids[:: uploads.UPLOADS_SLICE]
        for upload_id in used:
            await _put_part(stores, upload_id, 1)
        now = looked_at + EXPIRED_SECONDS
        expiry = UploadExpiry(stores.meta, days=DAYS, now=lambda: now)
        # those in use are on every page, and hold up none
        assert await expiry.run_once() == len(ids) - len(used)
        assert await _left(stores) == used

    in_stores(tmp_path / "data", work)


def test_a_complete_that_comes_first_wins(tmp_path: Path) -> None:
    async def work(stores: Stores) -> None:
        upload = await _initiate(stores, b"key")
        part = (await _put_part(stores, upload, 1)).part
        bucket = stores.buckets["one"]
        complete = CompleteUpload(bucket.id, upload, [(1, part.seq)], part.size, "etag-1")
        abort = AbortUpload(bucket.id, upload, int(time.time() * 1000) + 60_000)
        results = await stores.meta.submit_all([complete, abort])
        assert [type(result).__name__ for result in results] == ["ObjectPut", "Refused"]
        found = await stores.meta.find(bucket.id, b"key")
        assert found is not None
        assert found.version.size == part.size
        assert [one.seq for one in await stores.meta.parts(upload)] == [part.seq]

    in_stores(tmp_path / "data", work)


def test_rounds_outlive_faults(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        faults: list[Exception] = [MetaUnavailable("away"), RuntimeError("a fault of ours")]
        stop = asyncio.Event()

        async def one() -> None:
            if not faults:
                stop.set()
                return
            raise faults.pop(0)

        await run_rounds((Round("expiry", one, 0.0, 0.001),), stop)

    asyncio.run(work())
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
