"""What is not implemented is refused and changes nothing: all 116 operations, and the hazards.

The requests derive from the declarations, so an operation that is added without being implemented
is in this test by itself.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

import holdfast.s3.ops  # noqa: F401 - importing it declares the operations
from holdfast.s3.catalogue import ALIASES, MEANINGFUL_HEADERS
from holdfast.s3.operation import BUCKET, OBJECT, OPERATIONS, SERVICE, Level

from .raw import Answer, Raw

BODY = b"must stay as it is"
REFUSED = sorted(
    {name for name, op in OPERATIONS.items() if op.handler is None}
    | {name for name, known in ALIASES.items() if OPERATIONS[known].handler is None}
)


class Kept(NamedTuple):
    """A bucket with an object that no refused request may change."""

    bucket: str
    raw: Raw

    def path(self, level: Level) -> str:
        return {SERVICE: "/", BUCKET: f"/{self.bucket}", OBJECT: f"/{self.bucket}/k"}[level]

    def state(self) -> tuple[object, ...]:
        listed = self.raw("GET", f"/{self.bucket}")
        got = self.raw("GET", f"/{self.bucket}/k")
        headers = {n: v for n, v in got.headers.items() if n not in ("date", "x-amz-request-id")}
        buckets = self.raw("GET", "/").texts("Buckets/Bucket/Name")
        return listed.status, listed.texts("Contents/Key"), got.body, headers, buckets


@pytest.fixture(scope="module")
def kept_bucket(raw: Raw, new_bucket: Callable[[], str]) -> Kept:
    kept = Kept(new_bucket(), raw)
    raw("PUT", f"/{kept.bucket}/k", headers={"x-amz-meta-a": "1"}, body=BODY)
    raw("PUT", f"/{kept.bucket}/source", body=b"source")
    return kept


@pytest.fixture
def kept(kept_bucket: Kept) -> Iterator[Kept]:
    before = kept_bucket.state()
    assert before[:3] == (200, ["k", "source"], BODY)
    yield kept_bucket
    assert kept_bucket.state() == before


def assert_not_implemented(answer: Answer, method: str) -> None:
    assert answer.status == 501
    assert answer.headers["x-amz-request-id"]
    if method != "HEAD":
        assert answer.headers["content-type"] == "application/xml"
        assert answer.code == "NotImplemented"
        assert answer.text("RequestId") == answer.headers["x-amz-request-id"]


def test_the_list_is_complete() -> None:
    """116 operations of AWS's service model, and the form upload."""
    assert len(OPERATIONS) + len(ALIASES) == 117
    assert len(REFUSED) > 20


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("body", [b"", b"<Some><Configuration/></Some>"], ids=["empty", "body"])
def test_not_implemented(kept: Kept, name: str, body: bytes) -> None:
    op = OPERATIONS[ALIASES.get(name, name)]
    values = {"partNumber": "1", "uploadId": "u", "annotationName": "n", "select-type": "2"}
    pairs = [one.partition("=") for one in op.query]
    query = "&".join(f"{key}={value or values.get(key, '')}" for key, _, value in pairs)
    headers = {op.header: f"/{kept.bucket}/source"} if op.header else {}
    answer = kept.raw(op.method, kept.path(op.level), query, headers, body)
    assert_not_implemented(answer, op.method)
    # neither does an id beside it, as a client would name one configuration of many
    answer = kept.raw(op.method, kept.path(op.level), f"{query}&id=x&x-id={name}", headers, body)
    assert_not_implemented(answer, op.method)


SUBRESOURCES = sorted({q.partition("=")[0] for op in OPERATIONS.values() for q in op.query})


@pytest.mark.parametrize("subresource", [*SUBRESOURCES, "append"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
@pytest.mark.parametrize("level", [BUCKET, OBJECT], ids=["bucket", "object"])
def test_no_subresource_falls_through(
    kept: Kept, method: str, level: Level, subresource: str
) -> None:
    """Peers delete a whole bucket on `DELETE /b?replication`."""
    answer = kept.raw(method, kept.path(level), subresource, body=b"overwritten")
    if subresource == "uploads" and (method, level) == ("POST", OBJECT):
        assert answer.status == 200
        upload_id = answer.text("UploadId")
        kept.raw("DELETE", kept.path(level), f"uploadId={upload_id}")
    elif answer.status == 204:  # a configuration was removed, or there was none
        assert any(
            op.handler is not None and (op.method, op.level) == (method, level)
            for op in OPERATIONS.values()
            if op.query == (subresource,)
        )
    else:
        assert answer.status in (400, 404, 405, 501), answer
        assert answer.code


HAZARDS: list[tuple[str, Level, str, dict[str, str]]] = [
    ("PUT", OBJECT, "annotation", {}),
    ("PUT", OBJECT, "annotation&annotationName=n", {}),
    ("PUT", OBJECT, "", {"x-amz-rename-source": "/source"}),
    ("PUT", OBJECT, "append&position=0", {}),
    ("PUT", OBJECT, "", {"x-amz-write-offset-bytes": "5"}),
    ("PUT", OBJECT, "", {"x-amz-server-side-encryption": "AES256"}),
    ("PUT", OBJECT, "", {"x-amz-server-side-encryption": "aws:kms"}),
    ("PUT", OBJECT, "", {"x-amz-server-side-encryption-customer-algorithm": "AES256"}),
    ("PUT", OBJECT, "encryption", {}),
    ("POST", OBJECT, "uploads", {"x-amz-server-side-encryption": "AES256"}),
    ("DELETE", OBJECT, "", {"x-amz-mfa": "1 2"}),
    ("DELETE", OBJECT, "annotation&annotationName=n", {}),
    ("DELETE", BUCKET, "versioning", {}),
    ("GET", OBJECT, "", {"x-amz-server-side-encryption-customer-key": "k"}),
    ("GET", OBJECT, "torrent", {}),
    ("HEAD", OBJECT, "", {"x-amz-server-side-encryption-customer-algorithm": "AES256"}),
]


@pytest.mark.parametrize(("method", "level", "query", "headers"), HAZARDS, ids=str)
def test_hazards(
    kept: Kept, method: str, level: Level, query: str, headers: dict[str, str]
) -> None:
    body = b"overwritten" if method in ("PUT", "POST") else b""
    assert_not_implemented(kept.raw(method, kept.path(level), query, headers, body), method)


#: methods and paths of what is implemented, and what each of S3's headers means there
@pytest.mark.parametrize("header", sorted(MEANINGFUL_HEADERS))
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_header_is_taken_or_refused(kept: Kept, method: str, header: str) -> None:
    """No header of S3's is passed over by a write: every value here asks for something."""
    answer = kept.raw(method, kept.path(OBJECT), "", {header: "no such value!"}, b"overwritten")
    assert answer.status in (400, 501)
    assert answer.code


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-acl": "public-read"},
        {"x-amz-acl": "public-read-write"},
        {"x-amz-acl": "authenticated-read"},
        {"x-amz-acl": ""},
        {"x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'},
        {"x-amz-grant-full-control": "id=1"},
    ],
    ids=str,
)
def test_access_control_lists(raw: Raw, bucket: str, method: str, headers: dict[str, str]) -> None:
    """As on AWS since ACLs are disabled by default: only those that change nothing are taken."""
    query = "uploads" if method == "POST" else ""
    answer = raw(method, f"/{bucket}/k", query, headers, b"overwritten")
    expected = "AccessControlListNotSupported" if all(headers.values()) else "InvalidArgument"
    assert (answer.status, answer.code) == (400, expected)
    answer = raw("PUT", "/new-with-acl", "", headers)
    assert answer.code in ("InvalidBucketAclWithObjectOwnership", "InvalidArgument")


def test_an_access_control_list_that_changes_nothing(raw: Raw, bucket: str) -> None:
    for acl in ("private", "bucket-owner-full-control"):
        headers = {"x-amz-acl": acl}
        assert raw("PUT", f"/{bucket}/k", headers=headers, body=b"x").status == 200


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("x-id=PutObject", {}),
        ("foo=bar", {}),
        ("foo", {}),
        ("", {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https", "via": "1.1 proxy"}),
        ("", {"x-amz-cf-id": "x", "x-amz-request-payer": "requester", "x-amzn-trace-id": "Root=1"}),
        ("", {"amz-sdk-invocation-id": "x", "amz-sdk-request": "attempt=1"}),
        ("", {"x-amz-object-lock": "x", "x-amz-unknown": "x", "x-custom": "y"}),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_ignored(
    raw: Raw, bucket: str, query: str, headers: dict[str, str]
) -> None:
    path = f"/{bucket}/k"
    assert raw("PUT", path, query, headers, b"data").status == 200
    assert raw("GET", path, query, headers).body == b"data"
    assert raw("GET", f"/{bucket}", query, headers).texts("Contents/Key") == ["k"]
    assert raw("DELETE", path, query, headers).status == 204
    assert raw("GET", path).code == "NoSuchKey"


def test_the_checksum_of_no_body_is_no_wish(kept: Kept) -> None:
    """The AWS SDK for Java sends it with every GET. Any other says that a body is missing."""
    empty = hashlib.sha1(b"", usedforsecurity=False).digest()
    for headers in (
        {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-sdk-checksum-algorithm": "CRC32"},
        {"x-amz-checksum-sha1": base64.b64encode(empty).decode()},
    ):
        assert kept.raw("GET", kept.path(OBJECT), headers=headers).body == BODY
        assert kept.raw("HEAD", kept.path(OBJECT), headers=headers).status == 200
        assert kept.raw("GET", kept.path(BUCKET), headers=headers).status == 200
    other = {"x-amz-checksum-crc32": "AAAAAQ=="}
    assert_not_implemented(kept.raw("GET", kept.path(OBJECT), headers=other), "GET")


def test_other_methods(kept: Kept) -> None:
    for method in ("PATCH", "POST", "TRACE", "PROPFIND"):
        answer = kept.raw(method, kept.path(OBJECT))
        assert answer.status in (400, 405, 501), method
    for method in ("DELETE", "PUT", "POST"):
        answer = kept.raw(method, "/")
        assert (answer.status, answer.code) == (405, "MethodNotAllowed"), method
    preflight = {
        "host": kept.raw.host,
        "origin": "http://a",
        "access-control-request-method": "PUT",
    }
    answer = kept.raw.send("OPTIONS", kept.path(OBJECT), "", preflight)
    assert (answer.status, answer.code) == (403, "AccessForbidden")


def test_the_bytes_are_those_that_were_written(kept: Kept) -> None:
    answer = kept.raw("GET", kept.path(OBJECT))
    assert answer.headers["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
