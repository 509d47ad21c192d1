"""Versioned buckets: versions, delete markers and null versions, through every operation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from .raw import Answer, Raw

#: well-formed, and older than any version
MISSING = "0000000000002"


def versioned(raw: Raw, bucket: str, status: str = "Enabled") -> None:
    body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
    assert raw("PUT", f"/{bucket}", "versioning", body=body).status == 200


@pytest.fixture
def path(raw: Raw, bucket: str) -> str:
    versioned(raw, bucket)
    return f"/{bucket}/k"


def put(raw: Raw, path: str, body: bytes) -> str:
    return raw("PUT", path, body=body).headers["x-amz-version-id"]


def listed(answer: Answer) -> list[tuple[str, str, str]]:
    """(kind, version id, whether it is the latest) in the answer's order."""
    return [
        (node.tag, node.findtext("VersionId") or "", node.findtext("IsLatest") or "")
        for node in answer.xml
        if node.tag in ("Version", "DeleteMarker")
    ]


def test_the_configuration(raw: Raw, bucket: str) -> None:
    answer = raw("GET", f"/{bucket}", "versioning")
    assert (answer.xml.tag, list(answer.xml)) == ("VersioningConfiguration", [])
    for status in ("Enabled", "Suspended", "Enabled"):
        versioned(raw, bucket, status)
        assert raw("GET", f"/{bucket}", "versioning").text("Status") == status


@pytest.mark.parametrize(
    ("inner", "status", "code"),
    [
        ("", 400, "IllegalVersioningConfigurationException"),
        ("<Status>On</Status>", 400, "MalformedXML"),
        ("<Status>Enabled</Status><Status>Enabled</Status>", 400, "MalformedXML"),
        ("<Status>Enabled</Status><Other/>", 400, "MalformedXML"),
        ("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", 501, "NotImplemented"),
    ],
)
def test_configurations_that_are_none(
    raw: Raw, bucket: str, inner: str, status: int, code: str
) -> None:
    body = f"<VersioningConfiguration>{inner}</VersioningConfiguration>".encode()
    answer = raw("PUT", f"/{bucket}", "versioning", body=body)
    assert (answer.status, answer.code) == (status, code)
    assert raw("GET", f"/{bucket}", "versioning").text("Status") == ""


def test_versions(raw: Raw, path: str) -> None:
    ids = [put(raw, path, body) for body in (b"one", b"two", b"three")]
    assert ids == sorted(ids)
    for version, body in zip(ids, (b"one", b"two", b"three"), strict=True):
        assert version.isalnum()
        got = raw("GET", path, f"versionId={version}")
        assert (got.body, got.headers["x-amz-version-id"]) == (body, version)
        assert raw("HEAD", path, f"versionId={version}").headers["x-amz-version-id"] == version
    assert raw("GET", path).headers["x-amz-version-id"] == ids[2]
    deleted = raw("DELETE", path, f"versionId={ids[2]}")
    assert (deleted.status, deleted.headers["x-amz-version-id"]) == (204, ids[2])
    assert "x-amz-delete-marker" not in deleted.headers
    assert raw("GET", path).body == b"two"
    assert raw("GET", path, f"versionId={ids[2]}").code == "NoSuchVersion"
    # what is not there is deleted with success
    assert raw("DELETE", path, f"versionId={ids[2]}").status == 204


def test_delete_markers(raw: Raw, bucket: str, path: str) -> None:
    version = put(raw, path, b"kept")
    deleted = raw("DELETE", path)
    assert (deleted.status, deleted.headers["x-amz-delete-marker"]) == (204, "true")
    marker = deleted.headers["x-amz-version-id"]
    assert marker > version
    for method in ("GET", "HEAD"):
        answer = raw(method, path)
        assert (answer.status, answer.headers["x-amz-delete-marker"]) == (404, "true")
        assert answer.headers["x-amz-version-id"] == marker
        answer = raw(method, path, f"versionId={marker}")
        assert (answer.status, answer.headers["x-amz-delete-marker"]) == (405, "true")
        assert answer.headers["allow"] == "DELETE"
        assert answer.headers["last-modified"]
    assert raw("GET", path).code == "NoSuchKey"
    assert "x-amz-delete-marker" not in raw("GET", f"{path}-never").headers
    assert raw("GET", path, f"versionId={marker}").code == "MethodNotAllowed"
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == []
    assert raw("GET", path, f"versionId={version}").body == b"kept"
    assert raw("DELETE", f"/{bucket}").code == "BucketNotEmpty"
    undeleted = raw("DELETE", path, f"versionId={marker}")
    assert undeleted.headers["x-amz-delete-marker"] == "true"
    assert undeleted.headers["x-amz-version-id"] == marker
    assert raw("GET", path).body == b"kept"


def test_null_versions(raw: Raw, bucket: str) -> None:
    path = f"/{bucket}/k"
    assert "x-amz-version-id" not in raw("PUT", path, body=b"before").headers
    assert "x-amz-version-id" not in raw("GET", path).headers
    versioned(raw, bucket)
    version = put(raw, path, b"versioned")
    assert raw("GET", path, "versionId=null").body == b"before"
    assert raw("GET", path, "versionId=null").headers["x-amz-version-id"] == "null"
    versioned(raw, bucket, "Suspended")
    assert "x-amz-version-id" not in raw("PUT", path, body=b"suspended").headers
    assert raw("GET", path).headers["x-amz-version-id"] == "null"
    assert raw("GET", path, "versionId=null").body == b"suspended"
    assert raw("GET", path, f"versionId={version}").body == b"versioned"
    deleted = raw("DELETE", path)  # the null version goes, a null marker comes
    assert deleted.headers["x-amz-version-id"] == "null"
    assert deleted.headers["x-amz-delete-marker"] == "true"
    assert listed(raw("GET", f"/{bucket}", "versions")) == [
        ("DeleteMarker", "null", "true"),
        ("Version", version, "false"),
    ]
    raw("DELETE", path, "versionId=null")
    assert raw("GET", path).body == b"versioned"


@pytest.mark.parametrize("version", ["x", "NULL", "0" * 13, "v" * 13, "0" * 40, "a-b", "%FF"])
def test_ids_that_are_none(raw: Raw, path: str, version: str) -> None:
    put(raw, path, b"kept")
    for method in ("GET", "DELETE"):
        answer = raw(method, path, f"versionId={version}")
        assert (answer.status, answer.code) in ((400, "InvalidArgument"), (400, "InvalidURI"))
    assert raw("GET", path).body == b"kept"


def test_a_version_of_another_key(raw: Raw, bucket: str, path: str) -> None:
    version = put(raw, path, b"k")
    assert raw("GET", f"/{bucket}/other", f"versionId={version}").code == "NoSuchVersion"
    assert raw("GET", path, f"versionId={MISSING}").code == "NoSuchVersion"
    assert raw("DELETE", f"/{bucket}/other", f"versionId={version}").status == 204
    assert raw("GET", path).body == b"k"


def test_copies(raw: Raw, bucket: str, path: str) -> None:
    first, second = put(raw, path, b"first"), put(raw, path, b"second")
    copied = raw("PUT", path, headers={"x-amz-copy-source": f"{path}?versionId={first}"})
    assert copied.status == 200
    assert copied.headers["x-amz-copy-source-version-id"] == first
    assert raw("GET", path).headers["x-amz-version-id"] == copied.headers["x-amz-version-id"]
    assert raw("GET", path).body == b"first"
    assert raw("GET", path, f"versionId={second}").body == b"second"
    marker = raw("DELETE", path).headers["x-amz-version-id"]
    for source, status, code in (
        (path, 404, "NoSuchKey"),
        (f"{path}?versionId={marker}", 400, "InvalidRequest"),
        (f"{path}?versionId={MISSING}", 404, "NoSuchVersion"),
        (f"{path}?versionId=x", 400, "InvalidArgument"),
    ):
        answer = raw("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": source})
        assert (answer.status, answer.code) == (status, code)
        assert "x-amz-delete-marker" not in answer.headers


def test_complete(raw: Raw, s3: Any, bucket: str, path: str) -> None:
    upload = {"Bucket": bucket, "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    done = s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert raw("GET", path).headers["x-amz-version-id"] == done["VersionId"]
    again = s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert again["VersionId"] == done["VersionId"]
    assert len(listed(raw("GET", f"/{bucket}", "versions"))) == 1


def test_delete_objects(s3: Any, bucket: str, path: str) -> None:
    ids = [s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"] for _ in range(3)]
    done = s3.delete_objects(
        Bucket=bucket,
        Delete={
            "Objects": [
                {"Key": "k", "VersionId": ids[0]},
                {"Key": "k"},
                {"Key": "k", "VersionId": "bad"},
                {"Key": "never"},
            ]
        },
    )
    version, marker, other = done["Deleted"]
    assert version == {"Key": "k", "VersionId": ids[0]}
    assert marker["DeleteMarker"] is True
    assert other["DeleteMarkerVersionId"] > marker["DeleteMarkerVersionId"] > ids[2]
    assert [(e["VersionId"], e["Code"]) for e in done["Errors"]] == [("bad", "InvalidArgument")]
    one = {"Key": "k", "VersionId": marker["DeleteMarkerVersionId"]}
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [one]})
    assert done["Deleted"] == [
        {**one, "DeleteMarker": True, "DeleteMarkerVersionId": one["VersionId"]}
    ]
    assert s3.get_object(Bucket=bucket, Key="k")["VersionId"] == ids[2]


@pytest.fixture
def history(raw: Raw, s3: Any, bucket: str) -> list[tuple[str, str]]:
    """(key, version id) in the order of a listing: keys ascending, versions newest first."""
    versioned(raw, bucket)
    expected: list[tuple[str, str]] = []
    for key in ("a", "d/1", "d/2", "e", "ä "):
        ids = [s3.put_object(Bucket=bucket, Key=key, Body=b"x")["VersionId"] for _ in range(2)]
        ids.append(s3.delete_object(Bucket=bucket, Key=key)["VersionId"])
        expected += [(key, version) for version in reversed(ids)]
    return expected


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 1000])
def test_pages(s3: Any, bucket: str, history: list[tuple[str, str]], limit: int) -> None:
    found: list[tuple[str, str]] = []
    markers: dict[str, str] = {}
    for _ in itertools.count():
        page = s3.list_object_versions(Bucket=bucket, MaxKeys=limit, **markers)
        rows = page.get("Versions", []) + page.get("DeleteMarkers", [])
        rows.sort(key=lambda row: row["VersionId"], reverse=True)
        rows.sort(key=lambda row: row["Key"].encode())
        assert len(rows) <= limit
        found += [(row["Key"], row["VersionId"]) for row in rows]
        if not page["IsTruncated"]:
            break
        markers = {
            "KeyMarker": page["NextKeyMarker"],
            "VersionIdMarker": page["NextVersionIdMarker"],
        }
    assert found == history


def test_listing_with_delimiter(
    s3: Any, raw: Raw, bucket: str, history: list[tuple[str, str]]
) -> None:
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["d/"]
    assert len(page["Versions"]) + len(page["DeleteMarkers"]) == 9
    page = s3.list_object_versions(Bucket=bucket, Prefix="d/", Delimiter="/")
    assert {v["Key"] for v in page["Versions"]} == {"d/1", "d/2"}
    first = s3.list_object_versions(Bucket=bucket, Delimiter="/", MaxKeys=4)
    assert first["NextKeyMarker"] == "d/"
    assert "NextVersionIdMarker" not in first
    rest = s3.list_object_versions(Bucket=bucket, Delimiter="/", KeyMarker="d/")
    assert {v["Key"] for v in rest["Versions"]} == {"e", "ä "}
    answer = raw("GET", f"/{bucket}", "versions&encoding-type=url&prefix=%C3%A4")
    assert answer.texts("Version/Key") == ["%C3%A4%20", "%C3%A4%20"]
    assert answer.text("Prefix") == "%C3%A4"
    latest = [row for row in listed(raw("GET", f"/{bucket}", "versions")) if row[2] == "true"]
    assert [kind for kind, _, _ in latest] == ["DeleteMarker"] * 5


def test_markers_that_are_none(raw: Raw, bucket: str) -> None:
    answer = raw("GET", f"/{bucket}", "versions&version-id-marker=null")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    answer = raw("GET", f"/{bucket}", "versions&key-marker=k&version-id-marker=x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert raw("GET", f"/{bucket}", "versions&max-keys=0").text("IsTruncated") == "false"
