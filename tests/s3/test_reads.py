"""Reads: ranges, conditions and the response-* overrides, over inline and filed content alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest

from .raw import Raw
from .test_objects import noise

SIZES = [1000, 200_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, -1),
        ("bytes=10-19", 10, 19),
        ("bytes=999-", 999, -1),
        ("bytes=-1", -1, -1),
        ("bytes=-500", -500, -1),
        ("bytes=-99999999999", 0, -1),
        ("bytes=500-99999999999", 500, -1),
        ("bytes=0-999999999999999999", 0, -1),
        ("bytes= 10 - 19 ", 10, 19),
    ],
)
def test_ranges(raw: Raw, bucket: str, size: int, text: str, first: int, last: int) -> None:
    data = noise(size)
    raw("PUT", f"/{bucket}/k", body=data)
    start, stop = first % size, last % size
    for method in ("GET", "HEAD"):
        answer = raw(method, f"/{bucket}/k", headers={"range": text})
        assert answer.status == 206
        assert answer.headers["content-range"] == f"bytes {start}-{stop}/{size}"
        assert answer.headers["content-length"] == str(stop - start + 1)
        assert answer.body == (data[start : stop + 1] if method == "GET" else b"")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "text",
    [
        "bytes=5-4",
        "bytes=-",
        "bytes=",
        "bytes",
        "bytes=a-b",
        "bytes=0x1-5",
        "bytes=0-1,3-4",
        "items=0-5",
        "0-5",
        "bytes=--5",
        "bytes=+1-5",
        "bytes=1-5-9",
        "bytes=99999999999999999999999-",
    ],
)
def test_ranges_that_are_ignored(raw: Raw, bucket: str, size: int, text: str) -> None:
    """RFC 9110 14.2: what can't be understood is not there; several ranges S3 does not have."""
    data = noise(size)
    raw("PUT", f"/{bucket}/k", body=data)
    answer = raw("GET", f"/{bucket}/k", headers={"range": text})
    assert (answer.status, answer.body) == (200, data)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1000, "bytes=1000-"),
        (1000, "bytes=1000-1005"),
        (1000, "bytes=-0"),
        (200_000, "bytes=200000-"),
        (0, "bytes=0-"),
        (0, "bytes=0-0"),
        (0, "bytes=-5"),
    ],
)
def test_unsatisfiable_ranges(raw: Raw, bucket: str, size: int, text: str) -> None:
    raw("PUT", f"/{bucket}/k", body=noise(size))
    answer = raw("GET", f"/{bucket}/k", headers={"range": text})
    assert (answer.status, answer.code) == (416, "InvalidRange")
    assert answer.headers["content-range"] == f"bytes */{size}"
    assert answer.text("ActualObjectSize") == str(size)
    assert answer.text("RangeRequested") == text
    head = raw("HEAD", f"/{bucket}/k", headers={"range": text})
    assert (head.status, head.body) == (416, b"")


def test_if_range(raw: Raw, bucket: str) -> None:
    etag = raw("PUT", f"/{bucket}/k", body=b"0123456789").headers["etag"]
    modified = raw("HEAD", f"/{bucket}/k").headers["last-modified"]
    for condition, status in (
        (etag, 206),
        ('"other"', 200),
        (f"W/{etag}", 200),
        (modified, 206),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ("nonsense", 200),
    ):
        headers = {"range": "bytes=2-3", "if-range": condition}
        answer = raw("GET", f"/{bucket}/k", headers=headers)
        expected = b"23" if status == 206 else b"0123456789"
        assert (answer.status, answer.body) == (status, expected), condition


PAST, FUTURE = timedelta(days=-1), timedelta(days=1)

#: conditions as (header, value); E is the object's ETag, O another, N its date, P before, F after
CONDITIONS: list[tuple[list[tuple[str, str]], int]] = [
    ([("if-match", "E")], 200),
    ([("if-match", "*")], 200),
    ([("if-match", "O")], 412),
    ([("if-match", "O, E")], 200),
    ([("if-match", "bare E")], 200),
    ([("if-none-match", "E")], 304),
    ([("if-none-match", "weak E")], 304),
    ([("if-none-match", "*")], 304),
    ([("if-none-match", "O")], 200),
    ([("if-none-match", "O, E")], 304),
    ([("if-modified-since", "P")], 200),
    ([("if-modified-since", "N")], 304),
    ([("if-modified-since", "F")], 304),
    ([("if-modified-since", "yesterday")], 200),
    ([("if-unmodified-since", "P")], 412),
    ([("if-unmodified-since", "N")], 200),
    ([("if-unmodified-since", "F")], 200),
    ([("if-unmodified-since", "yesterday")], 200),
    # S3: of two that disagree the entity tag counts
    ([("if-match", "E"), ("if-unmodified-since", "P")], 200),
    ([("if-match", "O"), ("if-unmodified-since", "F")], 412),
    ([("if-none-match", "E"), ("if-modified-since", "P")], 304),
    ([("if-none-match", "O"), ("if-modified-since", "F")], 200),
    ([("if-match", "E"), ("if-none-match", "E")], 304),
    ([("if-match", "O"), ("if-none-match", "E")], 412),
]


@pytest.mark.parametrize(("conditions", "status"), CONDITIONS, ids=str)
def test_conditions(raw: Raw, bucket: str, conditions: list[tuple[str, str]], status: int) -> None:
    etag = raw("PUT", f"/{bucket}/k", body=b"data").headers["etag"]
    modified = raw("HEAD", f"/{bucket}/k").headers["last-modified"]
    now = parsedate_to_datetime(modified)
    other = '"00000000000000000000000000000000"'
    values = {
        "E": etag,
        "O": other,
        "O, E": f"{other}, {etag}",
        "bare E": etag.strip('"'),
        "weak E": f"W/{etag}",
        "N": modified,
        "P": format_datetime(now + PAST, usegmt=True),
        "F": format_datetime(now + FUTURE, usegmt=True),
    }
    headers = {name: values.get(value, value) for name, value in conditions}
    for method in ("GET", "HEAD"):
        answer = raw(method, f"/{bucket}/k", headers=headers)
        assert answer.status == status
        if status == 200:
            assert answer.body == (b"data" if method == "GET" else b"")
        elif status == 304:
            assert answer.body == b""
            assert (answer.headers["etag"], answer.headers["last-modified"]) == (etag, modified)
        elif method == "GET":
            assert answer.code == "PreconditionFailed"
            assert answer.text("Condition").lower() in headers


def test_conditions_on_what_is_missing(raw: Raw, bucket: str) -> None:
    for name in ("if-match", "if-none-match"):
        assert raw("GET", f"/{bucket}/gone", headers={name: "*"}).code == "NoSuchKey"


def test_last_modified_is_now(raw: Raw, bucket: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    raw("PUT", f"/{bucket}/k", body=b"x")
    modified = parsedate_to_datetime(raw("HEAD", f"/{bucket}/k").headers["last-modified"])
    assert before <= modified <= datetime.now(UTC)
    listed = raw("GET", f"/{bucket}").text("Contents/LastModified")
    assert datetime.fromisoformat(listed) == modified


OVERRIDES = {
    "response-cache-control": ("no-cache", "cache-control", "no-cache"),
    "response-content-disposition": (
        "attachment%3B%20filename%3D%22a%20b.txt%22",
        "content-disposition",
        'attachment; filename="a b.txt"',
    ),
    "response-content-encoding": ("gzip", "content-encoding", "gzip"),
    "response-content-language": ("de+AT", "content-language", "de AT"),
    "response-content-type": ("text%2Fplain", "content-type", "text/plain"),
    "response-expires": ("Thu%2C%2001%20Dec%202994", "expires", "Thu, 01 Dec 2994"),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_overrides(raw: Raw, bucket: str, name: str) -> None:
    value, header, shown = OVERRIDES[name]
    raw("PUT", f"/{bucket}/k", headers={"content-type": "text/html"}, body=b"x")
    for method in ("GET", "HEAD"):
        answer = raw(method, f"/{bucket}/k", f"{name}={value}")
        assert answer.headers[header] == shown
    assert raw("GET", f"/{bucket}/k").headers["content-type"] == "text/html"


def test_all_overrides_at_once(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x")
    query = "&".join(f"{name}={value}" for name, (value, _, _) in OVERRIDES.items())
    headers = raw("GET", f"/{bucket}/k", query).headers
    for _, header, shown in OVERRIDES.values():
        assert headers[header] == shown


@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.parametrize("value", ["a%0D%0AX-Injected%3A%201", "a%0Ab", "a%0Db", "a%00b", "%7F"])
def test_overrides_inject_nothing(raw: Raw, bucket: str, name: str, value: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x")
    answer = raw("GET", f"/{bucket}/k", f"{name}={value}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert "x-injected" not in answer.headers


def test_an_override_in_utf8(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x")
    answer = raw("GET", f"/{bucket}/k", "response-content-disposition=%C3%A4.txt")
    assert answer.headers["content-disposition"].encode("latin-1") == "ä.txt".encode()
