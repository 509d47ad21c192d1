"""Listings against a model: every page, every marker, every delimiter."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.s3.ops.listing import KeyWriter
from holdfast.testing.server import Server

from .raw import Answer, Raw, target

_KEYS = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a/b/d",
    "a//x",
    "a0",
    "ab",
    "b&<>\"'",
    "b%2B c",
    "b+ c",
    "d::e::1",
    "d::e::2",
    "d::f",
    "d:g",
    "e/\U0010ffff",
    "e/\U0010ffff\U0010ffff/x",
    "e0",
    "z",
    "ä/1",
    "ä/2",
    "世界/1",
]
KEYS = sorted(_KEYS, key=str.encode)


class Page(NamedTuple):
    keys: list[str]
    prefixes: list[str]
    truncated: bool
    next: str


def rolled_up(keys: list[str], prefix: str, delimiter: str) -> list[tuple[str, bool]]:
    """The model: (key or common prefix, whether it is a prefix), each once, in byte order."""
    found: dict[str, bool] = {}
    for key in sorted(keys, key=lambda k: k.encode()):
        if key.startswith(prefix):
            head, delim, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            found[prefix + head + delim if delim else key] = bool(delim)
    return sorted(found.items(), key=lambda item: item[0].encode())


def expected(
    keys: list[str], prefix: str, delimiter: str, after: str, limit: int
) -> tuple[list[tuple[str, bool]], bool]:
    """S3: a common prefix is listed unless `after` is at or behind it, or lies inside of it."""
    rest = [
        (name, is_prefix)
        for name, is_prefix in rolled_up(keys, prefix, delimiter)
        if name.encode() > after.encode() and not (is_prefix and after.startswith(name))
    ]
    return rest[:limit], limit > 0 and len(rest) > limit


def query(**parameters: str | int) -> str:
    return "&".join(
        f"{name.replace('_', '-')}={quote(str(value), safe='')}"
        for name, value in parameters.items()
    )


def page_of(answer: Answer) -> Page:
    assert answer.status == 200, answer.body
    marker = answer.text("NextContinuationToken") or answer.text("NextMarker")
    return Page(
        [unquote_to_bytes(text).decode() for text in answer.texts("Contents/Key")],
        [unquote_to_bytes(text).decode() for text in answer.texts("CommonPrefixes/Prefix")],
        answer.text("IsTruncated") == "true",
        marker,
    )


@pytest.fixture(scope="module")
def listed(raw: Raw, new_bucket: Callable[[], str]) -> str:
    """A bucket with KEYS."""
    bucket = new_bucket()
    for key in KEYS:
        assert raw("PUT", target(bucket, key), body=key.encode()).status == 200
    return bucket


PREFIXES = st.sampled_from(["", "a", "a/", "a/b", "d::", "d", "e/", "ä", "zz", "a//"])
DELIMITERS = st.sampled_from(["", "/", "::", ":", "b", "ä", "\U0010ffff", "//", "/b/"])
AFTERS = st.one_of(
    st.just(""),
    st.sampled_from(KEYS),
    st.sampled_from(["a/", "a/b/", "a/zzz", "d::e::", "d::e::0", "ä/", "e/", "\U0010ffff", " "]),
    st.text(alphabet="abde/:ä\U0010ffff", max_size=4),
)


@settings(max_examples=150, deadline=None)
@given(PREFIXES, DELIMITERS, AFTERS, st.integers(0, 8))
@example("", "/", "a/b", 1000)  # a marker inside a common prefix skips it whole
@example("", "/", "a/", 1000)
@example("e/", "\U0010ffff", "", 1)
def test_a_page(raw: Raw, listed: str, prefix: str, delimiter: str, after: str, limit: int) -> None:
    wanted, truncated = expected(KEYS, prefix, delimiter, after, limit)
    common: dict[str, str | int] = {
        "prefix": prefix,
        "delimiter": delimiter,
        "max_keys": limit,
        "encoding_type": "url",
    }
    for parameters in ({"marker": after}, {"list_type": "2", "start_after": after}):
        page = page_of(raw("GET", f"/{listed}", query(**common, **parameters)))
        assert page.keys == [name for name, is_prefix in wanted if not is_prefix]
        assert page.prefixes == [name for name, is_prefix in wanted if is_prefix]
        assert page.truncated is truncated


@settings(max_examples=60, deadline=None)
@given(PREFIXES, DELIMITERS, st.integers(1, 7), st.booleans())
def test_a_walk_finds_everything_once(
    raw: Raw, listed: str, prefix: str, delimiter: str, limit: int, version_2: bool
) -> None:
    common: dict[str, str | int] = {
        "prefix": prefix,
        "delimiter": delimiter,
        "max_keys": limit,
        "encoding_type": "url",
    }
    if version_2:
        common["list_type"] = "2"
    names: list[tuple[str, bool]] = []
    more: dict[str, str] = {}
    for _ in range(len(KEYS) + 1):
        page = page_of(raw("GET", f"/{listed}", query(**common, **more)))
        found = [(name, False) for name in page.keys] + [(name, True) for name in page.prefixes]
        assert 0 < len(found) <= limit or not page.truncated
        names += sorted(found, key=lambda item: item[0].encode())
        if not page.truncated:
            break
        if version_2:
            more = {"continuation_token": page.next}
        elif delimiter:
            more = {"marker": unquote_to_bytes(page.next).decode()}
        else:
            assert page.next == "", "NextMarker is given with a delimiter only"
            more = {"marker": page.keys[-1]}
    assert names == rolled_up(KEYS, prefix, delimiter)


def test_elements_of_version_1(raw: Raw, listed: str) -> None:
    answer = raw("GET", f"/{listed}", "prefix=a&delimiter=%2F&marker=a&max-keys=2")
    children = " ".join(node.tag for node in answer.xml)
    assert children == (
        "Name Prefix Marker NextMarker MaxKeys IsTruncated Delimiter Contents CommonPrefixes"
    )
    assert answer.text("Name") == listed
    assert answer.text("NextMarker") == "a0"
    assert (answer.text("MaxKeys"), answer.text("Delimiter")) == ("2", "/")
    assert len(answer.text("Contents/Owner/ID")) == 64
    assert answer.headers["content-type"] == "application/xml"


def test_elements_of_version_2(raw: Raw, listed: str) -> None:
    answer = raw("GET", f"/{listed}", "list-type=2&prefix=a&start-after=a&max-keys=3")
    assert (answer.text("KeyCount"), answer.text("StartAfter")) == ("3", "a")
    assert answer.xml.find("Contents/Owner") is None
    token = answer.text("NextContinuationToken")
    following = raw("GET", f"/{listed}", query(list_type=2, prefix="a", continuation_token=token))
    assert following.text("ContinuationToken") == token
    assert following.texts("Contents/Key") == ["a/b/c", "a/b/d", "a0", "ab"]
    owned = raw("GET", f"/{listed}", "list-type=2&fetch-owner=true")
    assert len(set(owned.texts("Contents/Owner/ID"))) == 1
    assert owned.texts("Contents/ChecksumAlgorithm") == ["CRC64NVME"] * len(KEYS)


def test_a_continuation_token_wins_over_start_after(raw: Raw, listed: str) -> None:
    token = raw("GET", f"/{listed}", "list-type=2&max-keys=3").text("NextContinuationToken")
    parameters = {"list_type": "2", "continuation_token": token, "start_after": "z"}
    assert raw("GET", f"/{listed}", query(**parameters)).texts("Contents/Key")[0] == KEYS[3]


def test_without_encoding_keys_are_text(raw: Raw, listed: str) -> None:
    assert raw("GET", f"/{listed}", "list-type=2").texts("Contents/Key") == KEYS


@given(
    st.lists(st.one_of(st.binary(max_size=8), st.text("ab/%=+ &\0\uffff", max_size=5)), max_size=6),
    st.booleans(),
)
def test_keys_are_written_together_as_one_by_one(keys: list[bytes | str], url: bool) -> None:
    writer = KeyWriter(url)
    raw = [key.encode() if isinstance(key, str) else key for key in keys]
    assert writer.keys(raw) == [writer.key(key) for key in raw]


@pytest.mark.parametrize("limit", ["0", "1000", "1001", "2147483647"])
def test_max_keys(raw: Raw, listed: str, limit: str) -> None:
    answer = raw("GET", f"/{listed}", f"list-type=2&max-keys={limit}")
    assert answer.text("MaxKeys") == str(min(int(limit), 1000))
    assert len(answer.texts("Contents")) == (0 if limit == "0" else len(KEYS))
    assert answer.text("IsTruncated") == "false"


@pytest.mark.parametrize(
    "parameters",
    [
        "max-keys=-1",
        "max-keys=x",
        "max-keys=",
        "max-keys=2147483648",
        "max-keys=" + "9" * 5000,
        "max-keys=%C2%B2",
        "encoding-type=base64",
        "list-type=2&max-keys=-1",
        "list-type=2&max-keys=x",
        "list-type=2&encoding-type=URL",
        "list-type=3",
        "list-type=",
    ],
)
def test_refused_parameters(raw: Raw, listed: str, parameters: str) -> None:
    answer = raw("GET", f"/{listed}", parameters)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_an_empty_continuation_token_is_the_beginning(raw: Raw, listed: str) -> None:
    answer = raw("GET", f"/{listed}", "list-type=2&continuation-token=&start-after=a/b/c")
    assert answer.xml.find("ContinuationToken") is not None
    assert answer.texts("Contents/Key") == [key for key in KEYS if key > "a/b/c"]


@pytest.mark.parametrize("token", ["%21", "YQ%3D%3D%3D", "a", "%C3%A4"])
def test_refused_tokens(raw: Raw, listed: str, token: str) -> None:
    answer = raw("GET", f"/{listed}", f"list-type=2&continuation-token={token}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_invalid_utf8_is_refused(raw: Raw, listed: str) -> None:
    for name in ("prefix", "marker", "delimiter"):
        answer = raw("GET", f"/{listed}", f"{name}=%FF")
        assert (answer.status, answer.code) == (400, "InvalidURI")


def test_more_than_a_page(s3_server: Server, s3: Any, bucket: str) -> None:
    keys = [f"{n % 10}/{n:04}" for n in range(1200)]

    def put(some: list[str]) -> None:
        with Raw(s3_server) as mine:
            for key in some:
                assert mine("PUT", f"/{bucket}/{key}").status == 200

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, (keys[n::8] for n in range(8))))
    for operation in ("list_objects", "list_objects_v2"):
        pages = list(s3.get_paginator(operation).paginate(Bucket=bucket))
        assert [len(page["Contents"]) for page in pages] == [1000, 200]
        assert [e["Key"] for page in pages for e in page["Contents"]] == sorted(keys)
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == [f"{n}/" for n in range(10)]
    assert (page["KeyCount"], page["IsTruncated"]) == (10, False)


def test_listings_follow_writes_and_deletes(raw: Raw, bucket: str) -> None:
    for n in range(20):
        raw("PUT", f"/{bucket}/k{n:02}", body=b"x")
        assert len(raw("GET", f"/{bucket}").texts("Contents")) == n + 1
    for n in range(20):
        raw("DELETE", f"/{bucket}/k{n:02}")
        assert len(raw("GET", f"/{bucket}").texts("Contents")) == 19 - n
