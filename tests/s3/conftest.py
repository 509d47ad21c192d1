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
