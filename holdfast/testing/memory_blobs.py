"""A blob store in memory: the contract and nothing else. For tests of what lies above it."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import AsyncIterator

from holdfast.blobs.contract import (
    BlobAddress,
    BlobMissing,
    DiskFull,
    OpenBlob,
    Source,
    Staged,
    new_blob_number,
)
from holdfast.blobs.digests import Digests
from holdfast.blobs.layout import check_bucket_dir

_PIECE_BYTES = 64 * 1024


class _OpenMemoryBlob:
    needs_lease = False

    def __init__(self, data: bytes) -> None:
        self.fd = os.memfd_create("blob", os.MFD_CLOEXEC)
        self.offset = 0
        self.size = len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class _StagedInMemory:
    def __init__(self, store: MemoryBlobStore, data: bytes, digests: Digests) -> None:
        self._store = store
        self._data = data
        self._ended = False
        self.size = len(data)
        self.md5 = digests.md5()
        self.sha256 = digests.sha256()
        self.checksums = digests.checksums()

    async def publish(self, bucket_dir: str) -> BlobAddress:
        if self._ended:
            raise RuntimeError("a staged upload is published or discarded once")
        self._ended = True
        return self._store.put(bucket_dir, self.sha256, self._data)

    async def discard(self) -> None:
        self._ended = True


class MemoryBlobStore:
    """`capacity_bytes` bounds all blobs together; beyond it uploads raise DiskFull."""

    def __init__(self, capacity_bytes: int = 1 << 40) -> None:
        self.capacity_bytes = capacity_bytes
        self.blobs: dict[BlobAddress, bytes] = {}
        self._written: dict[BlobAddress, float] = {}

    def put(self, bucket_dir: str, sha256: bytes, data: bytes) -> BlobAddress:
        check_bucket_dir(bucket_dir)
        self._check_room(len(data))
        address = BlobAddress(bucket_dir, sha256, new_blob_number())
        self.blobs[address] = data
        self._written[address] = time.time()
        return address

    def _check_room(self, size: int) -> None:
        if sum(map(len, self.blobs.values())) + size > self.capacity_bytes:
            raise DiskFull(errno.ENOSPC, "the store is full")

    def _get(self, address: BlobAddress) -> bytes:
        check_bucket_dir(address.bucket_dir)
        try:
            return self.blobs[address]
        except KeyError:
            raise BlobMissing(errno.ENOENT, "no such blob") from None

    async def stage(
        self, source: Source, size_bytes: int | None, algorithms: tuple[str, ...] = ()
    ) -> Staged:
        digests = Digests(algorithms)
        data = bytearray()
        piece = memoryview(bytearray(_PIECE_BYTES))
        count = _PIECE_BYTES
        while count == _PIECE_BYTES:
            count = await source.fill(piece)
            data += piece[:count]
            self._check_room(len(data))
        digests.update(memoryview(data))
        return _StagedInMemory(self, bytes(data), digests)

    async def open(self, address: BlobAddress) -> OpenBlob:
        return _OpenMemoryBlob(self._get(address))

    async def link(self, source: BlobAddress, bucket_dir: str) -> BlobAddress:
        check_bucket_dir(bucket_dir)
        data = self._get(source)
        address = BlobAddress(bucket_dir, source.sha256, new_blob_number())
        self.blobs[address] = data
        self._written[address] = time.time()
        return address

    async def remove(self, address: BlobAddress) -> None:
        check_bucket_dir(address.bucket_dir)
        self.blobs.pop(address, None)
        self._written.pop(address, None)

    async def remove_bucket(self, bucket_dir: str) -> None:
        check_bucket_dir(bucket_dir)
        for address in [a for a in self.blobs if a.bucket_dir == bucket_dir]:
            await self.remove(address)

    async def sweep(self, older_than_seconds: float) -> AsyncIterator[tuple[BlobAddress, int]]:
        before = time.time() - older_than_seconds
        for address, data in list(self.blobs.items()):
            if self._written.get(address, before) < before:
                yield address, len(data)

    async def verify(self, address: BlobAddress) -> bool:
        return hashlib.sha256(self._get(address)).digest() == address.sha256

    def release(self) -> None:
        pass
