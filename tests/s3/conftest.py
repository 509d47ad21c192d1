"""One server for all tests of the S3 layer, and clients that talk to it over real sockets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.config import Config

from holdfast.config import BY_NAME
from holdfast.testing.server import Server

from .raw import Raw
from .users import Nobody, User

#: content of this size is still kept in the database
INLINE_BYTES_MAX = BY_NAME["inline_bytes_max"].default
DOMAIN = "s3.example.test"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    with Server(domain=(DOMAIN,)) as server:
        yield server


def make_client(server: Server, **config: Any) -> Any:
    return boto3.client(
        "s3",
        **server.client_arguments(),
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


@pytest.fixture(scope="session")
def s3(s3_server: Server) -> Iterator[Any]:
    """boto3 with its default settings, but without retries: no fault hides behind one."""
    with closing(make_client(s3_server)) as client:
        yield client


@pytest.fixture(scope="session")
def raw(s3_server: Server) -> Iterator[Raw]:
    with Raw(s3_server) as client:
        yield client


@pytest.fixture(scope="session")
def new_bucket(s3: Any) -> Callable[[], str]:
    """Makes a bucket of a name that no test had before."""
    numbers = itertools.count()

    def make() -> str:
        name = f"bucket-{next(numbers)}"
        s3.create_bucket(Bucket=name)
        return name

    return make


@pytest.fixture
def bucket(new_bucket: Callable[[], str]) -> str:
    return new_bucket()


@pytest.fixture(scope="session")
def alice(s3_server: Server) -> Iterator[User]:
    with User(s3_server, "alice", "alice-id", "alice@example.org") as user:
        yield user


@pytest.fixture(scope="session")
def bob(s3_server: Server) -> Iterator[User]:
    with User(s3_server, "bob", "bob-id", "bob@example.org") as user:
        yield user


@pytest.fixture(scope="session")
def nobody(s3_server: Server) -> Iterator[Nobody]:
    with Nobody(s3_server) as client:
        yield client


@pytest.fixture(scope="session")
def alices_buckets(alice: User) -> Callable[[], str]:
    """Makes a bucket of alice's, with an object `k` in it."""
    numbers = itertools.count()

    def make() -> str:
        name = f"alice-{next(numbers)}"
        assert alice("PUT", f"/{name}").status == 200
        assert alice("PUT", f"/{name}/k", body=b"data").status == 200
        return name

    return make


@pytest.fixture
def alices(alices_buckets: Callable[[], str]) -> str:
    return alices_buckets()
