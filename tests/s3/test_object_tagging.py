"""Tags of objects and versions: by their own operations, by header, by copies."""

from __future__ import annotations

from typing import Any

import pytest

from .raw import Raw
from .test_versioning import versioned

TAGS = [{"Key": "a", "Value": "1"}, {"Key": "b ä", "Value": ""}]
HEADER = "b%20%C3%A4=&a=1"


def tags_of(s3: Any, bucket: str, key: str = "k", **more: str) -> list[dict[str, str]]:
    tags: list[dict[str, str]] = s3.get_object_tagging(Bucket=bucket, Key=key, **more)["TagSet"]
    return tags


def test_put_get_delete(s3: Any, raw: Raw, bucket: str) -> None:
    before = s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"m": "1"})
    assert tags_of(s3, bucket) == []
    assert "x-amz-tagging-count" not in raw("HEAD", f"/{bucket}/k").headers
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": TAGS})
    assert tags_of(s3, bucket) == TAGS
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ETag"], head["Metadata"], head["TagCount"]) == (before["ETag"], {"m": "1"}, 2)
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags_of(s3, bucket) == []
    assert raw("GET", f"/{bucket}/k").body == b"x"
    for method, body in (("GET", b""), ("PUT", b"<Tagging><TagSet/></Tagging>"), ("DELETE", b"")):
        answer = raw(method, f"/{bucket}/missing", "tagging", body=body)
        assert (answer.status, answer.code) == (404, "NoSuchKey")


def test_bad_documents(s3: Any, raw: Raw, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging=HEADER)
    for body, code in ((b"", "MissingRequestBodyError"), (b"<Tagging/>", "MalformedXML")):
        answer = raw("PUT", f"/{bucket}/k", "tagging", body=body)
        assert (answer.status, answer.code) == (400, code)
    assert tags_of(s3, bucket) == TAGS


def test_by_header(s3: Any, raw: Raw, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging=HEADER)
    assert tags_of(s3, bucket) == TAGS
    upload = {"Bucket": bucket, "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, Tagging=HEADER)["UploadId"]
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert tags_of(s3, bucket, "parts") == TAGS
    answer = raw("PUT", f"/{bucket}/bad", headers={"x-amz-tagging": "a=1&a=2"}, body=b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert raw("HEAD", f"/{bucket}/bad").status == 404


def test_copies(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging=HEADER)
    copy = {"Bucket": bucket, "CopySource": {"Bucket": bucket, "Key": "k"}}
    s3.copy_object(**copy, Key="kept")
    assert tags_of(s3, bucket, "kept") == TAGS
    s3.copy_object(**copy, Key="new", TaggingDirective="REPLACE", Tagging="c=3")
    assert tags_of(s3, bucket, "new") == [{"Key": "c", "Value": "3"}]
    s3.copy_object(**copy, Key="none", TaggingDirective="REPLACE")
    assert tags_of(s3, bucket, "none") == []


def test_versions(s3: Any, raw: Raw, bucket: str) -> None:
    versioned(raw, bucket)
    one = s3.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging=HEADER)["VersionId"]
    two = s3.put_object(Bucket=bucket, Key="k", Body=b"2")["VersionId"]
    assert tags_of(s3, bucket) == []
    assert tags_of(s3, bucket, VersionId=one) == TAGS
    done = s3.delete_object_tagging(Bucket=bucket, Key="k", VersionId=one)
    assert done["VersionId"] == one
    done = s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": TAGS})
    assert done["VersionId"] == two
    assert tags_of(s3, bucket, VersionId=one) == []
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    body = b"<Tagging><TagSet/></Tagging>"
    for method in ("GET", "PUT", "DELETE"):
        answer = raw(method, f"/{bucket}/k", f"tagging&versionId={marker}", body=body)
        assert (answer.status, answer.code) == (405, "MethodNotAllowed"), method
        assert answer.headers["x-amz-delete-marker"] == "true"


@pytest.mark.parametrize("location", ["/x", "http://example.test/", "https://example.test/a b"])
def test_website_redirects(raw: Raw, bucket: str, location: str) -> None:
    name = "x-amz-website-redirect-location"
    raw("PUT", f"/{bucket}/k", headers={name: location}, body=b"x")
    assert raw("GET", f"/{bucket}/k").headers[name] == location
    source = {"x-amz-copy-source": f"/{bucket}/k"}
    raw("PUT", f"/{bucket}/copy", headers=source)
    assert name not in raw("HEAD", f"/{bucket}/copy").headers, "it is not copied"
    raw("PUT", f"/{bucket}/copy", headers={**source, name: "/other"})
    assert raw("HEAD", f"/{bucket}/copy").headers[name] == "/other"
    assert raw("HEAD", f"/{bucket}/k").headers[name] == location
