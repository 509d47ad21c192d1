"""Object lock: what is retained or held stays, whoever asks, until it may go."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .raw import Answer, Raw
from .test_versioning import versioned

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
LATER = SOON + timedelta(days=1)
BYPASS = {"x-amz-bypass-governance-retention": "true"}


@pytest.fixture
def locked(raw: Raw, bucket: str) -> str:
    """A bucket that was made with object lock; `bucket` lends its name."""
    name = f"{bucket}-locked"
    headers = {"x-amz-bucket-object-lock-enabled": "true"}
    assert raw("PUT", f"/{name}", headers=headers).status == 200
    return name


def retention(mode: str, until: datetime) -> dict[str, Any]:
    return {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until}


def configuration(inner: str) -> bytes:
    return (
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
        f"{inner}</ObjectLockConfiguration>"
    ).encode()


def rule(mode: str, period: str) -> str:
    return f"<Rule><DefaultRetention><Mode>{mode}</Mode>{period}</DefaultRetention></Rule>"


def put_retention(raw: Raw, path: str, version: str, mode: str, until: datetime) -> Answer:
    body = (
        f"<Retention><Mode>{mode}</Mode><RetainUntilDate>{until.isoformat()}</RetainUntilDate>"
        "</Retention>"
    ).encode()
    return raw("PUT", path, f"retention&versionId={version}", body=body)


def test_the_configuration(raw: Raw, locked: str, bucket: str) -> None:
    assert raw("GET", f"/{locked}", "versioning").text("Status") == "Enabled"
    answer = raw("GET", f"/{locked}", "object-lock")
    assert answer.text("ObjectLockEnabled") == "Enabled"
    assert answer.xml.find("Rule") is None
    for period in ("<Days>3</Days>", "<Years>2</Years>"):
        body = configuration(rule("GOVERNANCE", period))
        assert raw("PUT", f"/{locked}", "object-lock", body=body).status == 200
        assert period.encode() in raw("GET", f"/{locked}", "object-lock").body
    body = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
    answer = raw("PUT", f"/{locked}", "versioning", body=body)
    assert (answer.status, answer.code) == (409, "InvalidBucketState")
    answer = raw("GET", f"/{bucket}", "object-lock")
    assert (answer.status, answer.code) == (404, "ObjectLockConfigurationNotFoundError")


def test_a_bucket_gets_object_lock_later(raw: Raw, bucket: str) -> None:
    body = configuration(rule("GOVERNANCE", "<Days>3</Days>"))
    answer = raw("PUT", f"/{bucket}", "object-lock", body=body)
    assert (answer.status, answer.code) == (409, "InvalidBucketState")
    versioned(raw, bucket)
    assert raw("PUT", f"/{bucket}", "object-lock", body=body).status == 200
    assert raw("PUT", f"/{bucket}/k", body=b"x").status == 200
    assert raw("HEAD", f"/{bucket}/k").headers["x-amz-object-lock-mode"] == "GOVERNANCE"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<ObjectLockConfiguration/>", "MalformedXML"),
        (configuration("<Rule/>"), "MalformedXML"),
        (configuration(rule("governance", "<Days>1</Days>")), "MalformedXML"),
        (configuration(rule("GOVERNANCE", "")), "MalformedXML"),
        (configuration(rule("GOVERNANCE", "<Days>1</Days><Years>1</Years>")), "MalformedXML"),
        (configuration(rule("GOVERNANCE", "<Days>0</Days>")), "InvalidRetentionPeriod"),
        (configuration(rule("GOVERNANCE", "<Years>-1</Years>")), "InvalidRetentionPeriod"),
        (configuration(rule("GOVERNANCE", "<Days>36501</Days>")), "InvalidRetentionPeriod"),
        (configuration(rule("GOVERNANCE", "<Years>101</Years>")), "InvalidRetentionPeriod"),
        (configuration(rule("GOVERNANCE", "<Days>x</Days>")), "MalformedXML"),
        (configuration("<Other/>"), "MalformedXML"),
        (b"", "MissingRequestBodyError"),
    ],
)
def test_configurations_that_are_none(raw: Raw, locked: str, body: bytes, code: str) -> None:
    answer = raw("PUT", f"/{locked}", "object-lock", body=body)
    assert (answer.status, answer.code) == (400, code)
    assert raw("GET", f"/{locked}", "object-lock").xml.find("Rule") is None


@pytest.mark.parametrize(("period", "days"), [("<Days>3</Days>", 3), ("<Years>2</Years>", 730)])
def test_default_retention(s3: Any, raw: Raw, locked: str, period: str, days: int) -> None:
    body = configuration(rule("COMPLIANCE", period))
    assert raw("PUT", f"/{locked}", "object-lock", body=body).status == 200
    before = time.time()
    s3.put_object(Bucket=locked, Key="k", Body=b"x")
    s3.copy_object(Bucket=locked, Key="copy", CopySource={"Bucket": locked, "Key": "k"})
    upload = {"Bucket": locked, "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    after = time.time()
    for key in ("k", "copy", "parts"):
        head = s3.head_object(Bucket=locked, Key=key)
        assert head["ObjectLockMode"] == "COMPLIANCE"
        until = head["ObjectLockRetainUntilDate"].timestamp() - days * 86400
        assert before - 0.001 <= until <= after, "to the millisecond"
    s3.put_object(Bucket=locked, Key="own", Body=b"x", **retention("GOVERNANCE", SOON))
    assert s3.head_object(Bucket=locked, Key="own")["ObjectLockMode"] == "GOVERNANCE"


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_what_is_retained_stays(s3: Any, raw: Raw, locked: str, mode: str) -> None:
    path = f"/{locked}/k"
    put = s3.put_object(Bucket=locked, Key="k", Body=b"kept", **retention(mode, SOON))
    version = put["VersionId"]
    head = s3.head_object(Bucket=locked, Key="k")
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == (mode, SOON)
    found = s3.get_object_retention(Bucket=locked, Key="k")["Retention"]
    assert found == {"Mode": mode, "RetainUntilDate": SOON}
    marker = raw("DELETE", path)  # hides it, deletes nothing
    assert marker.headers["x-amz-delete-marker"] == "true"
    for headers in ({}, {"x-amz-bypass-governance-retention": "false"}):
        answer = raw("DELETE", path, f"versionId={version}", headers)
        assert (answer.status, answer.code) == (403, "AccessDenied")
    wanted = {"Objects": [{"Key": "k", "VersionId": version}]}
    done = s3.delete_objects(Bucket=locked, Delete=wanted)
    assert [error["Code"] for error in done["Errors"]] == ["AccessDenied"]
    assert raw("GET", path, f"versionId={version}").body == b"kept"
    if mode == "COMPLIANCE":
        assert raw("DELETE", path, f"versionId={version}", BYPASS).code == "AccessDenied"
        done = s3.delete_objects(Bucket=locked, Delete=wanted, BypassGovernanceRetention=True)
        assert [error["Code"] for error in done["Errors"]] == ["AccessDenied"]
        assert raw("GET", path, f"versionId={version}").body == b"kept"
    else:
        done = s3.delete_objects(Bucket=locked, Delete=wanted, BypassGovernanceRetention=True)
        assert "Errors" not in done
        assert raw("GET", path, f"versionId={version}").code == "NoSuchVersion"


def test_retention_is_changed(raw: Raw, locked: str) -> None:
    path = f"/{locked}/k"
    version = raw("PUT", path, body=b"x").headers["x-amz-version-id"]
    answer = raw("GET", path, "retention")
    assert (answer.status, answer.code) == (404, "NoSuchObjectLockConfiguration")
    assert put_retention(raw, path, version, "GOVERNANCE", LATER).status == 200
    assert put_retention(raw, path, version, "GOVERNANCE", SOON).code == "AccessDenied"
    assert put_retention(raw, path, version, "COMPLIANCE", LATER).code == "AccessDenied"
    empty = b"<Retention/>"
    assert raw("PUT", path, "retention", body=empty).code == "AccessDenied"
    assert raw("PUT", path, "retention", BYPASS, empty).status == 200
    assert raw("GET", path, "retention").code == "NoSuchObjectLockConfiguration"
    assert put_retention(raw, path, version, "COMPLIANCE", SOON).status == 200
    assert put_retention(raw, path, version, "COMPLIANCE", LATER).status == 200
    assert raw("PUT", path, "retention", BYPASS, empty).code == "AccessDenied"


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("<Mode>governance</Mode><RetainUntilDate>2090-01-01T00:00:00Z</RetainUntilDate>", ""),
        ("<Mode>GOVERNANCE</Mode>", ""),
        ("<RetainUntilDate>2090-01-01T00:00:00Z</RetainUntilDate>", ""),
        ("<Mode>GOVERNANCE</Mode><RetainUntilDate>soon</RetainUntilDate>", ""),
        ("<Mode>GOVERNANCE</Mode><RetainUntilDate>20900101</RetainUntilDate>", ""),
        (
            "<Mode>GOVERNANCE</Mode><RetainUntilDate>2020-01-01T00:00:00Z</RetainUntilDate>",
            "InvalidArgument",
        ),
    ],
)
def test_retentions_that_are_none(raw: Raw, locked: str, inner: str, code: str) -> None:
    raw("PUT", f"/{locked}/k", body=b"x")
    body = f"<Retention>{inner}</Retention>".encode()
    assert raw("PUT", f"/{locked}/k", "retention", body=body).code == code or "MalformedXML"
    assert raw("GET", f"/{locked}/k", "retention").code == "NoSuchObjectLockConfiguration"


def test_legal_hold(s3: Any, raw: Raw, locked: str) -> None:
    path = f"/{locked}/k"
    put = s3.put_object(Bucket=locked, Key="k", Body=b"kept", ObjectLockLegalHoldStatus="ON")
    query = f"versionId={put['VersionId']}"
    assert raw("HEAD", path).headers["x-amz-object-lock-legal-hold"] == "ON"
    assert raw("GET", path, f"legal-hold&{query}").text("Status") == "ON"
    assert raw("DELETE", path, query, BYPASS).code == "AccessDenied"
    body = b"<LegalHold><Status>MAYBE</Status></LegalHold>"
    assert raw("PUT", path, "legal-hold", body=body).code == "MalformedXML"
    body = b"<LegalHold><Status>OFF</Status></LegalHold>"
    assert raw("PUT", path, f"legal-hold&{query}", body=body).status == 200
    assert raw("GET", path, "legal-hold").text("Status") == "OFF"
    assert raw("DELETE", path, query).status == 204


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-object-lock-mode": "GOVERNANCE"}, "InvalidArgument"),
        ({"x-amz-object-lock-retain-until-date": "2090-01-01T00:00:00Z"}, "InvalidArgument"),
        (
            {
                "x-amz-object-lock-mode": "GOVERNANCE",
                "x-amz-object-lock-retain-until-date": "2020-01-01T00:00:00Z",
            },
            "InvalidArgument",
        ),
        (
            {
                "x-amz-object-lock-mode": "GOVERNANCE",
                "x-amz-object-lock-retain-until-date": "2090-01-01T00:00:00Z",
            },
            "InvalidRequest",  # no digest of what is retained
        ),
        ({"x-amz-object-lock-legal-hold": "YES"}, "InvalidArgument"),
    ],
)
def test_headers_that_are_none(raw: Raw, locked: str, headers: dict[str, str], code: str) -> None:
    assert raw("PUT", f"/{locked}/k", headers=headers, body=b"x").code == code
    assert raw("HEAD", f"/{locked}/k").status == 404


def test_buckets_without_object_lock(s3: Any, raw: Raw, new_bucket: Callable[[], str]) -> None:
    bucket = new_bucket()
    versioned(raw, bucket)
    for more in (retention("GOVERNANCE", SOON), {"ObjectLockLegalHoldStatus": "ON"}):
        for work in (s3.put_object, s3.create_multipart_upload):
            with pytest.raises(ClientError, match="InvalidRequest"):
                work(Bucket=bucket, Key="k", **more)
    version = raw("PUT", f"/{bucket}/k", body=b"x").headers["x-amz-version-id"]
    assert put_retention(raw, f"/{bucket}/k", version, "GOVERNANCE", SOON).code == "InvalidRequest"
    for subresource in ("retention", "legal-hold"):
        answer = raw("GET", f"/{bucket}/k", subresource)
        assert (answer.status, answer.code) == (400, "InvalidRequest")
