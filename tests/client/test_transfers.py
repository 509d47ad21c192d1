"""How large things travel: parts, memory, checksums, TLS, threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from holdfast.client import ConnectionFailed, ObjectStore, TransferConfig
from holdfast.client.blocking import run
from holdfast.client.config import MIB, PARTS_MAX
from holdfast.client.copying import copy_in_parts
from holdfast.client.upload import part_size_for
from holdfast.testing.server import Server
from tests.certificate import write_pair

from .conftest import PART, Connect


def test_a_stream_is_read_one_part_ahead(connected: Connect, store: Any, bucket: str) -> None:
    """Memory is bounded: the source never runs further ahead of what was sent."""
    made = done = ahead = 0

    def source() -> Iterator[bytes]:
        nonlocal made, ahead
        for _ in range(60):
            made += MIB
            ahead = max(ahead, made - done)
            yield bytes(MIB)

    def progress(now: int, total: int | None) -> None:
        nonlocal done
        done = now
        assert total is None

    result = connected(transfer=TransferConfig(PART, PART, 2)).put_object(
        bucket, "k", source(), progress=progress
    )
    assert result.size == done == 60 * MIB
    assert ahead <= 3 * PART + MIB
    assert result.etag.endswith("-12")
    assert store.head_object(bucket, "k").size == 60 * MIB


@pytest.mark.parametrize("checksum", ["CRC32", "CRC32C", "SHA1", "SHA256", None])
def test_every_checksum(connected: Connect, bucket: str, tmp_path: Path, checksum: str) -> None:
    store = connected(transfer=TransferConfig(PART, PART, 3, checksum=checksum))
    data = os.urandom(2 * PART + 5)
    for key, body in (("small", data[:1000]), ("big", data)):
        result = store.put_object(bucket, key, body)
        assert result.checksum.partition(":")[0] == (checksum or "")
        kept = store.head_object(bucket, key).checksums
        if checksum:
            assert kept == {checksum: result.checksum.partition(":")[2]}
        done = store.download(bucket, key, tmp_path / key)
        assert (tmp_path / key).read_bytes() == body
        composite = key == "big" and checksum is not None and checksum.startswith("SHA")
        assert done.verified == ("" if composite else checksum or "CRC64NVME")


def test_sizes_of_parts() -> None:
    assert part_size_for(0, 8 * MIB) == 8 * MIB
    size = 5 * 1024 * 1024 * MIB  # 5 TiB
    assert part_size_for(size, 8 * MIB) * PARTS_MAX >= size
    assert part_size_for(size, 8 * MIB) % MIB == 0
    for wrong in (PART - 1, 6 * 1024 * MIB):
        with pytest.raises(ValueError):
            TransferConfig(part_size=wrong)


def test_a_copy_in_parts(server: Server) -> None:
    data = os.urandom(2 * PART + 7)
    with ObjectStore.connect(
        server.endpoint, access_key=server.access_key, secret_key=server.secret_key
    ) as store:
        store.create_bucket("copied-in-parts")
        store.put_object("copied-in-parts", "a ü", data)
        seen: list[int] = []
        result = run(
            copy_in_parts(
                store._operations.session,
                "copied-in-parts",
                "b",
                {"x-amz-meta-m": "v"},
                {"x-amz-copy-source": "/copied-in-parts/a%20%C3%BC"},
                len(data),
                lambda done, total: seen.append(done),
                PART,
            )
        )
        assert result.etag.endswith("-3")
        assert seen[-1] == len(data)
        with store.get_object("copied-in-parts", "b") as stream:
            assert stream.read() == data
            assert stream.info.metadata == {"m": "v"}


def test_tls(connected: Connect, tmp_path: Path) -> None:
    cert, key = write_pair(tmp_path, "tls")
    data = os.urandom(2 * PART + 3)
    with Server(tls_cert=cert, tls_key=key) as server:
        keys = {"access_key": server.access_key, "secret_key": server.secret_key}
        store = connected(server.endpoint, verify=cert, **keys)
        store.create_bucket("over-tls")
        store.put_object("over-tls", "k", data)
        with store.get_object("over-tls", "k") as stream:
            assert stream.read() == data
        store.download("over-tls", "k", tmp_path / "k")
        assert (tmp_path / "k").read_bytes() == data
        connected(server.endpoint, verify=False, **keys).head_object("over-tls", "k")
        with pytest.raises(ConnectionFailed, match="certificate"):
            connected(server.endpoint, **keys).head_object("over-tls", "k")
        store.close()


def test_one_store_in_many_threads(server: Server) -> None:
    with ObjectStore.connect(
        server.endpoint, access_key=server.access_key, secret_key=server.secret_key
    ) as store:
        store.create_bucket("threads")

        def both(number: int) -> bool:
            store.put_object("threads", f"k{number}", str(number))
            with store.get_object("threads", f"k{number}") as stream:
                return stream.read() == str(number).encode()

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(both, range(200)))
    with pytest.raises(ConnectionFailed, match="closed"):
        store.bucket_exists("threads")
