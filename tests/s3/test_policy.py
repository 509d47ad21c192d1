"""Bucket policies on the wire: the operations, who is let in, and every condition key."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from .raw import Raw
from .users import Nobody, User, allow, deny, open_up, policy

BOB = {"AWS": "bob-id"}


def put(owner: Raw, bucket: str, *statements: dict[str, Any]) -> None:
    answer = owner("PUT", f"/{bucket}", "policy", body=policy(*statements))
    assert answer.status == 204, answer


def test_put_get_delete(alice: User, alices: str) -> None:
    missing = alice("GET", f"/{alices}", "policy")
    assert (missing.status, missing.code) == (404, "NoSuchBucketPolicy")
    document = policy(deny("s3:GetObject", f"{alices}/secret"))
    assert alice("PUT", f"/{alices}", "policy", body=document).status == 204
    got = alice("GET", f"/{alices}", "policy")
    assert (got.body, got.headers["content-type"]) == (document, "application/json")
    assert alice("DELETE", f"/{alices}", "policy").status == 204
    assert alice("DELETE", f"/{alices}", "policy").status == 204
    assert alice("GET", f"/{alices}", "policy").code == "NoSuchBucketPolicy"


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"<Policy/>",
        policy(allow("s3:GetObject", "another-bucket/*")),
        policy(allow("s3:GetObject", "BUCKET/*", Condition={"StringEquals": {"s3:Weather": "x"}})),
        policy(allow("s3:GetObject", "BUCKET/${s3:weather}")),
        policy(allow("s3:GetObject", "BUCKET/*", Surprise="x")),
    ],
)
def test_malformed(alice: User, alices: str, document: bytes) -> None:
    document = document.replace(b"BUCKET", alices.encode())
    answer = alice("PUT", f"/{alices}", "policy", body=document)
    assert (answer.status, answer.code) == (400, "MalformedPolicy")
    assert alice("GET", f"/{alices}", "policy").code == "NoSuchBucketPolicy"


def test_sizes(alice: User, alices: str) -> None:
    assert alice("PUT", f"/{alices}", "policy").code == "MissingRequestBodyError"
    one = allow("s3:GetObject", f"{alices}/*", Principal=BOB, Sid="x" * 19_000)
    put(alice, alices, one)
    document = policy({**one, "Sid": "x" * 21_000})
    assert alice("PUT", f"/{alices}", "policy", body=document).status == 400


@pytest.mark.parametrize(
    "principal",
    [
        {"AWS": "bob-id"},
        {"AWS": ["nobody-known", "arn:aws:iam::bob-id:root"]},
        {"AWS": "arn:aws:iam::bob-id:user/bob"},
        {"AWS": "arn:aws:iam::bob:user/bob"},
        {"CanonicalUser": "bob-id"},
    ],
    ids=str,
)
def test_who_is_named(
    alice: User, bob: User, nobody: Nobody, alices: str, principal: dict[str, str]
) -> None:
    put(alice, alices, allow("s3:GetObject", f"{alices}/*", Principal=principal))
    assert bob("GET", f"/{alices}/k").body == b"data"
    assert nobody("GET", f"/{alices}/k").code == "AccessDenied"
    assert bob("PUT", f"/{alices}/k", body=b"x").code == "AccessDenied"
    assert bob("GET", f"/{alices}").code == "AccessDenied"


def test_who_compares_an_etag_must_be_allowed_to_read(alice: User, bob: User, alices: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html and
    conditional-deletes.html"""
    writes = allow(["s3:PutObject", "s3:DeleteObject"], f"{alices}/*", Principal=BOB)
    put(alice, alices, writes)
    etag = alice("HEAD", f"/{alices}/k").headers["etag"]
    body = f"<Delete><Object><Key>k</Key><ETag>{etag}</ETag></Object></Delete>".encode()
    md5 = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    for condition in (etag, '"00000000000000000000000000000000"'):
        headers = {"if-match": condition}
        assert bob("PUT", f"/{alices}/k", headers=headers, body=b"x").code == "AccessDenied"
        assert bob("DELETE", f"/{alices}/k", headers=headers).code == "AccessDenied"
    assert bob("POST", f"/{alices}", "delete", md5, body).text("Error/Code") == "AccessDenied"
    assert bob("PUT", f"/{alices}/k", headers={"if-match": "*"}, body=b"x").status == 200
    assert bob("DELETE", f"/{alices}/k", headers={"if-match": "*"}).status == 204
    assert alice("PUT", f"/{alices}/k", body=b"data").status == 200
    put(alice, alices, writes, allow("s3:GetObject", f"{alices}/*", Principal=BOB))
    assert bob("PUT", f"/{alices}/k", headers={"if-match": etag}, body=b"data").status == 200
    assert bob("POST", f"/{alices}", "delete", md5, body).text("Deleted/Key") == "k"


def test_deny_wins_but_never_locks_the_owner_out(alice: User, bob: User, alices: str) -> None:
    put(
        alice,
        alices,
        allow("s3:*", f"{alices}/*", Principal=BOB),
        allow("s3:*", alices, Principal=BOB),
        deny("s3:*", alices),
        deny("s3:*", f"{alices}/*"),
    )
    for client in (alice, bob):
        for method, path, query in (
            ("GET", f"/{alices}/k", ""), ("PUT", f"/{alices}/k", ""), ("GET", f"/{alices}", ""),
            ("DELETE", f"/{alices}", ""), ("GET", f"/{alices}", "acl"),
        ):  # fmt: skip
            assert client(method, path, query).code == "AccessDenied"
    for method in ("GET", "DELETE"):
        assert bob(method, f"/{alices}", "policy").code == "AccessDenied"
    assert alice("GET", f"/{alices}", "policy").status == 200
    assert alice("DELETE", f"/{alices}", "policy").status == 204
    assert alice("GET", f"/{alices}/k").body == b"data"


def test_a_changed_policy_counts_at_once(alice: User, bob: User, alices: str) -> None:
    for _ in range(5):
        put(alice, alices, allow("s3:GetObject", f"{alices}/*", Principal=BOB))
        assert bob("GET", f"/{alices}/k").status == 200
        alice("DELETE", f"/{alices}", "policy")
        assert bob("GET", f"/{alices}/k").status == 403


TAGS = b"<Tagging><TagSet><Tag><Key>Class</Key><Value>%s</Value></Tag></TagSet></Tagging>"


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, {}, None),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, None, {}),
        ({"Bool": {"aws:SecureTransport": "false"}}, {}, None),
        ({"StringEquals": {"aws:UserAgent": "me"}}, {"user-agent": "me"}, {"user-agent": "you"}),
        ({"StringLike": {"aws:Referer": "http://a/*"}}, {"referer": "http://a/b"}, {}),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, {}, None),
        ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, None, {}),
        ({"NumericGreaterThan": {"aws:EpochTime": "1500000000"}}, {}, None),
        ({"StringEquals": {"aws:PrincipalType": "User"}}, {}, None),
        ({"StringEquals": {"aws:userid": "bob-id"}}, {}, None),
        ({"StringEquals": {"aws:userid": "alice-id"}}, None, {}),
        ({"StringEquals": {"aws:username": "bob"}}, {}, None),
        ({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::bob-id:user/bob"}}, {}, None),
        ({"StringEquals": {"aws:PrincipalAccount": "bob-id"}}, {}, None),
        ({"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, {}, None),
        ({"StringEquals": {"s3:authType": "REST-HEADER"}}, {}, None),
        ({"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}, None, {}),
        ({"NumericLessThan": {"s3:signatureAge": "600000"}}, {}, None),
        ({"StringEquals": {"s3:ResourceAccount": "alice-id"}}, {}, None),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, {}, None),
        ({"Null": {"aws:SourceVpc": "true"}}, {}, None),
        ({"StringEquals": {"s3:VersionId": "null"}}, None, {}),
    ],
    ids=str,
)
def test_condition_keys_of_a_read(
    alice: User,
    bob: User,
    alices: str,
    condition: dict[str, Any],
    yes: dict[str, str] | None,
    no: dict[str, str] | None,
) -> None:
    put(alice, alices, allow("s3:GetObject", f"{alices}/*", Principal=BOB, Condition=condition))
    for headers, status in ((yes, 200), (no, 403)):
        if headers is not None:
            assert bob("GET", f"/{alices}/k", "", headers).status == status


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ({"StringEquals": {"s3:prefix": "a/"}}, "prefix=a/", "prefix=b/"),
        ({"StringEquals": {"s3:delimiter": "/"}}, "delimiter=/", ""),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, "max-keys=10", "max-keys=11"),
    ],
    ids=str,
)
def test_condition_keys_of_a_listing(
    alice: User, bob: User, alices: str, condition: dict[str, Any], yes: str, no: str
) -> None:
    put(alice, alices, allow("s3:ListBucket", alices, Principal=BOB, Condition=condition))
    for version in ("", "list-type=2&"):
        assert bob("GET", f"/{alices}", version + yes).status == 200
        assert bob("GET", f"/{alices}", version + no).status == 403


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ({"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
         {"x-amz-acl": "bucket-owner-full-control"}, {}),
        ({"StringEquals": {"s3:x-amz-storage-class": "STANDARD_IA"}},
         {"x-amz-storage-class": "STANDARD_IA"}, {"x-amz-storage-class": "STANDARD"}),
        ({"StringEquals": {"s3:RequestObjectTag/Class": "x"}},
         {"x-amz-tagging": "Class=x"}, {"x-amz-tagging": "Class=y"}),
        ({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["A", "B"]}},
         {"x-amz-tagging": "A=1&B=2"}, {"x-amz-tagging": "A=1&C=2"}),
        ({"StringEquals": {"s3:x-amz-content-sha256": "UNSIGNED-PAYLOAD"}}, None, {}),
        ({"StringEquals": {"s3:if-none-match": "*"}}, {"if-none-match": "*"}, {}),
    ],
    ids=str,
)  # fmt: skip
def test_condition_keys_of_a_write(
    alice: User,
    bob: User,
    alices: str,
    condition: dict[str, Any],
    yes: dict[str, str] | None,
    no: dict[str, str],
) -> None:
    actions = ["s3:PutObject", "s3:PutObjectTagging"]
    put(alice, alices, allow(actions, f"{alices}/*", Principal=BOB, Condition=condition))
    assert bob("PUT", f"/{alices}/new", "", no, b"x").code == "AccessDenied"
    if yes is not None:
        assert bob("PUT", f"/{alices}/new", "", yes, b"x").status == 200


def test_condition_keys_of_a_copy(alice: User, bob: User, alices: str) -> None:
    put(
        alice,
        alices,
        allow("s3:GetObject", f"{alices}/*", Principal=BOB),
        allow("s3:PutObject", f"{alices}/*", Principal=BOB, Condition={
            "StringLike": {"s3:x-amz-copy-source": f"{alices}/pub*"},
            "StringEquals": {"s3:x-amz-metadata-directive": "REPLACE"},
        }),
    )  # fmt: skip
    alice("PUT", f"/{alices}/public", body=b"x")
    replace = {"x-amz-metadata-directive": "REPLACE"}
    for source, more, status in (
        (f"/{alices}/public", replace, 200), (f"{alices}/%70ublic", replace, 200),
        (f"/{alices}/public", {}, 403), (f"/{alices}/k", replace, 403),
    ):  # fmt: skip
        headers = {"x-amz-copy-source": source, **more}
        assert bob("PUT", f"/{alices}/copy", "", headers).status == status


def test_tags_of_the_object_that_is_there(alice: User, bob: User, alices: str) -> None:
    condition = {"StringEquals": {"s3:ExistingObjectTag/class": "public"}}
    put(alice, alices, allow("s3:GetObject*", f"{alices}/*", Principal=BOB, Condition=condition))
    for value, status in (("public", 200), ("secret", 403)):
        alice("PUT", f"/{alices}/k", "", {"x-amz-tagging": f"class={value}"}, b"data")
        for query in ("", "tagging", "versionId=null"):
            assert bob("GET", f"/{alices}/k", query).status == status
        assert bob("HEAD", f"/{alices}/k").status == status
    put(
        alice,
        alices,
        deny("s3:GetObject", f"{alices}/*", Condition=condition),
        allow("s3:GetObject", f"{alices}/*", Principal=BOB),
    )
    for value, status in (("public", 403), ("secret", 200)):
        alice("PUT", f"/{alices}/k", "", {"x-amz-tagging": f"class={value}"}, b"data")
        for client in (alice, bob):
            assert client("GET", f"/{alices}/k").status == status


def test_tags_in_a_body(alice: User, bob: User, alices: str) -> None:
    """PutObjectTagging brings them there, and it is read a second time by the operation."""
    condition = {"StringEquals": {"s3:RequestObjectTag/Class": "public"}}
    put(
        alice,
        alices,
        allow("s3:PutObjectTagging", f"{alices}/*", Principal=BOB, Condition=condition),
    )
    assert bob("PUT", f"/{alices}/k", "tagging", body=TAGS % b"secret").code == "AccessDenied"
    assert bob("PUT", f"/{alices}/k", "tagging", body=TAGS % b"public").status == 200
    assert alice("GET", f"/{alices}/k", "tagging").texts("TagSet/Tag/Value") == ["public"]


def test_variables(alice: User, bob: User, nobody: Nobody, alices: str) -> None:
    open_up(alice, alices)
    put(alice, alices, allow("s3:PutObject", f"{alices}/home/${{aws:username}}/*"))
    assert bob("PUT", f"/{alices}/home/bob/x", body=b"x").status == 200
    for client, key in ((bob, "home/alice/x"), (bob, "home/x"), (nobody, "home//x")):
        assert client("PUT", f"/{alices}/{key}", body=b"x").code == "AccessDenied"


@pytest.mark.parametrize(
    ("query", "action", "other"),
    [
        ("versionId=null", "s3:GetObjectVersion", "s3:GetObject"),
        ("acl", "s3:GetObjectAcl", "s3:GetObject"),
        ("acl&versionId=null", "s3:GetObjectVersionAcl", "s3:GetObjectAcl"),
        ("tagging", "s3:GetObjectTagging", "s3:GetObject"),
        ("tagging&versionId=null", "s3:GetObjectVersionTagging", "s3:GetObjectTagging"),
    ],
)
def test_actions_on_versions(
    alice: User, bob: User, alices: str, query: str, action: str, other: str
) -> None:
    for allowed, status in ((action, 200), (other, 403)):
        put(alice, alices, allow(allowed, f"{alices}/*", Principal=BOB))
        assert bob("GET", f"/{alices}/k", query).status == status


@pytest.mark.parametrize(
    ("headers", "action"),
    [
        ({"x-amz-tagging": "a=b"}, "s3:PutObjectTagging"),
        ({"x-amz-object-lock-legal-hold": "ON"}, "s3:PutObjectLegalHold"),
        ({"x-amz-object-lock-mode": "GOVERNANCE",
          "x-amz-object-lock-retain-until-date": "2090-01-01T00:00:00Z"}, "s3:PutObjectRetention"),
        ({"x-amz-acl": "public-read"}, "s3:PutObjectAcl"),
        ({"x-amz-grant-read": "id=bob-id"}, "s3:PutObjectAcl"),
    ],
    ids=str,
)  # fmt: skip
def test_headers_that_ask_for_more(
    alice: User, bob: User, alices: str, headers: dict[str, str], action: str
) -> None:
    put(alice, alices, allow("s3:PutObject", f"{alices}/*", Principal=BOB))
    for method, query in (("PUT", ""), ("POST", "uploads")):
        answer = bob(method, f"/{alices}/new", query, headers, b"")
        assert answer.code == "AccessDenied"
    put(alice, alices, allow(["s3:PutObject", action], f"{alices}/*", Principal=BOB))
    # allowed now; what this bucket does not take is refused as such
    assert bob("PUT", f"/{alices}/new", "", headers, b"").code != "AccessDenied"


def test_governance_is_bypassed_by_who_may(alice: User, bob: User) -> None:
    bucket = "alices-locked-bucket"
    alice("PUT", f"/{bucket}", "", {"x-amz-bucket-object-lock-enabled": "true"})
    put(alice, bucket, allow(["s3:DeleteObjectVersion"], f"{bucket}/*", Principal=BOB))
    made = alice("PUT", f"/{bucket}/k", body=b"x")
    version = made.headers["x-amz-version-id"]
    headers = {"x-amz-bypass-governance-retention": "true"}
    answer = bob("DELETE", f"/{bucket}/k", f"versionId={version}", headers)
    assert answer.code == "AccessDenied"
    assert bob("DELETE", f"/{bucket}/k", f"versionId={version}").status == 204


def test_status(alice: User, alices: str) -> None:
    def is_public() -> str:
        return alice("GET", f"/{alices}", "policyStatus").text("IsPublic")

    assert is_public() == "false"
    put(alice, alices, allow("s3:GetObject", f"{alices}/*", Principal=BOB))
    assert is_public() == "false"
    open_up(alice, alices)
    put(alice, alices, allow("s3:GetObject", f"{alices}/*"))
    assert is_public() == "true"
    condition = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    put(alice, alices, allow("s3:GetObject", f"{alices}/*", Condition=condition))
    assert is_public() == "false"


def test_policies_of_a_bucket_made_anew(
    alice: User, bob: User, new_name: Callable[[], str]
) -> None:
    """A bucket of the same name shares nothing with the one before it."""
    bucket = new_name()
    alice("PUT", f"/{bucket}")
    put(alice, bucket, allow("s3:*", f"{bucket}/*", Principal=BOB))
    assert alice("DELETE", f"/{bucket}").status == 204
    alice("PUT", f"/{bucket}")
    alice("PUT", f"/{bucket}/k", body=b"x")
    assert bob("GET", f"/{bucket}/k").code == "AccessDenied"
    assert alice("GET", f"/{bucket}", "policy").code == "NoSuchBucketPolicy"


@pytest.fixture
def new_name(alices: str) -> Callable[[], str]:
    return lambda: f"{alices}-anew"


def test_a_presigned_url_carries_its_own_type(alice: User, bob: User, alices: str) -> None:
    conditions = {"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}
    put(alice, alices, allow("s3:GetObject", f"{alices}/*", Principal=BOB, Condition=conditions))
    path, query = bob.presign("GET", f"/{alices}/k")
    assert bob.send("GET", path, query, {"host": bob.host}).body == b"data"
    assert bob("GET", f"/{alices}/k").code == "AccessDenied"
