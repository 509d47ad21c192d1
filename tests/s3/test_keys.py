"""Keys: any valid UTF-8 of 1 to 1,024 bytes comes back exactly, and names one object only."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest

from .raw import Raw, target

ODD_KEYS = [
    "a b",
    " leading and trailing ",
    "a+b",
    "a%20b",
    "100%",
    "%2F",
    "a&b=c?d#e;f:g,h@i!j$k'l(m)n*o",
    '"quoted" <markup> & \\back\\slash ^`{|}~[]',
    "dir/file",
    "dir/",
    "/leading",
    "//two//slashes//",
    "/",
    ".",
    "..",
    "../../etc/passwd",
    "a/../b",
    "a/./b",
    "ä/é/世界/🎉",
    "a\u0301 is not \u00e1",
    "\u00e1",
    "\ufeffbom",
    "\u2028line\u2029",
    "\uffff\ufffe",
    "\U0010ffff",
    "tab\there",
    "new\nline",
    "carriage\rreturn",
    "nul\x00nul",
    "\x01\x02\x1f\x7f",
    "uploads",
    "?acl",
    "_holdfast/live",
    "x" * 1024,
    "ä" * 512,
]


@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
def test_there_and_back(raw: Raw, bucket: str, key: str) -> None:
    path = target(bucket, key)
    assert raw("PUT", path, body=key.encode()).status == 200
    assert raw("GET", path).body == key.encode()
    assert raw("HEAD", path).status == 200
    for query in ("encoding-type=url", "list-type=2&encoding-type=url"):
        listed = raw("GET", f"/{bucket}", query).texts("Contents/Key")
        assert [unquote_to_bytes(k) for k in listed] == [key.encode()]
    prefix = "prefix=" + quote(key, safe="")
    for query in ("", "list-type=2&"):
        answer = raw("GET", f"/{bucket}", f"{query}encoding-type=url&{prefix}")
        assert len(answer.texts("Contents/Key")) == 1
        assert unquote_to_bytes(answer.text("Prefix")) == key.encode()
    copied = raw("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": path})
    assert copied.status == 200
    assert raw("GET", f"/{bucket}/copy").body == key.encode()
    assert raw("DELETE", path).status == 204
    missing = raw("GET", path)
    assert (missing.status, missing.code) == (404, "NoSuchKey")


def test_boto3_agrees(s3: Any, bucket: str) -> None:
    """The SDK decodes what encoding-type=url encodes, so every key survives a listing."""
    keys = sorted(ODD_KEYS, key=lambda key: key.encode())
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for operation in ("list_objects", "list_objects_v2"):
        found = []
        for page in s3.get_paginator(operation).paginate(
            Bucket=bucket, PaginationConfig={"PageSize": 5}
        ):
            found += [entry["Key"] for entry in page.get("Contents", [])]
        assert found == keys, operation
    for key in keys:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()


def test_alike_is_not_the_same(raw: Raw, bucket: str) -> None:
    keys = ["a", "A", "a/", "/a", "//a", "a ", "a%20", "a+", "./a", "\u00e1", "a\u0301", "a\x00"]
    for key in keys:
        raw("PUT", target(bucket, key), body=key.encode())
    for key in keys:
        assert raw("GET", target(bucket, key)).body == key.encode(), key


@pytest.mark.parametrize(
    "encoded", ["a%2Fb", "a/b", "%61/%62", "a%2fb"], ids=["upper", "plain", "letters", "lower"]
)
def test_one_key_has_many_spellings(raw: Raw, bucket: str, encoded: str) -> None:
    assert raw("PUT", f"/{bucket}/{encoded}", body=b"x").status == 200
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == ["a/b"]
    assert raw("GET", f"/{bucket}/a/b").body == b"x"


def test_a_raw_utf8_path_names_the_same_key(raw: Raw, bucket: str) -> None:
    raw("PUT", target(bucket, "ä"), body=b"x")
    wire = f"/{bucket}/" + "ä".encode().decode("latin-1")
    answer = raw("GET", wire)
    # HTTP may refuse what RFC 3986 does not allow, but it may not name another object
    assert (answer.status, answer.body) == (200, b"x") or answer.status == 400


@pytest.mark.parametrize("key", ["x" * 1025, "ä" * 512 + "x", "世" * 342])
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_too_long(raw: Raw, bucket: str, key: str, method: str) -> None:
    answer = raw(method, target(bucket, key))
    assert (answer.status, answer.code) == (400, "KeyTooLongError")
    assert answer.text("MaxSizeAllowed") == "1024"
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == []


@pytest.mark.parametrize("encoded", ["%FF", "a%C3", "%ED%A0%80", "%C0%AF", "%F4%90%80%80"])
def test_invalid_utf8(raw: Raw, bucket: str, encoded: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        answer = raw(method, f"/{bucket}/{encoded}")
        assert (answer.status, answer.code) == (400, "InvalidURI")
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == []


def test_an_empty_bucket_name(raw: Raw) -> None:
    answer = raw("GET", "//key")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")
