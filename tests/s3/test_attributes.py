"""GetObjectAttributes, and RenameObject: what is known of a version, and its name."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from .raw import Raw
from .test_integrity import DIGESTS, text
from .test_multipart import MIN, Upload, etag_of
from .test_objects import noise
from .test_versioning import versioned

ALL = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"


def test_a_plain_object(s3: Any, raw: Raw, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumAlgorithm="SHA256")
    answer = raw("GET", f"/{bucket}/k", "attributes", {"x-amz-object-attributes": ALL})
    assert answer.headers["last-modified"]
    assert {node.tag for node in answer.xml} == {"ETag", "Checksum", "StorageClass", "ObjectSize"}
    assert answer.text("ETag") == hashlib.md5(b"data").hexdigest()
    assert answer.text("Checksum/ChecksumSHA256") == put["ChecksumSHA256"]
    assert answer.text("Checksum/ChecksumType") == "FULL_OBJECT"
    assert (answer.text("StorageClass"), answer.text("ObjectSize")) == ("STANDARD", "4")
    answer = raw("GET", f"/{bucket}/k", "attributes", {"x-amz-object-attributes": "ObjectSize"})
    assert [node.tag for node in answer.xml] == ["ObjectSize"]


def test_parts(s3: Any, raw: Raw, bucket: str) -> None:
    upload = Upload(raw, f"/{bucket}/k", {"x-amz-checksum-algorithm": "XXHASH128"})
    pieces = {1: noise(MIN, 1), 2: noise(MIN, 2), 3: b"last"}
    etags = [(n, upload.part(n, data).headers["etag"]) for n, data in pieces.items()]
    assert upload.complete(*etags).status == 200
    answer = raw("GET", f"/{bucket}/k", "attributes", {"x-amz-object-attributes": ALL})
    assert answer.text("ETag") == etag_of(*pieces.values()).strip('"')
    assert answer.text("Checksum/ChecksumType") == "COMPOSITE"
    assert answer.text("ObjectParts/PartsCount") == "3"
    assert answer.text("ObjectParts/IsTruncated") == "false"
    assert answer.texts("ObjectParts/Part/PartNumber") == ["1", "2", "3"]
    assert answer.texts("ObjectParts/Part/Size") == [str(len(p)) for p in pieces.values()]
    assert answer.texts("ObjectParts/Part/ChecksumXXHASH128") == [
        text(DIGESTS["xxhash128"](p)) for p in pieces.values()
    ]
    page = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"], MaxParts=1, PartNumberMarker=1
    )["ObjectParts"]
    assert [part["PartNumber"] for part in page["Parts"]] == [2]
    assert (page["PartNumberMarker"], page["NextPartNumberMarker"]) == (1, 2)
    assert (page["MaxParts"], page["IsTruncated"], page["TotalPartsCount"]) == (1, True, 3)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-amz-object-attributes": "etag"},
        {"x-amz-object-attributes": "ETag,Other"},
        {"x-amz-object-attributes": "ObjectParts", "x-amz-max-parts": "x"},
        {"x-amz-object-attributes": "ObjectParts", "x-amz-part-number-marker": "-1"},
    ],
    ids=str,
)
def test_requests_that_are_none(raw: Raw, bucket: str, headers: dict[str, str]) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x")
    answer = raw("GET", f"/{bucket}/k", "attributes", headers)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_versions(raw: Raw, bucket: str) -> None:
    headers = {"x-amz-object-attributes": "ObjectSize"}
    assert raw("GET", f"/{bucket}/k", "attributes", headers).code == "NoSuchKey"
    versioned(raw, bucket)
    one = raw("PUT", f"/{bucket}/k", body=b"x").headers["x-amz-version-id"]
    raw("PUT", f"/{bucket}/k", body=b"xx")
    answer = raw("GET", f"/{bucket}/k", f"attributes&versionId={one}", headers)
    assert (answer.text("ObjectSize"), answer.headers["x-amz-version-id"]) == ("1", one)
    raw("DELETE", f"/{bucket}/k")
    answer = raw("GET", f"/{bucket}/k", "attributes", headers)
    assert (answer.status, answer.headers["x-amz-delete-marker"]) == (404, "true")


def rename(raw: Raw, bucket: str, source: str, key: str, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["x-amz-rename-source"] = source
    answer = raw("PUT", f"/{bucket}/{key}", "renameObject", named)
    return answer.status, answer.code


@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_rename(raw: Raw, bucket: str, size: int) -> None:
    data = noise(size)
    raw("PUT", f"/{bucket}/a%20b", headers={"x-amz-meta-m": "1"}, body=data)
    raw("PUT", f"/{bucket}/new", body=b"replaced")
    assert rename(raw, bucket, "/a%20b", "new", x_amz_client_token="t") == (200, "")
    got = raw("GET", f"/{bucket}/new")
    assert (got.body, got.headers["x-amz-meta-m"]) == (data, "1")
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == ["new"]


def test_rename_conditions(raw: Raw, bucket: str) -> None:
    etag = raw("PUT", f"/{bucket}/source", body=b"source").headers["etag"]
    kept = raw("PUT", f"/{bucket}/kept", body=b"kept").headers["etag"]
    for headers, outcome in (
        ({"if_none_match": "*"}, (412, "PreconditionFailed")),
        ({"if_match": etag}, (412, "PreconditionFailed")),
        ({"x_amz_rename_source_if_match": kept}, (412, "PreconditionFailed")),
        ({"x_amz_rename_source_if_none_match": etag}, (412, "PreconditionFailed")),
        ({"if_none_match": etag}, (501, "NotImplemented")),
        ({"if_modified_since": "Thu, 01 Jan 1970 00:00:00 GMT"}, (501, "NotImplemented")),
    ):
        assert rename(raw, bucket, "source", "kept", **headers) == outcome, headers
    assert rename(raw, bucket, "missing", "kept") == (404, "NoSuchKey")
    assert rename(raw, bucket, "kept", "kept") == (400, "InvalidRequest")
    assert rename(raw, bucket, "/", "kept") == (400, "InvalidArgument")
    assert raw("GET", f"/{bucket}/kept").body == b"kept"
    assert raw("GET", f"/{bucket}/source").body == b"source"
    headers = {"if_match": kept, "x_amz_rename_source_if_match": etag}
    assert rename(raw, bucket, "source", "kept", **headers) == (200, "")
    assert raw("GET", f"/{bucket}/kept").body == b"source"


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_no_renaming_in_versioned_buckets(raw: Raw, bucket: str, status: str) -> None:
    raw("PUT", f"/{bucket}/source", body=b"source")
    versioned(raw, bucket, status)
    assert rename(raw, bucket, "source", "new") == (501, "NotImplemented")
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == ["source"]
