"""Both real stores in one process, for tests: files on the disk, SQLite with its committer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from holdfast.blobs.contract import BlobAddress
from holdfast.blobs.fileops import SYSTEM, FileOps
from holdfast.blobs.files import FileBlobStore
from holdfast.config import load
from holdfast.meta.commands import (
    Command,
    CreateBucket,
    ObjectPut,
    PutObject,
    Refused,
    Result,
    StoredContent,
)
from holdfast.meta.contract import MetaStore
from holdfast.meta.records import Bucket
from holdfast.server.committer import CommitterThread
from holdfast.server.data import DataDirectory
from holdfast.server.metadata import Metadata
from holdfast.testing.blob_suite import BytesSource

T = TypeVar("T")
OWNER = "owner"


class Stores:
    """What the operations do with the stores, without HTTP. `buckets`: those that `put` made."""

    def __init__(self, meta: MetaStore, blobs: FileBlobStore) -> None:
        self.meta = meta
        self.blobs = blobs
        self.buckets: dict[str, Bucket] = {}

    async def submit(self, command: Command) -> Result:
        result = await self.meta.submit(command)
        assert not isinstance(result, Refused), (command, result)
        return result

    async def bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            bucket = await self.meta.bucket(name)
            if bucket is None:
                await self.submit(CreateBucket(name, OWNER, "us-east-1"))
                bucket = await self.meta.bucket(name)
            assert bucket is not None
            self.buckets[name] = bucket
        return self.buckets[name]

    async def publish(self, bucket_name: str, data: bytes) -> BlobAddress:
        """A file without a row: garbage until somebody commits it."""
        bucket = await self.bucket(bucket_name)
        staged = await self.blobs.stage(BytesSource(data), len(data))
        return await staged.publish(bucket.directory)

    async def commit(self, bucket_name: str, key: bytes, address: BlobAddress, size: int) -> bool:
        """Whether the file was adopted; a redundant one is removed."""
        bucket = await self.bucket(bucket_name)
        content = StoredContent(address.sha256, address.n, size, int(time.time() * 1000))
        etag = address.sha256[:16].hex()
        result = await self.submit(PutObject(bucket.id, key, size, etag, OWNER, content))
        assert isinstance(result, ObjectPut)
        if result.redundant:
            await self.blobs.remove(address)
        return not result.redundant

    async def put(self, bucket_name: str, key: bytes, data: bytes) -> BlobAddress:
        address = await self.publish(bucket_name, data)
        await self.commit(bucket_name, key, address, len(data))
        return address


def in_stores(
    data: Path,
    work: Callable[[Stores], Awaitable[T]],
    ops: FileOps = SYSTEM,
    files: Path | None = None,
) -> T:
    """Open the stores in `data` as a server does, run `work`, stop in order.

    `files`: where the blob store lies, when not in `data`.
    """

    async def run() -> T:
        settings = load({"data": str(data), "reserve_bytes": "0"}, environ={}).settings
        directory = DataDirectory.open(str(data))
        metadata = Metadata(directory.path, settings)
        blobs = FileBlobStore(files or directory.path, ops=ops)
        try:
            blobs.prepare()
            thread = CommitterThread(metadata)
            thread.start()
            try:
                store = await metadata.open_store()
                try:
                    return await work(Stores(store.meta, blobs))
                finally:
                    await store.close()
            finally:
                await thread.stop()
        finally:
            metadata.close()
            blobs.close()
            directory.close()

    return asyncio.run(run())
