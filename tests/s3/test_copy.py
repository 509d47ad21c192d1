"""CopyObject: what is copied, under which conditions, and that source and copy stay apart."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest

from .raw import Raw, quote_key
from .test_integrity import DIGESTS, text
from .test_objects import MIB, noise
from .test_reads import FUTURE, PAST

OTHER = '"00000000000000000000000000000000"'
MULTIPART = "multipart"
KINDS: list[int | str] = [0, 1000, 300_000, MULTIPART]


def put(s3: Any, bucket: str, key: str, kind: int | str, **more: Any) -> tuple[bytes, str]:
    """An object of a size, or of two parts: (its bytes, its ETag)."""
    if isinstance(kind, int):
        data = noise(kind)
        return data, s3.put_object(Bucket=bucket, Key=key, Body=data, **more)["ETag"]
    parts = [noise(5 * MIB, 1), noise(1000, 2)]
    upload = {"Bucket": bucket, "Key": key}
    upload["UploadId"] = s3.create_multipart_upload(**upload, **more)["UploadId"]
    etags = [
        s3.upload_part(**upload, PartNumber=n, Body=part)["ETag"] for n, part in enumerate(parts, 1)
    ]
    done = s3.complete_multipart_upload(
        **upload,
        MultipartUpload={"Parts": [{"PartNumber": n, "ETag": e} for n, e in enumerate(etags, 1)]},
    )
    return b"".join(parts), done["ETag"]


def source(bucket: str, key: str) -> dict[str, str]:
    return {"x-amz-copy-source": f"/{bucket}/{quote_key(key)}"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same bucket", "other bucket"])
def test_copy(
    s3: Any, raw: Raw, new_bucket: Callable[[], str], kind: int | str, elsewhere: bool
) -> None:
    bucket = new_bucket()
    target = new_bucket() if elsewhere else bucket
    data, etag = put(
        s3, bucket, "source", kind, Metadata={"a": "1"}, ContentType="text/x", CacheControl="no"
    )
    answer = raw("PUT", f"/{target}/copy", headers=source(bucket, "source"))
    assert (answer.status, answer.xml.tag, answer.text("ETag")) == (200, "CopyObjectResult", etag)
    got = raw("GET", f"/{target}/copy", headers={"x-amz-checksum-mode": "ENABLED"})
    assert (got.body, got.headers["etag"]) == (data, etag)
    assert got.headers["x-amz-meta-a"] == "1"
    assert (got.headers["content-type"], got.headers["cache-control"]) == ("text/x", "no")
    original = raw("HEAD", f"/{bucket}/source", headers={"x-amz-checksum-mode": "ENABLED"})
    for name in original.headers:
        if name.startswith("x-amz-checksum-"):
            assert got.headers[name] == original.headers[name]
    # neither needs the other
    raw("DELETE", f"/{bucket}/source")
    assert raw("GET", f"/{target}/copy").body == data
    assert raw("PUT", f"/{bucket}/back", headers=source(target, "copy")).status == 200
    raw("DELETE", f"/{target}/copy")
    assert raw("GET", f"/{bucket}/back").body == data
    ranged = raw("GET", f"/{bucket}/back", headers={"range": "bytes=-10"})
    assert ranged.body == (data[-10:] if data else ranged.body)


def test_the_copy_replaces_what_was_there(s3: Any, raw: Raw, bucket: str) -> None:
    for kind in KINDS:
        data, _ = put(s3, bucket, "source", kind)
        raw("PUT", f"/{bucket}/copy", headers=source(bucket, "source"))
        assert raw("GET", f"/{bucket}/copy").body == data


def test_replace(s3: Any, raw: Raw, bucket: str) -> None:
    put(s3, bucket, "source", 1000, Metadata={"a": "1"}, ContentType="text/x")
    headers = {
        **source(bucket, "source"),
        "x-amz-metadata-directive": "REPLACE",
        "x-amz-meta-b": "2",
        "content-language": "de",
        "x-amz-storage-class": "STANDARD_IA",
    }
    assert raw("PUT", f"/{bucket}/copy", headers=headers).status == 200
    got = raw("HEAD", f"/{bucket}/copy").headers
    assert got["x-amz-meta-b"] == "2"
    assert got["content-language"] == "de"
    assert got["content-type"] == "binary/octet-stream"
    assert got["x-amz-storage-class"] == "STANDARD_IA"
    assert "x-amz-meta-a" not in got


def test_copy_ignores_metadata_without_the_directive(s3: Any, raw: Raw, bucket: str) -> None:
    put(s3, bucket, "source", 10, Metadata={"a": "1"})
    headers = {**source(bucket, "source"), "x-amz-meta-b": "2", "content-type": "text/y"}
    raw("PUT", f"/{bucket}/copy", headers=headers)
    got = raw("HEAD", f"/{bucket}/copy").headers
    assert (got["x-amz-meta-a"], got["content-type"]) == ("1", "binary/octet-stream")
    assert "x-amz-meta-b" not in got


@pytest.mark.parametrize("kind", KINDS)
def test_to_itself(s3: Any, raw: Raw, bucket: str, kind: int | str) -> None:
    data, etag = put(s3, bucket, "k", kind, Metadata={"a": "1"})
    itself = source(bucket, "k")
    answer = raw("PUT", f"/{bucket}/k", headers=itself)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert "copy an object to itself" in answer.text("Message")
    for change, header, value in (
        ({"x-amz-metadata-directive": "REPLACE", "x-amz-meta-a": "2"}, "x-amz-meta-a", "2"),
        ({"x-amz-storage-class": "STANDARD_IA"}, "x-amz-storage-class", "STANDARD_IA"),
    ):
        assert raw("PUT", f"/{bucket}/k", headers={**itself, **change}).status == 200
        got = raw("GET", f"/{bucket}/k")
        assert (got.body, got.headers["etag"], got.headers[header]) == (data, etag, value)


#: as in test_reads, but every failure is 412
CONDITIONS = [
    ("if-match", "E", 200),
    ("if-match", "O", 412),
    ("if-none-match", "E", 412),
    ("if-none-match", "O", 200),
    ("if-modified-since", "P", 200),
    ("if-modified-since", "F", 412),
    ("if-unmodified-since", "F", 200),
    ("if-unmodified-since", "P", 412),
]


@pytest.mark.parametrize(("name", "value", "status"), CONDITIONS)
def test_conditions_on_the_source(
    s3: Any, raw: Raw, bucket: str, name: str, value: str, status: int
) -> None:
    data, etag = put(s3, bucket, "source", 1000)
    raw("PUT", f"/{bucket}/copy", body=b"kept")
    now = parsedate_to_datetime(raw("HEAD", f"/{bucket}/source").headers["last-modified"])
    values = {
        "E": etag,
        "O": OTHER,
        "P": format_datetime(now + PAST, usegmt=True),
        "F": format_datetime(now + FUTURE, usegmt=True),
    }
    headers = {**source(bucket, "source"), f"x-amz-copy-source-{name}": values[value]}
    answer = raw("PUT", f"/{bucket}/copy", headers=headers)
    assert answer.status == status
    assert raw("GET", f"/{bucket}/copy").body == (data if status == 200 else b"kept")


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        ("/missing-bucket/k", 404, "NoSuchBucket"),
        ("/{bucket}/missing", 404, "NoSuchKey"),
        ("/{bucket}/source?versionId=null", 200, ""),
        ("/{bucket}/missing?versionId=null", 404, "NoSuchVersion"),
        ("/{bucket}/source?versionId=abc", 400, "InvalidArgument"),
        ("{bucket}/source", 200, ""),
        ("%2F{bucket}%2Fsource", 200, ""),
        ("/{bucket}/%FF", 400, "InvalidURI"),
        ("/{bucket}/" + "x" * 1025, 400, "KeyTooLongError"),
        ("/{bucket}/", 400, "InvalidArgument"),
        ("/{bucket}", 400, "InvalidArgument"),
        ("/", 400, "InvalidArgument"),
        ("", 400, "InvalidArgument"),
    ],
)
def test_sources(raw: Raw, bucket: str, value: str, status: int, code: str) -> None:
    raw("PUT", f"/{bucket}/source", body=b"source")
    raw("PUT", f"/{bucket}/k", body=b"kept")
    headers = {"x-amz-copy-source": value.format(bucket=bucket)}
    answer = raw("PUT", f"/{bucket}/k", headers=headers)
    assert (answer.status, answer.code) == (status, code)
    assert raw("GET", f"/{bucket}/k").body == (b"source" if status == 200 else b"kept")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-metadata-directive": "REPLICATE"}, "InvalidArgument"),
        ({"x-amz-metadata-directive": ""}, "InvalidArgument"),
        ({"x-amz-tagging-directive": "REPLACE", "x-amz-tagging": "a" * 129}, "InvalidTag"),
        ({"x-amz-tagging-directive": "x"}, "InvalidArgument"),
        ({"x-amz-copy-source-range": "bytes=0-4"}, "NotImplemented"),
        ({"x-amz-copy-source-server-side-encryption-customer-key": "k"}, "NotImplemented"),
        ({"x-amz-server-side-encryption": "AES256"}, "NotImplemented"),
        ({"x-amz-website-redirect-location": "x"}, "InvalidRedirectLocation"),
        ({"x-amz-object-lock-mode": "GOVERNANCE"}, "InvalidArgument"),
        ({"x-amz-object-lock-legal-hold": "ON"}, "InvalidRequest"),
        ({"x-amz-storage-class": "GLACIER"}, "NotImplemented"),
        ({"x-amz-checksum-algorithm": "CRC7"}, "InvalidRequest"),
        ({"x-amz-source-expected-bucket-owner": "0" * 64}, "AccessDenied"),
        ({"x-amz-acl": "public-read"}, "AccessControlListNotSupported"),
    ],
    ids=str,
)
def test_refused(raw: Raw, bucket: str, headers: dict[str, str], code: str) -> None:
    raw("PUT", f"/{bucket}/source", body=b"source")
    raw("PUT", f"/{bucket}/k", body=b"kept")
    answer = raw("PUT", f"/{bucket}/k", headers={**source(bucket, "source"), **headers})
    assert answer.code == code
    assert raw("GET", f"/{bucket}/k").body == b"kept"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["crc32c", "sha512", "xxhash3"])
def test_another_checksum(s3: Any, bucket: str, kind: int | str, name: str) -> None:
    """The content is read once more; what is copied is still shared."""
    data, etag = put(s3, bucket, "source", kind)
    done = s3.copy_object(
        Bucket=bucket,
        Key="copy",
        CopySource={"Bucket": bucket, "Key": "source"},
        ChecksumAlgorithm=name.upper(),
    )["CopyObjectResult"]
    wanted = text(DIGESTS[name](data))
    assert (done[f"Checksum{name.upper()}"], done["ChecksumType"]) == (wanted, "FULL_OBJECT")
    got = s3.get_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert (got[f"Checksum{name.upper()}"], got["ETag"]) == (wanted, etag)
    assert got["Body"].read() == data
