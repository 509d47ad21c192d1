"""Every BlobStore passes the suite of its contract, in each of its modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.blobs import appending, fileops, segments
from holdfast.blobs.contract import BlobStore
from holdfast.blobs.files import FileBlobStore
from holdfast.testing.blob_suite import BlobStoreSuite
from holdfast.testing.memory_blobs import MemoryBlobStore

MODES: dict[str, dict[str, Any]] = {
    "full": {},
    "no-direct": {},
    "sync-first": {"sync_order": "sync-first"},
    "relaxed": {"durability": "relaxed"},
    "small-buffers": {"buffer_bytes": 65536},
    "files": {"segments": False},
    "short-segments": {"buffer_bytes": 65536},
}


class TestMemory(BlobStoreSuite):
    @pytest.fixture
    def store(self) -> BlobStore:
        return MemoryBlobStore()


class TestFiles(BlobStoreSuite):
    @pytest.fixture(params=MODES)
    def store(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[BlobStore]:
        if request.param == "no-direct":
            monkeypatch.setattr(fileops, "O_DIRECT_AVAILABLE", False)
        if request.param == "short-segments":
            monkeypatch.setattr(appending, "SEGMENT_BYTES_MAX", 150_000)
            monkeypatch.setattr(appending, "GROUP_BYTES_MAX", 300_000)
            monkeypatch.setattr(appending, "GROUP_RECORDS_MAX", 3)
            monkeypatch.setattr(appending, "GROUPS_PER_TURN_MAX", 2)
            monkeypatch.setattr(appending, "APPENDERS_MAX", 2)
            monkeypatch.setattr(segments, "OPEN_SEGMENTS_MAX", 2)
        store = FileBlobStore(tmp_path / "data", **MODES[request.param])
        store.prepare()
        yield store
        assert not list((tmp_path / "data" / "tmp").iterdir())
        assert store.buffers_in_use == 0
        store.close()
