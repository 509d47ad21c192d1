"""Names of workloads, and the pages that listings must hold."""

from __future__ import annotations

import pytest

from bench.endpoint import parse_endpoint
from bench.pages import Listing, deep_key, fill_bucket
from bench.plan import LISTINGS, SUITES, parse_workload
from holdfast.testing.server import Server


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_what_a_suite_names_there_is(suite: str) -> None:
    rows = [row for name in SUITES[suite] for row in parse_workload(name, [])]
    assert len(rows) == len(set(rows)) == len(SUITES[suite])


def test_a_name_tells_its_connections_or_takes_those_given() -> None:
    assert [row.connections for row in parse_workload("put-4k", [1, 32])] == [1, 32]
    assert [row.connections for row in parse_workload("put-4k@8", [1, 32])] == [8]
    assert [row.connections for row in parse_workload("put-1g", [1, 32])] == [1]
    (row,) = parse_workload("get-64k-cold@2", [])
    assert (row.op, row.size, row.variant, row.is_stream) == ("get", 65536, "cold", False)


@pytest.mark.parametrize("kind", LISTINGS)
@pytest.mark.parametrize("keys", [100, 1000, 100_000])
def test_pages_are_full_and_of_keys_that_are_there(kind: str, keys: int) -> None:
    listing = Listing(kind, keys, "b")
    objects, row = listing.objects(), listing.row()
    put = [objects.key_of(number) for number in range(objects.count)]
    assert len(put) == keys
    pairs = dict(row.targets[0][1])
    after = pairs.get("start-after") or pairs.get("key-marker") or ""
    found = sorted(key for key in put if key > after and key.startswith(pairs.get("prefix", "")))
    if kind == "delimiter":
        assert row.names == sorted({key.partition("/")[0] + "/" for key in found})[:1000]
    else:
        assert row.names == found[: int(pairs.get("max-keys", 1000))]
        assert len(row.names) == (100 if kind == "deep" else min(1000, keys))


def test_what_an_interrupted_fill_left_does_not_come_on_top() -> None:
    listing = Listing("versions", 100, "pages")
    with Server() as server:
        text = f"hf={server.endpoint},{server.access_key},{server.secret_key}"
        endpoint = parse_endpoint(text, server.region, allow_remote=False)
        endpoint.make_bucket("pages")
        for _ in range(2):
            fill_bucket(endpoint, "pages", listing.objects(), lambda _: None, versioned=True)
            listing.row().check(endpoint)
            endpoint.remove_bucket("pages")  # the marks: nobody knows that it was filled
            endpoint.make_bucket("pages")


def test_deep_keys_are_deep() -> None:
    assert deep_key(1_234_567) == "0/1/2/3/4/5/01234567"
