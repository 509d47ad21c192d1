"""The conformance suite of every BlobStore.

An implementation joins by a subclass with a fixture `store`; see tests/blobs/test_conformance.py.
It runs on bare coroutines as well as in tasks: the store may not need a current task.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import zlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from awscrt import checksums

from holdfast.blobs.contract import BlobAddress, BlobMissing, BlobStore, Staged

T = TypeVar("T")

#: sizes around the alignments and buffer sizes that implementations are likely to have
EDGES_BYTES = [
    edge + around
    for edge in (0, 4096, 8192, 64 * 1024, 128 * 1024, 512 * 1024, 3 * 512 * 1024, 1024 * 1024)
    for around in (-1, 0, 1)
    if edge + around >= 0
]
BUCKET = "bucket-1"


def pattern(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes in which no two stretches are alike, so that any swap or loss shows."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size_bytes)


class BytesSource:
    """`data`, in one go; or, with `pause`, letting others run before each `fill` returns."""

    def __init__(self, data: bytes, pause: float | None = None) -> None:
        self._data = memoryview(data)
        self._pause = pause

    async def fill(self, view: memoryview) -> int:
        piece = self._data[: len(view)]
        half = len(piece) // 2
        view[:half] = piece[:half]
        if self._pause is not None:
            await asyncio.sleep(self._pause)
        view[half : len(piece)] = piece[half:]
        self._data = self._data[len(piece) :]
        return len(piece)


class SourceFailure(Exception):
    """What a failing source raises."""


class FailingSource(BytesSource):
    """Gives `data`, then raises SourceFailure where the end would be."""

    async def fill(self, view: memoryview) -> int:
        count = await super().fill(view)
        if count < len(view):
            raise SourceFailure
        return count


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run in a loop of its own, without a Task, as the HTTP connection drives its handler."""
    loop = asyncio.new_event_loop()
    done: asyncio.Future[T] = loop.create_future()

    def step(answer: asyncio.Future[Any] | None = None) -> None:
        try:
            waited = work.send(None)
        except StopIteration as stop:
            done.set_result(stop.value)
        except BaseException as error:  # noqa: BLE001 - `done` raises it again
            done.set_exception(error)
        else:
            if waited is None:
                loop.call_soon(step)
            else:
                waited._asyncio_future_blocking = False
                waited.add_done_callback(step)

    loop.call_soon(step)
    try:
        return loop.run_until_complete(done)
    finally:
        loop.close()


async def put(
    store: BlobStore, data: bytes, bucket_dir: str = BUCKET, algorithms: tuple[str, ...] = ()
) -> BlobAddress:
    staged = await store.stage(BytesSource(data), len(data), algorithms)
    return await staged.publish(bucket_dir)


async def get(store: BlobStore, address: BlobAddress) -> bytes:
    blob = await store.open(address)
    try:
        data = bytearray()
        while left := blob.size - len(data):
            piece = os.pread(blob.fd, min(left, 1 << 20), blob.offset + len(data))
            assert piece, "the file is shorter than the blob"
            data += piece
        return bytes(data)
    finally:
        blob.close()


async def swept(store: BlobStore, older_than_seconds: float = -60) -> list[tuple[BlobAddress, int]]:
    return [found async for found in store.sweep(older_than_seconds)]


class BlobStoreSuite:
    def test_what_goes_in_comes_out(self, store: BlobStore) -> None:
        async def work(size: int) -> None:
            data = pattern(size)
            for announced in (size, None, 7):
                staged = await store.stage(BytesSource(data), announced)
                assert staged.size == size
                assert staged.md5 == hashlib.md5(data).digest()
                assert staged.sha256 == hashlib.sha256(data).digest()
                assert staged.checksums == {}
                address = await staged.publish(BUCKET)
                assert address.bucket_dir == BUCKET
                assert address.sha256 == staged.sha256
                assert 0 <= address.n < 1 << 63
                assert await get(store, address) == data
                assert await store.verify(address)

        for size in EDGES_BYTES:
            run(work(size))

    @pytest.mark.parametrize("size", [0, 100_000, 2_000_000])
    def test_checksums(self, store: BlobStore, size: int) -> None:
        data = pattern(size)
        names = ("CRC32", "CRC32C", "CRC64NVME", "MD5", "SHA1", "SHA256", "SHA512")
        xxhashes = ("XXHASH64", "XXHASH3", "XXHASH128")

        async def work() -> Staged:
            staged = await store.stage(BytesSource(data), size, (*names, *xxhashes))
            await staged.discard()
            return staged

        assert run(work()).checksums == {
            "MD5": hashlib.md5(data).digest(),
            "SHA512": hashlib.sha512(data).digest(),
            "XXHASH64": checksums.XXHash.compute_xxhash64(data),
            "XXHASH3": checksums.XXHash.compute_xxhash3_64(data),
            "XXHASH128": checksums.XXHash.compute_xxhash3_128(data),
            "CRC32": zlib.crc32(data).to_bytes(4, "big"),
            "CRC32C": checksums.crc32c(data).to_bytes(4, "big"),
            "CRC64NVME": checksums.crc64nvme(data).to_bytes(8, "big"),
            "SHA1": hashlib.sha1(data).digest(),
            "SHA256": hashlib.sha256(data).digest(),
        }

    def test_an_unknown_checksum_is_refused(self, store: BlobStore) -> None:
        with pytest.raises(ValueError):
            run(store.stage(BytesSource(b"x"), 1, ("MD4",)))

    def test_identical_content_never_shares_an_address(self, store: BlobStore) -> None:
        data = pattern(700_000)

        async def work() -> None:
            addresses = await asyncio.gather(*(put(store, data) for _ in range(20)))
            assert len(set(addresses)) == 20
            for address in addresses[1:]:
                await store.remove(address)
            assert await get(store, addresses[0]) == data
            assert await swept(store) == [(addresses[0], len(data))]

        asyncio.run(work())

    def test_slow_sources_do_not_mix(self, store: BlobStore) -> None:
        sizes = [1, 5000, 200_000, 600_000, 1_500_000, 3_000_001]
        bodies = [pattern(size, seed) for seed, size in enumerate(sizes * 4)]

        async def one(data: bytes) -> None:
            staged = await store.stage(BytesSource(data, pause=0.001), None)
            await asyncio.sleep(0)
            address = await staged.publish(BUCKET)
            assert await get(store, address) == data
            assert await store.verify(address)

        async def work() -> None:
            await asyncio.gather(*(one(data) for data in bodies))

        asyncio.run(work())

    def test_a_failing_source_leaves_nothing(self, store: BlobStore) -> None:
        async def work() -> None:
            for size in (0, 10, 100_000, 524_287, 524_288, 3_000_000):
                with pytest.raises(SourceFailure):
                    await store.stage(FailingSource(pattern(size)), size + 1)
                assert await swept(store) == []
            assert await get(store, await put(store, b"still works")) == b"still works"

        run(work())

    @pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
    def test_discard_leaves_nothing(self, store: BlobStore, size: int) -> None:
        async def work() -> None:
            staged = await store.stage(BytesSource(pattern(size)), size)
            await staged.discard()
            assert await swept(store) == []

        run(work())

    @pytest.mark.parametrize("size", [10, 3_000_000])
    def test_a_staged_upload_is_published_once(self, store: BlobStore, size: int) -> None:
        async def work() -> None:
            staged = await store.stage(BytesSource(pattern(size)), size)
            address = await staged.publish(BUCKET)
            with pytest.raises(RuntimeError):
                await staged.publish(BUCKET)
            assert await store.verify(address)

        run(work())

    @pytest.mark.parametrize("size", [10, 600_000])
    def test_a_bucket_directory_is_one_plain_name(self, store: BlobStore, size: int) -> None:
        async def work(name: str) -> None:
            address = await put(store, pattern(size))
            staged = await store.stage(BytesSource(pattern(size)), size)
            with pytest.raises(ValueError):
                await staged.publish(name)
            for refused in (
                store.link(address, name),
                store.open(address._replace(bucket_dir=name)),
                store.remove(address._replace(bucket_dir=name)),
                store.remove_bucket(name),
            ):
                with pytest.raises(ValueError):
                    await refused
            assert await swept(store) == [(address, size)]
            await store.remove(address)

        for name in ("", ".", "..", "a/b", "../b", "a\0b", ".hidden"):
            run(work(name))

    def test_absent_blobs(self, store: BlobStore) -> None:
        async def work() -> None:
            address = await put(store, b"here")
            for absent in (
                address._replace(n=address.n ^ 1),
                address._replace(bucket_dir="other-2"),
                address._replace(sha256=bytes(32)),
            ):
                with pytest.raises(BlobMissing):
                    await store.open(absent)
                with pytest.raises(BlobMissing):
                    await store.verify(absent)
                with pytest.raises(BlobMissing):
                    await store.link(absent, "third-3")
                await store.remove(absent)
            await store.remove_bucket("other-2")
            assert await get(store, address) == b"here"

        run(work())

    @pytest.mark.parametrize("size", [10, 3_000_000])
    def test_removal(self, store: BlobStore, size: int) -> None:
        same = pattern(size)

        async def work() -> None:
            first = await put(store, same)
            second = await put(store, same)
            blob = await store.open(first)
            await store.remove(first)
            await store.remove(first)
            if not blob.needs_lease:
                assert os.pread(blob.fd, size, blob.offset) == same
            blob.close()
            blob.close()
            with pytest.raises(BlobMissing):
                await store.open(first)
            assert await get(store, second) == same
            await store.remove(second)
            assert await get(store, await put(store, same)) == same

        run(work())

    @pytest.mark.parametrize("size", [10, 600_000])
    def test_a_link_stands_for_itself(self, store: BlobStore, size: int) -> None:
        data = pattern(size)

        async def work() -> None:
            first = await put(store, data)
            second = await store.link(first, "other-2")
            third = await store.link(second, "other-2")
            assert (second.bucket_dir, second.sha256) == ("other-2", first.sha256)
            assert len({first, second, third}) == 3
            await store.remove(first)
            await store.remove(third)
            assert await get(store, second) == data
            assert await store.verify(second)

        run(work())

    def test_remove_bucket(self, store: BlobStore) -> None:
        async def work() -> None:
            kept = await put(store, b"kept", "other-2")
            gone = [await put(store, pattern(10, seed)) for seed in range(20)]
            await store.remove_bucket(BUCKET)
            await store.remove_bucket(BUCKET)
            for address in gone:
                with pytest.raises(BlobMissing):
                    await store.open(address)
            assert await swept(store) == [(kept, 4)]

        run(work())

    def test_sweep_finds_everything_that_is_old_enough(self, store: BlobStore) -> None:
        async def work() -> None:
            sizes = {}
            for seed in range(60):
                data = pattern(seed + 1, seed)
                sizes[await put(store, data, f"bucket-{seed % 3}")] = len(data)
            assert dict(await swept(store)) == sizes
            assert await swept(store, 3600) == []
            async for _ in store.sweep(-60):
                break  # giving up in the middle is allowed

        asyncio.run(work())

    def test_publish_and_remove_race_for_the_same_directories(self, store: BlobStore) -> None:
        async def worker(seed: int) -> None:
            for _ in range(40):
                address = await put(store, b"the same bytes, so the same directories")
                if seed % 2:
                    address, old = await store.link(address, BUCKET), address
                    await store.remove(old)
                assert (await get(store, address)).startswith(b"the same")
                await store.remove(address)

        async def work() -> None:
            await asyncio.gather(*(worker(seed) for seed in range(12)))
            assert await swept(store) == []

        asyncio.run(work())
