"""Invariant 8: a full disk refuses writes with a clear error and still reads, lists and deletes;
when there is room again, writes go on by themselves."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.client import Client, list_objects
from tests.crash.process import ACCESS_KEY, SECRET_KEY, ServerProcess

DISK_MIB = 96
OBJECT_BYTES = 1 << 20
SMALL_BYTES = 16 << 10
RECOVERY_SECONDS_MAX = 60.0
BUCKET = "full-disk"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with DISK_MIB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = tmp_path / "disk"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(mount)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a tmpfs can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.fixture
def server(small_disk: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    arguments = ("--workers=1", "--reserve-bytes=8MiB", "--gc-grace-seconds=2")
    server = ServerProcess(small_disk / "data", tmp_path / "server.log", arguments)
    try:
        server.start()
        yield server
    finally:
        server.destroy()


def _fill(client: Client, prefix: str, size: int, written: dict[bytes, bytes]) -> None:
    """PUT objects of `size` until the disk is full; the acknowledged ones go into `written`."""
    chance = random.Random(prefix)
    for number in range(DISK_MIB << 20):
        key, body = f"{prefix}-{number:06}".encode(), chance.randbytes(size)
        answer = client.request("PUT", BUCKET, key, body=body)
        if answer.status != 200:
            assert (answer.status, answer.find("Code")) == (507, "InsufficientStorage"), answer
            return
        written[key] = body


def _check_all(client: Client, written: dict[bytes, bytes]) -> None:
    listed = list_objects(client, BUCKET)
    assert {key: size for key, (_, size) in listed.items()} == {
        key: len(body) for key, body in written.items()
    }
    for key in random.Random(1).sample(sorted(written), min(len(written), 40)):
        answer = client.request("GET", BUCKET, key)
        assert (answer.status, answer.body == written[key]) == (200, True)


def test_full_disk_refuses_writes_only(server: ServerProcess) -> None:
    with closing(Client(server.port, ACCESS_KEY, SECRET_KEY)) as client:
        written = _fill_and_recover(client)
    server.stop()
    report = server.fsck(reclaim=True)
    assert report.exit_code == 0, report.lines()
    assert server.fsck(reclaim=False).clean
    server.start()
    with closing(Client(server.port, ACCESS_KEY, SECRET_KEY)) as client:
        _check_all(client, written)


def _fill_and_recover(client: Client) -> dict[bytes, bytes]:
    """What is stored in the end."""
    assert client.request("PUT", BUCKET).status == 200
    written: dict[bytes, bytes] = {}
    _fill(client, "large", OBJECT_BYTES, written)
    assert len(written) > DISK_MIB // 2
    _check_all(client, written)
    _fill(client, "small", SMALL_BYTES, written)  # into what room the large ones left
    _check_all(client, written)
    refused = client.request("PUT", "another-bucket")
    assert (refused.status, refused.find("Code")) == (507, "InsufficientStorage"), refused

    for key in [key for key in written if key.endswith((b"1", b"2", b"3", b"4", b"5"))]:
        assert client.request("DELETE", BUCKET, key).status == 204
        del written[key]
    _check_all(client, written)

    body = os.urandom(OBJECT_BYTES)
    deadline = time.monotonic() + RECOVERY_SECONDS_MAX
    while (answer := client.request("PUT", BUCKET, b"again", body=body)).status != 200:
        assert answer.status == 507, answer
        assert time.monotonic() < deadline, "the disk stays full"
        time.sleep(0.2)
    written[b"again"] = body
    small = client.request("PUT", BUCKET, b"again small", body=b"small")
    assert small.status == 200, small
    written[b"again small"] = b"small"
    _check_all(client, written)
    return written
