"""The collector's grace time for files begins when an address is made, not when the bytes were."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from holdfast.blobs.contract import BlobAddress
from holdfast.blobs.files import FileBlobStore
from holdfast.testing.blob_suite import put

DAY_SECONDS = 86_400.0


def test_a_link_to_old_content_is_young(tmp_path: Path) -> None:
    """A copy links first and commits after: until then the sweep must leave the link alone."""
    store = FileBlobStore(tmp_path, direct=False)
    store.prepare()

    async def work() -> list[BlobAddress]:
        source = await put(store, b"x" * 2_000_000, "one-1")
        path = next((tmp_path / "buckets" / "one-1").rglob(f"{source.sha256.hex()}-*"))
        old = time.time() - DAY_SECONDS
        os.utime(path, (old, old))
        await store.link(source, "two-2")
        return [address async for address, _ in store.sweep(DAY_SECONDS / 2)]

    try:
        assert asyncio.run(work()) == []
    finally:
        store.close()
