"""fsck finds each kind of damage, tells it from garbage, and removes only garbage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast.blobs import walk
from holdfast.blobs.contract import BlobAddress
from holdfast.blobs.segments import SEGMENT_FLAG
from holdfast.cli.main import main
from holdfast.maintenance.fsck import FsckReport, fsck
from holdfast.meta.commands import CreateUpload, DeleteObject
from tests.maintenance.stores import OWNER, Stores, in_stores

#: of the size that goes into segments, and of that which is a file of its own
DATA = b"content" * 10_000
LARGE_DATA = b"content" * 200_000


def _make(data: Path, content: bytes = DATA) -> BlobAddress:
    """A healthy store with one blob, an object in the database and an unfinished upload."""

    async def work(stores: Stores) -> BlobAddress:
        bucket = await stores.bucket("one")
        await stores.submit(CreateUpload(bucket.id, b"upload", b"token678", OWNER))
        return await stores.put("one", b"key", content)

    return in_stores(data, work)


def _file(data: Path, address: BlobAddress) -> Path:
    """The file that the only blob of its bucket lies in."""
    name = address.sha256.hex()
    if address.n & SEGMENT_FLAG:
        (path,) = (data / "buckets" / address.bucket_dir / "segments").iterdir()
        return path
    (path,) = (data / "buckets" / address.bucket_dir / name[:2] / name[2:4]).iterdir()
    return path


def _fsck(data: Path, content: bool = False, reclaim: bool = False) -> FsckReport:
    async def work(stores: Stores) -> FsckReport:
        return await fsck(stores.meta, stores.blobs, content=content, reclaim=reclaim)

    return in_stores(data, work)


def test_a_healthy_store_is_clean(tmp_path: Path) -> None:
    data = tmp_path / "data"
    _make(data)
    report = _fsck(data, content=True)
    assert report.clean
    assert report.exit_code == 0
    assert (report.blobs, report.blob_bytes) == (1, len(DATA))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _write(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize(
    ("content", "harm", "said", "needs_content"),
    [
        (LARGE_DATA, Path.unlink, "the file is missing", False),
        (LARGE_DATA, lambda path: os.truncate(path, 100), "100 bytes", False),
        (LARGE_DATA, _flip, "not those that were stored", True),
        (DATA, Path.unlink, "the file is missing", False),
        (DATA, lambda path: os.truncate(path, 4196), "100 bytes", False),
        (DATA, lambda path: os.truncate(path, 10), "the file is missing", False),
        (DATA, _flip, "not those that were stored", True),
        (DATA, lambda path: _write(path, 20, b"other"), "the file is missing", False),
        (DATA, lambda path: _write(path, 8192, bytes(4096)), "not those that were stored", True),
    ],
    ids=[
        *("missing", "short", "flipped"),
        *("no segment", "short record", "no record", "flipped record", "header", "zeros"),
    ],
)
def test_damage_is_found_and_nothing_is_reclaimed_beside_it(
    tmp_path: Path, content: bytes, harm: Callable[[Path], None], said: str, needs_content: bool
) -> None:
    data = tmp_path / "data"
    address = _make(data, content)
    garbage = in_stores(data, lambda stores: stores.publish("two", b"garbage" * 10_000))
    harm(_file(data, address))
    if needs_content:
        assert _fsck(data).exit_code == 0, "only --content reads the bytes"
    report = _fsck(data, content=True, reclaim=True)
    assert report.exit_code == 1
    assert report.damage_count == 1
    assert said in report.damage[0]
    assert address.sha256.hex() in report.damage[0]
    assert report.reclaimed is None
    assert _file(data, garbage).exists()
    assert any("DAMAGE" in line for line in report.lines())


def test_what_a_damaged_header_hides_is_kept(tmp_path: Path) -> None:
    """The content behind it can still be saved, so neither fsck nor a sweep may punch it."""
    data = tmp_path / "data"
    path = _file(data, _make(data))
    _write(path, 40, b"other")
    before = path.read_bytes()
    assert _fsck(data, content=True, reclaim=True).damage_count == 1
    assert path.read_bytes() == before
    assert DATA in before


def test_garbage_is_no_damage_and_goes_with_reclaim(tmp_path: Path) -> None:
    data = tmp_path / "data"
    _make(data)

    async def work(stores: Stores) -> None:
        await stores.publish("one", b"never committed" * 10_000)
        await stores.put("one", b"gone", b"deleted" * 10_000)
        await stores.submit(DeleteObject(stores.buckets["one"].id, b"gone", OWNER))

    in_stores(data, work)
    found = _fsck(data)
    assert (found.exit_code, found.clean) == (0, False)
    assert (found.garbage_files, found.garbage_bytes) == (1, 150_000)
    assert (found.going_blobs, found.going_bytes) == (1, 70_000)
    reclaimed = _fsck(data, reclaim=True).reclaimed
    assert reclaimed is not None
    assert (reclaimed.files_removed, reclaimed.blobs) == (1, 1)
    after = _fsck(data, content=True)
    assert after.clean
    assert after.blobs == 1


def test_links_to_the_same_bytes_go_in_one_reclaim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To remove a link touches the others, which must not make them too young to be swept."""
    monkeypatch.setattr(walk, "BATCH_ENTRIES_MAX", 1)  # so that one is removed before the next
    data = tmp_path / "data"
    _make(data)

    async def work(stores: Stores) -> None:
        source = await stores.publish("one", b"never committed" * 100_000)
        for name in ("two", "three", "four"):
            await stores.blobs.link(source, (await stores.bucket(name)).directory)

    in_stores(data, work)
    reclaimed = _fsck(data, reclaim=True).reclaimed
    assert reclaimed is not None
    assert reclaimed.files_removed == 4
    assert _fsck(data).clean


def test_the_command(tmp_path: Path) -> None:
    data = tmp_path / "data"
    address = _make(data)
    clean = CliRunner().invoke(main, ["fsck", str(data), "--content", "--json"])
    assert clean.exit_code == 0, clean.output
    assert json.loads(clean.stdout)["damage_count"] == 0
    _file(data, address).unlink()
    damaged = CliRunner().invoke(main, ["fsck", str(data)])
    assert damaged.exit_code == 1
    assert "the file is missing" in damaged.stdout
