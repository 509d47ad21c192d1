"""Several accounts on one server: what is whose, and what a stranger learns, which is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import holdfast.s3.catalogue
import holdfast.s3.ops  # noqa: F401 - importing them declares the operations
from holdfast.s3.operation import BUCKET, OBJECT, OPERATIONS, SERVICE
from holdfast.server.accounts import administration
from holdfast.testing.server import Server

from .raw import Raw
from .users import Nobody, User, allow, deny, open_up, policy


def test_everybody_lists_their_own_buckets(alice: User, bob: User, alices: str) -> None:
    listed = alice("GET", "/")
    assert alices in listed.texts("Buckets/Bucket/Name")
    assert (listed.text("Owner/ID"), listed.text("Owner/DisplayName")) == ("alice-id", "alice")
    assert alices not in bob("GET", "/").texts("Buckets/Bucket/Name")


def test_a_name_that_another_has_taken(alice: User, bob: User, alices: str) -> None:
    assert bob("PUT", f"/{alices}").code == "BucketAlreadyExists"
    assert alice("PUT", f"/{alices}").status == 200


#: operations that no bucket is needed for, or that are somebody else's to authorize
_OTHERWISE = {"CreateBucket", "PostObject"}


@pytest.mark.parametrize(
    "name",
    sorted(name for name, op in OPERATIONS.items() if op.level is not SERVICE and name not in _OTHERWISE),
)  # fmt: skip
def test_a_stranger_may_nothing(
    alice: User, bob: User, nobody: Nobody, closed: str, name: str
) -> None:
    """All operations, on what is there and what is not: always the same answer."""
    op = OPERATIONS[name]
    values = {"partNumber": "1", "uploadId": "u", "annotationName": "n", "select-type": "2"}
    pairs = [one.partition("=") for one in op.query]
    query = "&".join(f"{key}={value or values.get(key, '')}" for key, _, value in pairs)
    headers = {op.header: f"/{closed}/k"} if op.header else {}
    paths = [f"/{closed}"] if op.level is BUCKET else [f"/{closed}/k", f"/{closed}/missing"]
    for client in (bob, nobody):
        for path in paths:
            answer = client(op.method, path, query, headers, b"<X/>" if op.method != "GET" else b"")
            assert answer.status == 403, (name, path, answer)
            assert op.method == "HEAD" or answer.code == "AccessDenied"
        if op.level is OBJECT:
            answer = client(op.method, "/there-is-no-such-bucket/k", query, headers)
            assert answer.status == 404
    assert alice("GET", f"/{closed}/k").body == b"data"


@pytest.fixture(scope="module")
def closed(alices_buckets: Callable[[], str]) -> str:
    return alices_buckets()


def test_root_may_everything_that_no_policy_denies(raw: Raw, alice: User, alices: str) -> None:
    assert raw("GET", f"/{alices}/k").body == b"data"
    assert raw("PUT", f"/{alices}/by-root", body=b"x").status == 200
    document = policy(deny("s3:GetObject", f"{alices}/*"))
    assert alice("PUT", f"/{alices}", "policy", body=document).status == 204
    for client in (alice, raw):
        assert client("GET", f"/{alices}/k").code == "AccessDenied"
        assert client("GET", f"/{alices}").status == 200


def test_copies_need_to_read_the_source(alice: User, bob: User, alices: str) -> None:
    own = f"bobs-copies-of-{alices}"
    bob("PUT", f"/{own}")
    headers = {"x-amz-copy-source": f"/{alices}/k"}
    missing = {"x-amz-copy-source": f"/{alices}/missing"}
    upload = bob("POST", f"/{own}/parts", "uploads").text("UploadId")
    part = f"partNumber=1&uploadId={upload}"
    for query, key in (("", "copy"), (part, "parts")):
        for sent in (headers, missing):
            assert bob("PUT", f"/{own}/{key}", query, sent).code == "AccessDenied"
    document = policy(allow("s3:GetObject", f"{alices}/*", Principal={"AWS": "bob-id"}))
    assert alice("PUT", f"/{alices}", "policy", body=document).status == 204
    for query, key in (("", "copy"), (part, "parts")):
        assert bob("PUT", f"/{own}/{key}", query, headers).status == 200
        assert bob("PUT", f"/{own}/{key}", query, missing).code == "AccessDenied"
    assert bob("GET", f"/{own}/copy").body == b"data"
    # the version is another action
    versioned = {"x-amz-copy-source": f"/{alices}/k?versionId=null"}
    assert bob("PUT", f"/{own}/copy", "", versioned).code == "AccessDenied"
    bob("DELETE", f"/{own}/parts", f"uploadId={upload}")


def test_renaming_takes_the_source_away(alice: User, bob: User, alices: str) -> None:
    def rename() -> str:
        headers = {"x-amz-rename-source": "/k"}
        return bob("PUT", f"/{alices}/bobs/k", "renameObject", headers).code

    write = allow("s3:*", f"{alices}/bobs/*", Principal={"AWS": "bob-id"})
    for more in ([], ["s3:GetObject"], ["s3:DeleteObject"]):
        source = [allow(more, f"{alices}/k", Principal={"AWS": "bob-id"})] if more else []
        alice("PUT", f"/{alices}", "policy", body=policy(write, *source))
        assert rename() == "AccessDenied"
    both = ["s3:GetObject", "s3:DeleteObject"]
    source = [allow(both, f"{alices}/k", Principal={"AWS": "bob-id"})]
    alice("PUT", f"/{alices}", "policy", body=policy(write, *source))
    assert rename() == ""
    assert bob("GET", f"/{alices}/bobs/k").body == b"data"


def test_attributes_need_the_object_too(alice: User, bob: User, alices: str) -> None:
    headers = {"x-amz-object-attributes": "ETag"}
    for actions, status in (("s3:GetObjectAttributes", 403), ("s3:GetObject*", 200)):
        one = allow(actions, f"{alices}/*", Principal={"AWS": "bob-id"})
        alice("PUT", f"/{alices}", "policy", body=policy(one))
        assert bob("GET", f"/{alices}/k", "attributes", headers).status == status


def test_delete_objects_asks_for_every_key(alice: User, bob: User, alices: str) -> None:
    for key in ("mine/1", "yours/1", "yours/2"):
        alice("PUT", f"/{alices}/{key}", body=b"x")
    document = policy(allow("s3:DeleteObject", f"{alices}/yours/*", Principal={"AWS": "bob-id"}))
    alice("PUT", f"/{alices}", "policy", body=document)
    keys = "".join(f"<Object><Key>{k}</Key></Object>" for k in ("mine/1", "yours/1", "yours/3"))
    versions = "<Object><Key>yours/2</Key><VersionId>null</VersionId></Object>"
    body = f"<Delete>{keys}{versions}</Delete>".encode()
    answer = bob("POST", f"/{alices}", "delete", {"content-md5": _md5(body)}, body)
    assert answer.status == 200
    assert answer.texts("Deleted/Key") == ["yours/1", "yours/3"]
    assert answer.texts("Error/Key") == ["mine/1", "yours/2"]
    assert set(answer.texts("Error/Code")) == {"AccessDenied"}
    assert alice("GET", f"/{alices}").texts("Contents/Key") == ["k", "mine/1", "yours/2"]


def _md5(body: bytes) -> str:
    import base64
    import hashlib

    return base64.b64encode(hashlib.md5(body).digest()).decode()


def test_only_who_may_list_learns_what_is_not_there(
    alice: User, bob: User, nobody: Nobody, alices: str
) -> None:
    open_up(alice, alices)
    read = allow("s3:GetObject*", f"{alices}/*")
    listing = allow("s3:ListBucket", alices, Condition={"StringLike": {"s3:prefix": "public/*"}})
    for document, codes in (
        (policy(read), ("AccessDenied", "AccessDenied")),
        (policy(read, listing), ("AccessDenied", "NoSuchKey")),
    ):
        alice("PUT", f"/{alices}", "policy", body=document)
        for client in (bob, nobody):
            assert client("GET", f"/{alices}/k").body == b"data"
            found = tuple(client("GET", f"/{alices}/{key}").code for key in ("x", "public/x"))
            assert found == codes
    assert alice("GET", f"/{alices}/x").code == "NoSuchKey"


def test_what_strangers_write_belongs_to_the_bucket_owner(
    alice: User, bob: User, alices: str
) -> None:
    """ACLs are disabled by default, so an object has no other owner."""
    document = policy(allow(["s3:PutObject", "s3:DeleteObject"], f"{alices}/*",
                            Principal={"AWS": "arn:aws:iam::bob-id:root"}))  # fmt: skip
    alice("PUT", f"/{alices}", "policy", body=document)
    assert bob("PUT", f"/{alices}/bobs", body=b"x").status == 200
    listed = alice("GET", f"/{alices}")
    assert set(listed.texts("Contents/Owner/ID")) == {"alice-id"}
    assert set(listed.texts("Contents/Owner/DisplayName")) == {"alice"}
    assert bob("GET", f"/{alices}/bobs").code == "AccessDenied"
    assert bob("DELETE", f"/{alices}/bobs").status == 204


def test_expected_owner(alice: User, alices: str) -> None:
    for owner, status in (("alice-id", 200), ("bob-id", 403)):
        headers = {"x-amz-expected-bucket-owner": owner}
        assert alice("GET", f"/{alices}/k", "", headers).status == status


def test_a_removed_key_is_refused_by_the_next_request(s3_server: Server) -> None:
    with User(s3_server, "carol", "carol-id") as carol:
        assert carol("GET", "/").status == 200

        async def remove() -> None:
            async with administration(s3_server.settings) as admin:
                await admin.remove_key(carol.access_key)

        asyncio.run(remove())
        assert carol("GET", "/").code == "InvalidAccessKeyId"
        path, query = carol.presign("GET", "/")
        answer = carol.send("GET", path, query, {"host": carol.host})
        assert answer.code == "InvalidAccessKeyId"


def test_presigned_by_a_user(bob: User, nobody: Nobody) -> None:
    bob("PUT", "/bobs-presigned")
    path, query = bob.presign("PUT", "/bobs-presigned/k")
    assert nobody("PUT", path, query, body=b"x").status == 200
    assert nobody("GET", "/bobs-presigned/k").code == "AccessDenied"
    path, query = bob.presign("GET", "/bobs-presigned/k")
    assert nobody("GET", path, query).body == b"x"
