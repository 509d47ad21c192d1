"""Conditions on writes and deletes: what fails changes nothing."""

from __future__ import annotations

import base64
import hashlib
from email.utils import parsedate_to_datetime

import pytest

from .raw import Raw
from .test_objects import noise

OTHER = '"00000000000000000000000000000000"'
SIZES = [10, 100_000]


@pytest.mark.parametrize("size", SIZES)
def test_create_only(raw: Raw, bucket: str, size: int) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""
    only_new = {"if-none-match": "*"}
    assert raw("PUT", f"/{bucket}/k", headers=only_new, body=noise(size)).status == 200
    answer = raw("PUT", f"/{bucket}/k", headers=only_new, body=noise(size, 1))
    assert (answer.status, answer.code) == (412, "PreconditionFailed")
    assert raw("GET", f"/{bucket}/k").body == noise(size)
    raw("DELETE", f"/{bucket}/k")
    assert raw("PUT", f"/{bucket}/k", headers=only_new, body=noise(size, 1)).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("name", ["if-match", "if-none-match"])
@pytest.mark.parametrize("value", ["", " ", '""'])
def test_an_empty_condition_is_not_none(
    raw: Raw, bucket: str, method: str, name: str, value: str
) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    answer = raw(method, f"/{bucket}/k", headers={name: value})
    assert answer.code in ("InvalidArgument", "NotImplemented")
    assert raw("GET", f"/{bucket}/k").body == b"kept"


@pytest.mark.parametrize("size", SIZES)
def test_replace_only(raw: Raw, bucket: str, size: int) -> None:
    missing = raw("PUT", f"/{bucket}/k", headers={"if-match": OTHER}, body=noise(size))
    assert (missing.status, missing.code) == (404, "NoSuchKey")
    etag = raw("PUT", f"/{bucket}/k", body=noise(size)).headers["etag"]
    wrong = raw("PUT", f"/{bucket}/k", headers={"if-match": OTHER}, body=noise(size, 1))
    assert (wrong.status, wrong.code) == (412, "PreconditionFailed")
    assert raw("GET", f"/{bucket}/k").body == noise(size)
    for value in (etag, bare_etag(noise(size, 1)), "*"):
        body = noise(size, 1)
        assert raw("PUT", f"/{bucket}/k", headers={"if-match": value}, body=body).status == 200
        assert raw("GET", f"/{bucket}/k").body == body


def bare_etag(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.mark.parametrize(
    "headers",
    [
        {"if-match": OTHER, "if-none-match": "*"},
        {"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"if-unmodified-since": "Thu, 01 Jan 2970 00:00:00 GMT"},
    ],
    ids=str,
)
def test_conditions_that_s3_does_not_take(raw: Raw, bucket: str, headers: dict[str, str]) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    answer = raw("PUT", f"/{bucket}/k", headers=headers, body=b"new")
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert raw("GET", f"/{bucket}/k").body == b"kept"


def test_another_etag_than_the_current(raw: Raw, bucket: str) -> None:
    """Beyond AWS, which documents `*` only: the condition of RFC 9110."""
    path = f"/{bucket}/k"
    assert raw("PUT", path, headers={"if-none-match": OTHER}, body=b"first").status == 200
    etag = raw("HEAD", path).headers["etag"]
    answer = raw("PUT", path, headers={"if-none-match": etag}, body=b"second")
    assert (answer.status, answer.code) == (412, "PreconditionFailed")
    assert raw("GET", path).body == b"first"
    assert raw("PUT", path, headers={"if-none-match": OTHER}, body=b"second").status == 200
    assert raw("GET", path).body == b"second"


def test_delete_if_match(raw: Raw, bucket: str) -> None:
    etag = raw("PUT", f"/{bucket}/k", body=b"kept").headers["etag"]
    answer = raw("DELETE", f"/{bucket}/k", headers={"if-match": OTHER})
    assert (answer.status, answer.code) == (412, "PreconditionFailed")
    assert raw("GET", f"/{bucket}/k").body == b"kept"
    assert raw("DELETE", f"/{bucket}/k", headers={"if-match": etag}).status == 204
    assert raw("GET", f"/{bucket}/k").code == "NoSuchKey"
    answer = raw("DELETE", f"/{bucket}/k", headers={"if-match": etag})
    assert (answer.status, answer.code) == (404, "NoSuchKey")
    raw("PUT", f"/{bucket}/k", body=b"x")
    assert raw("DELETE", f"/{bucket}/k", headers={"if-match": "*"}).status == 204


def test_delete_if_match_of_a_delete_marker(raw: Raw, bucket: str) -> None:
    """It does not match, where a key that was never there is not found; a write finds neither."""
    enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert raw("PUT", f"/{bucket}", "versioning", body=enabled).status == 200
    path = f"/{bucket}/k"
    etag = raw("PUT", path, body=b"x").headers["etag"]
    assert raw("DELETE", path, headers={"if-match": etag}).headers["x-amz-delete-marker"] == "true"
    for condition in ("*", etag.strip('"')):
        headers = {"if-match": condition}
        answer = raw("DELETE", path, headers=headers)
        assert (answer.status, answer.code) == (412, "PreconditionFailed")
        assert raw("DELETE", f"/{bucket}/never", headers=headers).code == "NoSuchKey"
        assert raw("PUT", path, headers=headers, body=b"x").code == "NoSuchKey"
        entry = f"<Object><Key>k</Key><ETag>{condition}</ETag></Object>"
        body = f"<Delete>{entry}</Delete>".encode()
        md5 = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
        assert raw("POST", f"/{bucket}", "delete", md5, body).text("Error/Code") == (
            "PreconditionFailed"
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"if-none-match": "*"},
        {"if-unmodified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"if-modified-since": "Thu, 01 Jan 2970 00:00:00 GMT"},
        {"x-amz-mfa": "20899872 301749"},
    ],
    ids=str,
)
def test_delete_refuses_other_conditions(raw: Raw, bucket: str, headers: dict[str, str]) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    assert raw("DELETE", f"/{bucket}/k", headers=headers).code == "NotImplemented"
    assert raw("GET", f"/{bucket}/k").body == b"kept"


def test_delete_if_size_and_time(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    modified = raw("HEAD", f"/{bucket}/k").headers["last-modified"]
    iso = parsedate_to_datetime(modified).strftime("%Y-%m-%dT%H:%M:%SZ")
    for headers in (
        {"x-amz-if-match-size": "5"},
        {"x-amz-if-match-last-modified-time": "Thu, 01 Jan 1970 00:00:10 GMT"},
        {"x-amz-if-match-size": "4", "x-amz-if-match-last-modified-time": "1970-01-02T00:00:00Z"},
        {"x-amz-if-match-last-modified-time": "1970-01-01T00:00:00Z"},  # 0 is a date, too
    ):
        answer = raw("DELETE", f"/{bucket}/k", headers=headers)
        assert (answer.status, answer.code) == (412, "PreconditionFailed"), headers
    for headers in (
        {"x-amz-if-match-size": "four"},
        {"x-amz-if-match-size": "9" * 30},
        {"x-amz-if-match-last-modified-time": "yesterday"},
    ):
        assert raw("DELETE", f"/{bucket}/k", headers=headers).code == "InvalidArgument", headers
    assert raw("GET", f"/{bucket}/k").body == b"kept"
    headers = {"x-amz-if-match-size": "4", "x-amz-if-match-last-modified-time": iso}
    assert raw("DELETE", f"/{bucket}/k", headers=headers).status == 204
    # what is not there has no size and no time that could be wrong
    assert raw("DELETE", f"/{bucket}/k", headers=headers).status == 204


def test_conditions_on_a_copy(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/source", body=b"source")
    etag = raw("PUT", f"/{bucket}/k", body=b"kept").headers["etag"]
    source = {"x-amz-copy-source": f"/{bucket}/source"}
    for headers, status in (
        ({"if-none-match": "*"}, 412),
        ({"if-match": OTHER}, 412),
        ({"if-none-match": etag}, 412),
        ({"if-match": etag, "if-none-match": OTHER}, 501),
    ):
        answer = raw("PUT", f"/{bucket}/k", headers={**source, **headers})
        assert answer.status == status, headers
        assert raw("GET", f"/{bucket}/k").body == b"kept"
    assert raw("PUT", f"/{bucket}/k", headers={**source, "if-match": etag}).status == 200
    assert raw("GET", f"/{bucket}/k").body == b"source"
