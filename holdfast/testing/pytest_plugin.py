"""The pytest plugin: fixtures for tests that use S3. Loaded by every pytest of an environment that
has this package, so nothing is imported here and nothing starts until a test asks for a fixture.

What tests do to the server ends with them: `s3_bucket` is removed, and faults, requests seen and the
clock begin anew with each test that asks for them. docs/testing.md shows all of it in use.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from holdfast.testing.clock import Clock
    from holdfast.testing.faults import Faults
    from holdfast.testing.record import RequestLog
    from holdfast.testing.server import Server

#: what is set for the clients belongs to the test; everything else of theirs is out of the way
CLIENT_VARIABLES = ("AWS_", "DUCKDB_S3_")

#: in us-east-1 boto3 would presign by Signature Version 2, which S3 knows no more
AWS_CONFIG = """\
[default]
s3 =
    signature_version = s3v4
    addressing_style = path
"""


class _AsInstalled:
    """A finder ahead of pytest's, which rewrites the asserts of every package that brings a plugin,
    and so would compile the whole server anew: a second in every fresh environment. What tests share,
    holdfast.testing, is left to it."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith("holdfast.") or name.startswith("holdfast.testing"):
            return None
        return PathFinder.find_spec(name, path, target)


sys.meta_path.insert(0, _AsInstalled)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """An S3 server in this process, on a free port, with data that is thrown away in the end:
    `endpoint`, `access_key`, `secret_key`, `region`, `faults`, `requests`, `clock`, `reset()`."""
    from holdfast.testing.server import Server

    with Server() as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: Server) -> Iterator[str]:
    """The name of a new bucket, removed afterwards with all that is in it."""
    name = s3_server.create_bucket()
    yield name
    s3_server.remove_bucket(name)


@pytest.fixture(scope="session")
def s3_client(s3_server: Server) -> Iterator[Any]:
    """A boto3 client of the server."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        pytest.fail("the fixture s3_client needs boto3: pip install boto3", pytrace=False)
    config = Config(signature_version="s3v4")  # see AWS_CONFIG
    client = boto3.client("s3", **s3_server.client_arguments(), config=config)
    yield client
    client.close()


@pytest.fixture
def s3_env(
    s3_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Environment variables by which clients that are told nothing find the server; these. All other
    AWS_* variables are away, and so are the user's profiles."""
    config = tmp_path_factory.mktemp("aws") / "config"
    config.write_text(AWS_CONFIG)
    variables = {
        "AWS_ENDPOINT_URL_S3": s3_server.endpoint,
        "AWS_ENDPOINT_URL": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_DEFAULT_REGION": s3_server.region,
        "AWS_REGION": s3_server.region,
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config.with_name("credentials")),  # there is none
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ALLOW_HTTP": "true",  # Rust's object_store: obstore, Polars, delta-rs
        # it puts the bucket before the host, and resolves that below localhost only
        "DUCKDB_S3_ENDPOINT": f"localhost:{s3_server.endpoint.rpartition(':')[2]}",
        "DUCKDB_S3_USE_SSL": str(s3_server.endpoint.startswith("https:")).lower(),
    }
    for name in os.environ:
        if name.startswith(CLIENT_VARIABLES):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    default_session = getattr(sys.modules.get("boto3"), "DEFAULT_SESSION", None)
    _forget_clients(None)
    yield variables
    _forget_clients(default_session)


def _forget_clients(default_session: object) -> None:
    """What libraries keep from test to test was made for another environment."""
    if boto3 := sys.modules.get("boto3"):
        boto3.DEFAULT_SESSION = default_session  # type: ignore[attr-defined]
    if s3fs := sys.modules.get("s3fs"):
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def s3_faults(s3_server: Server) -> Iterator[Faults]:
    """What goes wrong on purpose: `fail`, `delay`, `cut_upload`, `cut_download`, `drop_answer`,
    `throttle`, `slow_down`. None is left after the test."""
    s3_server.faults.clear()
    yield s3_server.faults
    s3_server.faults.clear()


@pytest.fixture
def s3_requests(s3_server: Server) -> RequestLog:
    """The requests seen since the test began: `assert_called`, `count`, `last`, `find`, `clear`."""
    s3_server.requests.clear()
    return s3_server.requests


@pytest.fixture
def s3_clock(s3_server: Server) -> Iterator[Clock]:
    """The server's time: `stop`, `advance`, `start`. It is the machine's again after the test."""
    s3_server.clock.reset()
    yield s3_server.clock
    s3_server.clock.reset()
