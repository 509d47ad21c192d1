"""The server inside a process: what the fixture gives, on either loop, with long paths."""

from __future__ import annotations

import threading
import urllib.request
from pathlib import Path

import boto3
import pytest

from holdfast.config import ConfigError
from holdfast.server.data import DataLocked
from holdfast.testing.server import Server


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_serves_and_keeps(tmp_path: Path, loop: str, durability: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    for run in range(2):
        with Server(str(tmp_path / "data"), durability=durability, loop=loop) as server:
            client = boto3.client("s3", **server.client_arguments())
            if run == 0:
                client.create_bucket(Bucket="kept")
                client.put_object(Bucket="kept", Key="small", Body=b"s")
                client.put_object(Bucket="kept", Key="large", Body=b"l" * 500_000)
            for key, size in (("small", 1), ("large", 500_000)):
                assert len(client.get_object(Bucket="kept", Key=key)["Body"].read()) == size
            client.close()


def test_leaves_nothing_behind() -> None:
    threads = threading.active_count()
    with Server() as server:
        data = Path(server.settings.data)
        with urllib.request.urlopen(server.endpoint + "/_holdfast/ready") as answer:
            assert answer.status == 200
            assert answer.headers["x-amz-request-id"]
    assert not data.exists()
    assert threading.active_count() == threads


def test_session_fixture_is_ready(server: Server) -> None:
    client = boto3.client("s3", **server.client_arguments())
    assert "Buckets" in client.list_buckets()
    client.close()


def test_path_longer_than_a_unix_socket_allows(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 120)
    with Server(str(data)) as server:
        client = boto3.client("s3", **server.client_arguments())
        client.create_bucket(Bucket="deep")
        client.close()


def test_faults_of_the_start_are_raised(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Server(workers="many").__enter__()
    with Server(str(tmp_path)), pytest.raises(DataLocked), Server(str(tmp_path)):
        pass
