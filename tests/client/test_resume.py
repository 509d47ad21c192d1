"""Transfers that broke and go on: what had arrived is not sent again, and the end is right."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from holdfast.client import (
    ConnectionFailed,
    InvalidRequest,
    ObjectStore,
    RetryConfig,
    TransferConfig,
)
from holdfast.testing.server import Server
from tests.conftest import ServeFactory
from tests.serving import ACCESS_KEY, SECRET_KEY

from .conftest import MIB, PART, Connect
from .proxy import Proxy

SIZE = 4 * PART + 4321
ONE_AT_ONCE = TransferConfig(PART, PART, 1)


@pytest.fixture(scope="module")
def data() -> bytes:
    return os.urandom(SIZE)


class Broken(Exception):
    """By the caller, out of its progress callback."""


def _break_after(limit: int) -> Any:
    def progress(done: int, total: int | None) -> None:
        if done > limit:
            raise Broken

    return progress


def _counted(proxy: Proxy) -> list[int]:
    counts: list[int] = []
    proxy.seen_up = counts.append
    return counts


@pytest.fixture
def path(tmp_path: Path, data: bytes) -> Path:
    made = tmp_path / "file"
    made.write_bytes(data)
    return made


def test_an_upload_goes_on(
    connected: Connect, store: Any, server: Server, bucket: str, path: Path, tmp_path: Path
) -> None:
    journals = tmp_path / "journals"
    with Proxy(server.endpoint) as proxy:
        through = connected(proxy.endpoint, transfer=ONE_AT_ONCE)
        with pytest.raises(Broken):
            through.put_object(bucket, "k", path, resume=journals, progress=_break_after(3 * PART))
        assert not store.exists(bucket, "k")
        assert [upload.key for upload in store.list_uploads(bucket)] == ["k"]
        counts = _counted(proxy)
        done: list[int] = []
        through.put_object(
            bucket, "k", path, resume=journals, progress=lambda now, total: done.append(now)
        )
        assert sum(counts) < 2 * PART + MIB  # the part that broke, the last one, heads
        assert done[-1] == SIZE
    with store.get_object(bucket, "k") as stream:
        assert stream.read() == path.read_bytes()
    assert list(store.list_uploads(bucket)) == []
    assert list(journals.iterdir()) == []


def test_a_part_that_differs_is_sent_again(
    connected: Connect, store: Any, bucket: str, path: Path, tmp_path: Path
) -> None:
    """The same size and time of change, yet other bytes: the checksum tells."""
    journals, one = tmp_path / "journals", connected(transfer=ONE_AT_ONCE)
    with pytest.raises(Broken):
        one.put_object(bucket, "k", path, resume=journals, progress=_break_after(3 * PART))
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(PART)
        file.write(b"changed")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    one.put_object(bucket, "k", path, resume=journals)
    with store.get_object(bucket, "k") as stream:
        assert stream.read() == path.read_bytes()


def test_other_options_begin_anew(
    connected: Connect, store: Any, bucket: str, path: Path, tmp_path: Path
) -> None:
    journals, one = tmp_path / "journals", connected(transfer=ONE_AT_ONCE)
    with pytest.raises(Broken):
        one.put_object(bucket, "k", path, resume=journals, progress=_break_after(PART))
    one.put_object(bucket, "k", path, resume=journals, metadata={"a": "b"})
    assert store.head_object(bucket, "k").metadata == {"a": "b"}
    (left,) = store.list_uploads(bucket)
    store.abort_upload(bucket, "k", left.upload_id)
    # what the journal names is gone: begun anew as well
    one.put_object(bucket, "k", path, resume=journals)
    assert store.head_object(bucket, "k").metadata == {}


def test_without_resume_nothing_stays(
    connected: Connect, store: Any, bucket: str, path: Path, tmp_path: Path
) -> None:
    one = connected(transfer=ONE_AT_ONCE)
    with pytest.raises(Broken):
        one.put_object(bucket, "k", path, progress=_break_after(2 * PART))
    assert list(store.list_uploads(bucket)) == []
    store.put_object(bucket, "k", path)
    with pytest.raises(Broken):
        one.download(bucket, "k", tmp_path / "d", progress=_break_after(2 * PART))
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_download_goes_on(
    connected: Connect, store: Any, bucket: str, path: Path, tmp_path: Path
) -> None:
    store.put_object(bucket, "k", path)
    one, target = connected(transfer=ONE_AT_ONCE), tmp_path / "d"
    with pytest.raises(Broken):
        one.download(bucket, "k", target, resume=True, progress=_break_after(3 * PART))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["d.part", "d.part.json", "file"]
    result = one.download(bucket, "k", target, resume=True)
    assert result.received == SIZE - 3 * PART
    assert result.verified == "CRC64NVME"
    assert target.read_bytes() == path.read_bytes()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["d", "file"]


def test_a_download_of_what_changed_begins_anew(
    connected: Connect, store: Any, bucket: str, path: Path, tmp_path: Path
) -> None:
    store.put_object(bucket, "k", path)
    one, target = connected(transfer=ONE_AT_ONCE), tmp_path / "d"
    with pytest.raises(Broken):
        one.download(bucket, "k", target, resume=True, progress=_break_after(3 * PART))
    fresh = os.urandom(SIZE)
    store.put_object(bucket, "k", fresh)
    assert one.download(bucket, "k", target, resume=True).received == SIZE
    assert target.read_bytes() == fresh


def test_a_part_file_that_was_spoilt_is_noticed(
    connected: Connect, store: Any, bucket: str, path: Path, tmp_path: Path
) -> None:
    store.put_object(bucket, "k", path)
    one, target = connected(transfer=ONE_AT_ONCE), tmp_path / "d"
    with pytest.raises(Broken):
        one.download(bucket, "k", target, resume=True, progress=_break_after(3 * PART))
    with (tmp_path / "d.part").open("r+b") as file:
        file.write(b"spoilt")
    with pytest.raises(Exception, match="ChecksumMismatch"):
        one.download(bucket, "k", target, resume=True)
    assert not target.exists()
    one.download(bucket, "k", target, resume=True)
    assert target.read_bytes() == path.read_bytes()


def test_two_downloads_into_one_file(
    connected: Connect, store: Any, bucket: str, path: Path, tmp_path: Path
) -> None:
    fcntl = pytest.importorskip("fcntl")
    store.put_object(bucket, "k", path)
    with (tmp_path / "d.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InvalidRequest, match="another process"):
            store.download(bucket, "k", tmp_path / "d", resume=True)


def test_a_server_killed_in_the_middle(serve_process: ServeFactory, tmp_path: Path) -> None:
    """Up and down: the server is killed while it goes on, started again, and both are gone on with."""
    serving = serve_process("--durability", "relaxed")
    data = os.urandom(8 * PART)
    path, target, journals = tmp_path / "file", tmp_path / "d", tmp_path / "journals"
    path.write_bytes(data)

    def kill_once(after: int) -> Any:
        killed = threading.Event()

        def progress(done: int, total: int | None) -> None:
            if done > after and not killed.is_set():
                killed.set()
                serving.destroy()

        return progress

    with ObjectStore.connect(
        serving.endpoint,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        transfer=TransferConfig(PART, PART, 2),
        retry=RetryConfig(2, 0.001, 0.002),
    ) as store:
        store.create_bucket("killed")
        with pytest.raises(ConnectionFailed, match="resume=True"):
            store.put_object("killed", "k", path, resume=journals, progress=kill_once(4 * PART))
        serving.start()
        assert not store.exists("killed", "k")
        store.put_object("killed", "k", path, resume=journals)
        with pytest.raises(ConnectionFailed, match="resume=True"):
            store.download("killed", "k", target, resume=True, progress=kill_once(4 * PART))
        serving.start()
        result = store.download("killed", "k", target, resume=True)
        assert result.received < len(data)
        assert result.verified == "CRC64NVME"
        assert target.read_bytes() == data
    assert serving.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("resume", [False, True])
def test_names_as_long_as_can_be(
    connected: Connect, bucket: str, data: bytes, tmp_path: Path, resume: bool
) -> None:
    store = connected()
    for body, name in ((data, "ä" * 127 + "x"), (b"small", "x" + "ä" * 127)):
        assert len(os.fsencode(name)) == 255
        store.put_object(bucket, "k", body)
        store.download(bucket, "k", tmp_path / name, resume=resume)
        assert (tmp_path / name).read_bytes() == body
        assert len(list(tmp_path.iterdir())) == 1
        (tmp_path / name).unlink()


def test_a_long_name_goes_on(connected: Connect, bucket: str, data: bytes, tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    one = connected(transfer=ONE_AT_ONCE)
    one.put_object(bucket, "k", data)
    with pytest.raises(Broken):
        one.download(bucket, "k", target, resume=True, progress=_break_after(3 * PART))
    assert one.download(bucket, "k", target, resume=True).received < 2 * PART + MIB
    assert target.read_bytes() == data


def test_what_a_thread_writes_stays_its_file(
    server: Server, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download is cancelled while a thread writes: its descriptor is not another file's meanwhile."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    written: dict[int, int] = {}
    pwrite = os.pwrite

    def slow(fd: int, piece: memoryview, offset: int) -> int:
        begun.set()
        go_on.wait(20)
        try:
            written[fd] = pwrite(fd, piece, offset)
        finally:
            ended.set()
        return written[fd]

    monkeypatch.setattr(os, "pwrite", slow)

    async def main() -> None:
        async with ObjectStore.connect_async(**_keys(server), transfer=ONE_AT_ONCE) as store:
            await store.create_bucket("cancelled")
            await store.put_object("cancelled", "k", data)
            task = asyncio.ensure_future(store.download("cancelled", "k", tmp_path / "k"))
            await asyncio.to_thread(begun.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert os.listdir(tmp_path) == []
            go_on.set()
            await asyncio.to_thread(ended.wait, 20)

    asyncio.run(main())  # which ends when its threads have
    ((fd, count),) = written.items()
    assert count == MIB
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def _keys(server: Server) -> dict[str, Any]:
    return {
        "url": server.endpoint,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
    }
