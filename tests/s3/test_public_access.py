"""The public access block, and the defaults of new buckets, old and new."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from holdfast.testing.server import Server

from .raw import Raw
from .users import Nobody, User, allow, open_up, policy

NAMES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
PUBLIC_ACLS = ("public-read", "public-read-write", "authenticated-read")


def block(owner: Raw, bucket: str, *names: str) -> None:
    values = "".join(f"<{name}>true</{name}>" for name in names)
    body = f"<PublicAccessBlockConfiguration>{values}</PublicAccessBlockConfiguration>".encode()
    assert owner("PUT", f"/{bucket}", "publicAccessBlock", body=body).status == 200


def test_put_get_delete(alice: User, alices: str) -> None:
    def configured() -> dict[str, str]:
        answer = alice("GET", f"/{alices}", "publicAccessBlock")
        return {name: answer.text(name) for name in NAMES} if answer.status == 200 else {}

    assert configured() == dict.fromkeys(NAMES, "true")
    for name in NAMES:
        block(alice, alices, name)
        assert configured() == {**dict.fromkeys(NAMES, "false"), name: "true"}
    for _ in range(2):
        assert alice("DELETE", f"/{alices}", "publicAccessBlock").status == 204
        answer = alice("GET", f"/{alices}", "publicAccessBlock")
        assert (answer.status, answer.code) == (404, "NoSuchPublicAccessBlockConfiguration")
    for inner in ("<X/>", f"<{NAMES[0]}>maybe</{NAMES[0]}>", f"<{NAMES[0]}>true</{NAMES[0]}>" * 2):
        root = "PublicAccessBlockConfiguration"
        body = f"<{root}>{inner}</{root}>".encode()
        assert alice("PUT", f"/{alices}", "publicAccessBlock", body=body).code == "MalformedXML"


@pytest.mark.parametrize("acl", PUBLIC_ACLS)
@pytest.mark.usefixtures("bob")  # so that there is such an account
def test_block_public_acls(alice: User, alices: str, acl: str) -> None:
    open_up(alice, alices, "ObjectWriter")
    block(alice, alices, "BlockPublicAcls")
    headers = {"x-amz-acl": acl}
    for method, path, query in (
        ("PUT", "", "acl"), ("PUT", "/k", "acl"), ("PUT", "/new", ""), ("POST", "/new", "uploads"),
    ):  # fmt: skip
        assert alice(method, f"/{alices}{path}", query, headers).code == "AccessDenied"
    assert alice("PUT", f"/{alices}", "acl", {"x-amz-acl": "private"}).status == 200
    assert alice("PUT", f"/{alices}/new", "", {"x-amz-grant-read": "id=bob-id"}).status == 200
    block(alice, alices, *NAMES[1:])
    assert alice("PUT", f"/{alices}/new", "", headers).status == 200


def test_ignore_public_acls(alice: User, bob: User, nobody: Nobody, alices: str) -> None:
    open_up(alice, alices, "ObjectWriter")
    alice("PUT", f"/{alices}", "acl", {"x-amz-acl": "public-read"})
    for key, headers in (
        ("all", {"x-amz-acl": "public-read"}),
        ("auth", {"x-amz-acl": "authenticated-read"}),
        ("bob", {"x-amz-grant-read": "id=bob-id"}),
    ):
        alice("PUT", f"/{alices}/{key}", "", headers, b"x")

    def readable(client: User | Nobody) -> list[str]:
        keys = [k for k in ("all", "auth", "bob") if client("GET", f"/{alices}/{k}").status == 200]
        return keys + (["list"] if client("GET", f"/{alices}").status == 200 else [])

    assert readable(bob) == ["all", "auth", "bob", "list"]
    assert readable(nobody) == ["all", "list"]
    assert alice("GET", f"/{alices}", "policyStatus").text("IsPublic") == "true"
    block(alice, alices, "IgnorePublicAcls")
    assert readable(bob) == ["bob"]
    assert readable(nobody) == []
    assert alice("GET", f"/{alices}", "policyStatus").text("IsPublic") == "false"


def test_block_public_policy(alice: User, alices: str) -> None:
    block(alice, alices, "BlockPublicPolicy")
    public = policy(allow("s3:GetObject", f"{alices}/*"))
    named = policy(allow("s3:GetObject", f"{alices}/*", Principal={"AWS": "bob-id"}))
    assert alice("PUT", f"/{alices}", "policy", body=public).code == "AccessDenied"
    assert alice("PUT", f"/{alices}", "policy", body=named).status == 204
    block(alice, alices, *[name for name in NAMES if name != "BlockPublicPolicy"])
    assert alice("PUT", f"/{alices}", "policy", body=public).status == 204


def test_restrict_public_buckets(alice: User, bob: User, nobody: Nobody, alices: str) -> None:
    open_up(alice, alices)
    statements = [
        allow("s3:GetObject", f"{alices}/*"),
        allow("s3:ListBucket", alices, Principal={"AWS": "bob-id"}),
    ]
    alice("PUT", f"/{alices}", "policy", body=policy(*statements))
    for client in (bob, nobody):
        assert client("GET", f"/{alices}/k").status == 200
    block(alice, alices, "RestrictPublicBuckets")
    for client in (bob, nobody):  # nobody beyond the owner's account, by no statement
        assert client("GET", f"/{alices}/k").code == "AccessDenied"
        assert client("GET", f"/{alices}").code == "AccessDenied"
    assert alice("GET", f"/{alices}/k").status == 200
    # a policy that is not public is not restricted
    alice("PUT", f"/{alices}", "policy", body=policy(statements[1]))
    assert bob("GET", f"/{alices}").status == 200


@pytest.fixture(scope="module")
def old_defaults() -> Iterator[Server]:
    with Server(
        default_object_ownership="ObjectWriter", default_public_access_block="false"
    ) as server:
        yield server


def test_the_defaults_of_old(old_defaults: Server) -> None:
    """The settings with which buckets begin as on the AWS of before 2023."""
    with (
        closing(boto3.client("s3", **old_defaults.client_arguments())) as s3,
        closing(
            boto3.client(
                "s3",
                endpoint_url=old_defaults.endpoint,
                config=Config(signature_version=UNSIGNED),
            )
        ) as nobody,
    ):
        s3.create_bucket(Bucket="old", ACL="public-read")
        s3.put_object(Bucket="old", Key="k", Body=b"x", ACL="public-read")
        assert nobody.get_object(Bucket="old", Key="k")["Body"].read() == b"x"
        assert nobody.list_objects_v2(Bucket="old")["KeyCount"] == 1
        for read, code in (
            (s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
            (s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError"),
        ):
            with pytest.raises(s3.exceptions.ClientError, match=code):
                read(Bucket="old")
