"""The multipart bench measures real uploads and leaves nothing behind."""

from __future__ import annotations

import os

import boto3
import pytest

from bench.endpoint import Endpoint, EndpointError, parse_endpoint
from bench.multipart import MIB, run
from holdfast.testing.server import Server


def _endpoint(server: Server) -> Endpoint:
    text = f"holdfast={server.endpoint},{server.access_key},{server.secret_key}"
    return parse_endpoint(text, server.region, allow_remote=False)


@pytest.mark.parametrize("copies", [0, 12])
def test_an_upload_is_measured(copies: int) -> None:
    with Server() as server:
        outcome = run(
            _endpoint(server),
            size=17 * MIB,
            part_bytes=5 * MIB,
            copies=copies,
            connections=3,
            completes=3,
            pid=os.getpid(),
        )
        client = boto3.client("s3", **server.client_arguments())
        assert client.list_buckets()["Buckets"] == []
        client.close()
    assert (outcome.parts, outcome.size) == ((12, 60 * MIB) if copies else (4, 17 * MIB))
    assert len(outcome.complete_seconds) == 3
    assert len(outcome.range_seconds) == 100
    assert 0 < outcome.complete_io_bytes < MIB, "Complete moves no content"
    assert outcome.pss_before > 0


def test_a_refusal_is_told() -> None:
    with Server() as server, pytest.raises(EndpointError, match="EntityTooSmall"):
        run(
            _endpoint(server),
            size=8 * MIB,
            part_bytes=4 * MIB,
            copies=0,
            connections=2,
            completes=1,
            pid=None,
        )
