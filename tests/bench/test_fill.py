"""What is under the last key of a set must have been put there."""

from __future__ import annotations

import struct

import pytest

from bench.endpoint import EndpointError
from bench.fill import check_last
from bench.requests import Objects
from tests.bench.far_end import far_end, response


def _check(size: int, body: bytes) -> None:
    """Of ten objects under three keys; the last is number 9, under the first key."""
    objects = Objects("b", "", size, 10, lambda number: f"key-{number % 3}")
    with far_end(lambda *_: response(200, body)) as endpoint:
        check_last(endpoint, objects)


@pytest.mark.parametrize("number", [9, 6, 0])
def test_any_of_its_key_may_be_last(number: int) -> None:
    _check(20, b"abcd" + struct.pack("<Q", number) + b"12345678")


@pytest.mark.parametrize("number", [8, 10, 12, 2**63])
def test_others_are_refused(number: int) -> None:
    with pytest.raises(EndpointError, match="other bytes"):
        _check(20, b"abcd" + struct.pack("<Q", number) + b"12345678")


@pytest.mark.parametrize(("size", "body"), [(1, b"\x08"), (1, b""), (20, b"abc")])
def test_short_ones_are_refused(size: int, body: bytes) -> None:
    _check(1, b"\x09")
    with pytest.raises(EndpointError, match="other bytes"):
        _check(size, body)
