"""The plugin's fixtures, also where the package is not installed and its entry point not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.config import Config

from holdfast.testing.pytest_plugin import (
    s3_bucket,
    s3_client,
    s3_clock,
    s3_env,
    s3_faults,
    s3_requests,
    s3_server,
)
from holdfast.testing.server import Server

from ..s3.raw import Raw

__all__ = [
    "s3_bucket",
    "s3_client",
    "s3_clock",
    "s3_env",
    "s3_faults",
    "s3_requests",
    "s3_server",
]


@pytest.fixture(scope="session")
def raw(s3_server: Server) -> Iterator[Raw]:
    with Raw(s3_server) as client:
        yield client


@pytest.fixture(scope="session")
def once(s3_server: Server) -> Iterator[Any]:
    """boto3 that does not try again."""
    config = Config(signature_version="s3v4", retries={"total_max_attempts": 1})
    with closing(boto3.client("s3", **s3_server.client_arguments(), config=config)) as client:
        yield client
