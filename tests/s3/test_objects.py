"""Objects there and back: bytes of every size, metadata, storage classes, deletes."""

from __future__ import annotations

import base64
import hashlib
import io
import random
from contextlib import closing
from typing import Any

import pytest
from awscrt.checksums import crc64nvme

from holdfast.testing.server import Server

from .conftest import INLINE_BYTES_MAX, make_client
from .raw import Raw

MIB = 1024 * 1024


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def crc64_text(data: bytes) -> str:
    return base64.b64encode(crc64nvme(data).to_bytes(8, "big")).decode()


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        4096,
        INLINE_BYTES_MAX - 1,
        INLINE_BYTES_MAX,
        INLINE_BYTES_MAX + 1,
        64 * 1024,
        MIB,
        MIB + 1,
        9 * MIB + 12345,
    ],
)
def test_there_and_back(raw: Raw, bucket: str, size: int) -> None:
    data = noise(size)
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    put = raw("PUT", f"/{bucket}/k", body=data)
    assert (put.status, put.body, put.headers["etag"]) == (200, b"", etag)
    assert put.headers["x-amz-checksum-crc64nvme"] == crc64_text(data)
    assert put.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    got = raw("GET", f"/{bucket}/k")
    assert got.status == 200
    assert got.body == data
    assert got.headers["etag"] == etag
    assert got.headers["content-type"] == "binary/octet-stream"
    assert got.headers["accept-ranges"] == "bytes"
    head = raw("HEAD", f"/{bucket}/k")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"] == str(size)
    assert head.headers["last-modified"] == got.headers["last-modified"]
    assert head.headers["etag"] == etag
    listed = raw("GET", f"/{bucket}", "list-type=2")
    assert listed.texts("Contents/Size") == [str(size)]
    assert listed.texts("Contents/ETag") == [etag]


@pytest.mark.parametrize("sizes", [(10, 100_000), (100_000, 10), (100_000, 90_000), (5, 0)])
def test_the_last_write_wins(raw: Raw, bucket: str, sizes: tuple[int, int]) -> None:
    for seed, size in enumerate(sizes):
        raw("PUT", f"/{bucket}/k", body=noise(size, seed))
        assert raw("GET", f"/{bucket}/k").body == noise(size, seed)
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == ["k"]


@pytest.mark.parametrize("size", [10, 100_000])
def test_delete(raw: Raw, bucket: str, size: int) -> None:
    raw("PUT", f"/{bucket}/k", body=noise(size))
    answer = raw("DELETE", f"/{bucket}/k")
    assert (answer.status, answer.body) == (204, b"")
    answer = raw("GET", f"/{bucket}/k")
    assert (answer.status, answer.code, answer.text("Key")) == (404, "NoSuchKey", "k")
    assert raw("HEAD", f"/{bucket}/k").status == 404
    assert raw("DELETE", f"/{bucket}/k").status == 204, "deleting what is not there succeeds"


def test_the_same_content_under_many_keys(raw: Raw, bucket: str) -> None:
    data = noise(200_000)
    for key in "abc":
        raw("PUT", f"/{bucket}/{key}", body=data)
    raw("DELETE", f"/{bucket}/a")
    raw("PUT", f"/{bucket}/b", body=b"else")
    assert raw("GET", f"/{bucket}/c").body == data


def test_version_ids(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x")
    assert raw("GET", f"/{bucket}/k", "versionId=null").body == b"x"
    for method in ("GET", "DELETE"):
        answer = raw(method, f"/{bucket}/k", "versionId=3HL4kqtJvjVBH40Nrjfkd")
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert raw("GET", f"/{bucket}/gone", "versionId=null").code == "NoSuchVersion"
    answer = raw("DELETE", f"/{bucket}/k", "versionId=null")
    assert (answer.status, answer.headers["x-amz-version-id"]) == (204, "null")
    assert raw("GET", f"/{bucket}/k").code == "NoSuchKey"


def test_system_metadata(raw: Raw, bucket: str) -> None:
    headers = {
        "cache-control": "max-age=60, public",
        "content-disposition": 'attachment; filename="a b.txt"',
        "content-encoding": "gzip",
        "content-language": "de, en",
        "content-type": "text/plain; charset=utf-8",
        "expires": "Thu, 01 Dec 2994 16:00:00 GMT",
    }
    raw("PUT", f"/{bucket}/k", headers=headers, body=b"x")
    for method in ("GET", "HEAD"):
        answer = raw(method, f"/{bucket}/k")
        assert {name: answer.headers[name] for name in headers} == headers


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("aws-chunked", None), ("gzip,aws-chunked", "gzip"), ("aws-chunked, gzip, br", "gzip,br")],
)
def test_the_transfer_coding_is_not_of_the_object(
    raw: Raw, bucket: str, sent: str, kept: str | None
) -> None:
    raw("PUT", f"/{bucket}/k", headers={"content-encoding": sent}, body=b"x")
    assert raw("HEAD", f"/{bucket}/k").headers.get("content-encoding") == kept


def test_user_metadata(raw: Raw, bucket: str) -> None:
    utf8 = "Grüße, 世界".encode().decode("latin-1")
    sent = {
        "x-amz-meta-plain": "a b",
        "x-amz-meta-UPPER": "Kept",
        "x-amz-meta-utf8": utf8,
        "x-amz-meta-empty": "",
        "x-amz-meta-odd_name.1": "=?UTF-8?B?w6Q=?=",
    }
    signed = {name.lower(): value for name, value in sent.items()}
    assert raw("PUT", f"/{bucket}/k", headers=signed, body=b"x").status == 200
    for method in ("GET", "HEAD"):
        headers = raw(method, f"/{bucket}/k").headers
        assert {n: v for n, v in headers.items() if n.startswith("x-amz-meta-")} == signed
    raw("PUT", f"/{bucket}/k", body=b"y")
    headers = raw("HEAD", f"/{bucket}/k").headers
    assert not [n for n in headers if n.startswith("x-amz-meta-")], "a put replaces all of it"


def test_user_metadata_of_boto3(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "1", "b-c": "two words"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"a": "1", "b-c": "two words"}


@pytest.mark.parametrize(("size", "status"), [(2048, 200), (2049, 400)])
def test_user_metadata_limit(raw: Raw, bucket: str, size: int, status: int) -> None:
    """2 KB: the names (without their prefix) and values together, in bytes."""
    value = ("ä".encode() * 1000).decode("latin-1")
    headers = {"x-amz-meta-a": value, "x-amz-meta-bc": "x" * (size - 1 - len(value) - 2)}
    answer = raw("PUT", f"/{bucket}/k", headers=headers, body=b"x")
    assert answer.status == status
    if status == 400:
        assert answer.code == "MetadataTooLarge"
        assert (answer.text("Size"), answer.text("MaxSizeAllowed")) == ("2049", "2048")
        assert raw("HEAD", f"/{bucket}/k").status == 404


@pytest.mark.parametrize(
    "name", ["REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"]
)
def test_storage_class(raw: Raw, bucket: str, name: str) -> None:
    raw("PUT", f"/{bucket}/k", headers={"x-amz-storage-class": name}, body=b"x")
    assert raw("GET", f"/{bucket}/k").headers["x-amz-storage-class"] == name
    assert raw("HEAD", f"/{bucket}/k").headers["x-amz-storage-class"] == name
    assert raw("GET", f"/{bucket}").texts("Contents/StorageClass") == [name]


def test_the_standard_class_is_not_named(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", headers={"x-amz-storage-class": "STANDARD"}, body=b"x")
    assert "x-amz-storage-class" not in raw("HEAD", f"/{bucket}/k").headers
    assert raw("GET", f"/{bucket}").texts("Contents/StorageClass") == ["STANDARD"]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("GLACIER", 501, "NotImplemented"),
        ("DEEP_ARCHIVE", 501, "NotImplemented"),
        ("standard", 400, "InvalidStorageClass"),
        ("GOLD", 400, "InvalidStorageClass"),
        ("", 400, "InvalidStorageClass"),
    ],
)
def test_refused_storage_classes(raw: Raw, bucket: str, name: str, status: int, code: str) -> None:
    for method, path, query in (
        ("PUT", f"/{bucket}/k", ""),
        ("POST", f"/{bucket}/k", "uploads"),
    ):
        answer = raw(method, path, query, {"x-amz-storage-class": name})
        assert (answer.status, answer.code) == (status, code)
    assert raw("HEAD", f"/{bucket}/k").status == 404


def test_the_checksum_that_was_computed(raw: Raw, bucket: str) -> None:
    data = noise(100_000)
    raw("PUT", f"/{bucket}/k", body=data)
    assert "x-amz-checksum-crc64nvme" not in raw("HEAD", f"/{bucket}/k").headers
    headers = raw("HEAD", f"/{bucket}/k", headers={"x-amz-checksum-mode": "ENABLED"}).headers
    assert headers["x-amz-checksum-crc64nvme"] == crc64_text(data)
    assert headers["x-amz-checksum-type"] == "FULL_OBJECT"


def test_empty_files_by_boto3(s3_server: Server, bucket: str) -> None:
    """It asks for 100 Continue before a file, an empty one too, and garbles the answer after one
    that came without."""
    with closing(make_client(s3_server, max_pool_connections=1, read_timeout=10)) as s3:
        for body in (b"", b"x", b"", b"", b"y" * 100_000):
            s3.put_object(Bucket=bucket, Key="k", Body=io.BytesIO(body))
            assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body
