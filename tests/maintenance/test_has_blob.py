"""The collector asks by a file's address whether a row stands for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from holdfast.blobs.contract import BlobAddress
from holdfast.meta.commands import DeleteObject, ForgetBlobs
from tests.maintenance.stores import OWNER, Stores, in_stores

SHA256 = hashlib.sha256(b"other").digest()


def test_live_and_going_rows_count_and_nothing_else(tmp_path: Path) -> None:
    async def work(stores: Stores) -> None:
        has_blob = stores.meta.has_blob
        address = await stores.put("one", b"key", b"content" * 10_000)
        assert await has_blob(*address)
        directory, sha256, n = address
        name, _, number = directory.rpartition("-")
        for absent in (
            BlobAddress(directory, sha256, n + 1),
            BlobAddress(directory, SHA256, n),
            BlobAddress(f"{name}-{int(number) + 1}", sha256, n),
            BlobAddress(f"other-{number}", sha256, n),
            BlobAddress(name, sha256, n),
            BlobAddress(f"{directory}x", sha256, n),
            BlobAddress(f"{name}-{'9' * 40}", sha256, n),
            BlobAddress(f"{name}-²", sha256, n),
        ):
            assert not await has_blob(*absent), absent

        await stores.submit(DeleteObject(stores.buckets["one"].id, b"key", OWNER))
        ((blob, _),) = await stores.meta.going_blobs(1 << 62, 10)
        assert await has_blob(*address), "its row is going, but still there"
        await stores.submit(ForgetBlobs([blob.id]))
        assert not await has_blob(*address)

    in_stores(tmp_path, work)
