"""Whoever reads a record of a segment holds a lease from before it is opened until it is sent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.blobs.contract import BlobAddress, BlobMissing
from holdfast.meta.records import Bucket, ObjectVersion
from holdfast.s3.call import Services
from holdfast.s3.leases import LEASE_MS_MAX, READ_MS_MAX, ReadLeases
from holdfast.s3.ops.read import ROW_AGE_MS_MAX, content_body
from holdfast.s3.part_lists import PartLayouts
from holdfast.server.leases import OldestReads
from holdfast.testing.blob_suite import BUCKET, put
from holdfast.testing.memory_blobs import MemoryBlobStore

NOW_SECONDS = 50.0
BEGUN_MS = 50_000 - ROW_AGE_MS_MAX


class Blobs(MemoryBlobStore):
    """Notes what was told of leases when a blob was opened. `record`: as if in a segment."""

    def __init__(self, told: list[int]) -> None:
        super().__init__()
        self.told = told
        self.at_open: list[int] = []
        self.record = False

    async def open(self, address: BlobAddress) -> Any:
        self.at_open.append(self.told[-1] if self.told else 0)
        opened = await super().open(address)
        if self.record:
            return SimpleNamespace(
                fd=opened.fd, offset=4096, size=opened.size, needs_lease=True, close=opened.close
            )
        return opened


def _site(told: list[int]) -> tuple[Services, Blobs]:
    blobs = Blobs(told)
    services = SimpleNamespace(blobs=blobs, leases=ReadLeases(told.append), now=lambda: NOW_SECONDS)
    return cast(Services, services), blobs


def _version(address: BlobAddress, size: int) -> ObjectVersion:
    blob = SimpleNamespace(sha256=address.sha256, n=address.n)
    return cast(ObjectVersion, SimpleNamespace(blob=blob, size=size, key=b"key", parts_id=0))


@pytest.mark.parametrize("record", [False, True])
def test_a_record_holds_a_lease_until_it_is_closed(record: bool) -> None:
    told: list[int] = []
    services, blobs = _site(told)
    blobs.record = record
    bucket = cast(Bucket, SimpleNamespace(directory=BUCKET))

    async def work() -> None:
        address = await put(blobs, b"content")
        body = await content_body(services, bucket, _version(address, 7), 2, 5)
        assert blobs.at_open == [BEGUN_MS], "it began before the blob was opened"
        assert told == ([BEGUN_MS] if record else [BEGUN_MS, 0]), "a file needs it no more"
        (region,) = cast(Any, body.regions)
        assert region[1:] == ((4096 if record else 0) + 2, 5)
        body.close()
        assert told == [BEGUN_MS, 0]

        with pytest.raises(RuntimeError):
            await content_body(services, bucket, _version(address, 8), 0, 8)
        assert told[-1] == 0
        await blobs.remove(address)
        with pytest.raises(BlobMissing):
            await content_body(services, bucket, _version(address, 7), 0, 7)
        assert told[-1] == 0

    asyncio.run(work())


@pytest.mark.parametrize("late_ms", [-1, 1])
def test_a_read_that_takes_too_long_opens_no_further_part(late_ms: int) -> None:
    """Else it would find what the collector took away meanwhile."""
    told: list[int] = []
    services, blobs = _site(told)
    bucket = cast(Bucket, SimpleNamespace(directory=BUCKET))
    parts: list[Any] = []

    class Meta:
        async def parts(self, parts_id: int, after: int, limit: int) -> list[Any]:
            return parts

        async def part_sizes(self, parts_id: int) -> list[tuple[int, int]]:
            return [(1, 3), (2, 3)]

    async def work() -> int:
        for data in (b"one", b"two"):
            address = await put(blobs, data)
            blob = SimpleNamespace(sha256=address.sha256, n=address.n)
            parts.append(SimpleNamespace(blob=blob, size=3, number=len(parts) + 1))
        services.part_layouts = PartLayouts(cast(Any, Meta()))
        version = SimpleNamespace(blob=None, size=6, key=b"key", parts_id=1, parts_count=2)
        body = await content_body(services, bucket, cast(ObjectVersion, version), 0, 6)
        count = 0
        try:
            async for _ in cast(Any, body.regions):
                count += 1
                services.now = lambda: NOW_SECONDS + (READ_MS_MAX + late_ms) / 1000
        finally:
            body.close()
            assert told == [BEGUN_MS, 0]
        return count

    if late_ms < 0:
        assert asyncio.run(work()) == 2
    else:
        with pytest.raises(TimeoutError):
            asyncio.run(work())


def test_leases_count_for_a_while() -> None:
    reads = OldestReads(3)
    now_ms = LEASE_MS_MAX + 1000
    assert reads.oldest_ms(now_ms) == 0
    reads.publish(1, 2000)
    reads.publish(2, 3000)
    assert reads.oldest_ms(now_ms) == 2000
    assert reads.oldest_ms(now_ms + 1500) == 2500
    assert reads.oldest_ms(now_ms + 5000) == 6000
    reads.publish(1, 0)
    assert reads.oldest_ms(now_ms) == 3000
