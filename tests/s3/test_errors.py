"""Every error is S3's document, with the id that the header and the log have too."""

from __future__ import annotations

import re

import pytest

from holdfast.s3.errors import ERRORS

from .raw import Raw, quote_key
from .test_keys import ODD_KEYS

REQUESTS: list[tuple[str, str, str, dict[str, str], int]] = [
    ("GET", "/missing-bucket", "", {}, 404),
    ("GET", "/missing-bucket/k", "", {}, 404),
    ("PUT", "/Bad_Name", "", {}, 400),
    ("GET", "/{bucket}/missing", "", {}, 404),
    ("GET", "/{bucket}/k", "", {"range": "bytes=100-"}, 416),
    ("GET", "/{bucket}/k", "", {"if-match": '"x"'}, 412),
    ("PUT", "/{bucket}/k", "annotation", {}, 501),
    ("POST", "/{bucket}/k", "", {}, 405),
    ("PUT", "/{bucket}/k", "partNumber=1&uploadId=x", {}, 404),
    ("GET", "/{bucket}", "max-keys=x", {}, 400),
    ("DELETE", "/{bucket}", "", {}, 409),
    ("PUT", "/{bucket}/k", "", {"content-md5": "x"}, 400),
    ("PUT", "/{bucket}/k", "&".join(f"a{n}=1" for n in range(101)), {}, 400),
]


@pytest.mark.parametrize(("method", "path", "query", "headers", "status"), REQUESTS, ids=str)
def test_the_document(
    raw: Raw, bucket: str, method: str, path: str, query: str, headers: dict[str, str], status: int
) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x")
    path = path.format(bucket=bucket)
    answer = raw(method, path, query, headers)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/xml"
    assert answer.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>')
    assert ERRORS[answer.code].status == status
    assert answer.text("Message")
    assert answer.text("Resource") == path
    assert re.fullmatch("[0-9A-F]{16}", answer.text("RequestId"))
    assert answer.headers["x-amz-request-id"] == answer.text("RequestId")
    assert answer.text("HostId")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/missing-bucket", {}, 404),
        ("/missing-bucket/k", {}, 404),
        ("/{bucket}/missing", {}, 404),
        ("/{bucket}/k", {"range": "bytes=100-"}, 416),
        ("/{bucket}/k", {"if-match": '"x"'}, 412),
        ("/{bucket}/k", {"authorization": "AWS4-HMAC-SHA256 x"}, 400),
    ],
    ids=str,
)
def test_head_has_the_status_only(
    raw: Raw, bucket: str, path: str, headers: dict[str, str], status: int
) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x")
    path = path.format(bucket=bucket)
    answer = raw.send("HEAD", path, "", {**raw.sign("HEAD", path, "", headers), **headers})
    assert (answer.status, answer.body) == (status, b"")
    assert re.fullmatch("[0-9A-F]{16}", answer.headers["x-amz-request-id"])


def test_every_request_has_an_id_of_its_own(raw: Raw, bucket: str) -> None:
    ids = set()
    for path in (f"/{bucket}", f"/{bucket}/k", "/", "/missing-bucket") * 5:
        for method in ("GET", "HEAD"):
            ids.add(raw(method, path).headers["x-amz-request-id"])
    assert len(ids) == 40


@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
def test_documents_parse_whatever_the_key(raw: Raw, bucket: str, key: str) -> None:
    """XML has no way to write most control characters: they are shown percent-encoded."""
    answer = raw("GET", f"/{bucket}/{quote_key(key)}")
    assert answer.code == "NoSuchKey"
    shown = answer.text("Key")
    unwritable = re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", key)
    assert shown == key or (unwritable and "%" in shown)
    assert answer.text("Resource").startswith(f"/{bucket}/")


def test_markup_in_a_key_is_escaped(raw: Raw, bucket: str) -> None:
    key = "</Key><Code>Fake</Code>"
    answer = raw("GET", f"/{bucket}/{quote_key(key)}")
    assert (answer.code, answer.text("Key")) == ("NoSuchKey", key)
    assert len(answer.texts("Code")) == 1


def test_the_connection_goes_on_after_an_error(raw: Raw, bucket: str) -> None:
    """A refused body is read or the connection closed, never taken for the next request."""
    body = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10
    for _ in range(3):
        answer = raw("PUT", "/missing-bucket/k", body=body)
        assert answer.code == "NoSuchBucket"
        assert raw("GET", f"/{bucket}/k").code == "NoSuchKey"
    large = body * 10_000
    assert raw("PUT", "/missing-bucket/k", body=large).code == "NoSuchBucket"
    assert raw("GET", f"/{bucket}/k").code == "NoSuchKey"
