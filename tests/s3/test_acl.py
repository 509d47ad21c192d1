"""ACLs and object ownership: canned, by headers, by XML; what they grant, and who owns what."""

from __future__ import annotations

import pytest

from .users import ALL_USERS, AUTHENTICATED_USERS, Nobody, User, allow, open_up, policy

LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
WRITER = "ObjectWriter"
PREFERRED = "BucketOwnerPreferred"
ENFORCED = "BucketOwnerEnforced"
BOB_WRITES = {"x-amz-grant-write": 'id="bob-id"', "x-amz-grant-full-control": "id=alice-id"}


def grants(client: User, path: str) -> set[tuple[str, str]]:
    """(grantee, permission) of an ACL, as its owner reads it."""
    answer = client("GET", path, "acl")
    assert answer.status == 200, answer
    found = set()
    for grant in answer.xml.findall("AccessControlList/Grant"):
        who = grant.findtext("Grantee/URI") or grant.findtext("Grantee/ID") or ""
        found.add((who, grant.findtext("Permission") or ""))
    return found


def document(owner: str, *rows: tuple[str, str, str]) -> bytes:
    """`rows`: (element of the grantee, its text, permission)."""
    types = {"ID": "CanonicalUser", "URI": "Group", "EmailAddress": "AmazonCustomerByEmail"}
    inner = "".join(
        f'<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:type="{types.get(tag, tag)}"><{tag}>{text}</{tag}></Grantee>'
        f"<Permission>{permission}</Permission></Grant>"
        for tag, text, permission in rows
    )
    return (
        f'<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>{owner}'
        f"</ID></Owner><AccessControlList>{inner}</AccessControlList></AccessControlPolicy>"
    ).encode()


@pytest.fixture
def writers(alice: User, alices: str) -> str:
    """A bucket of alice's with ACLs, and nothing blocked."""
    open_up(alice, alices, WRITER)
    return alices


OWNER = ("alice-id", "FULL_CONTROL")


@pytest.mark.parametrize(
    ("name", "bucket_more", "object_more"),
    [
        ("private", set(), set()),
        ("public-read", {(ALL_USERS, "READ")}, {(ALL_USERS, "READ")}),
        ("public-read-write", {(ALL_USERS, "READ"), (ALL_USERS, "WRITE")},
         {(ALL_USERS, "READ"), (ALL_USERS, "WRITE")}),
        ("authenticated-read", {(AUTHENTICATED_USERS, "READ")}, {(AUTHENTICATED_USERS, "READ")}),
        ("log-delivery-write", {(LOG_DELIVERY, "WRITE"), (LOG_DELIVERY, "READ_ACP")}, None),
        ("bucket-owner-read", set(), set()),
        ("bucket-owner-full-control", set(), set()),
        ("aws-exec-read", set(), set()),
    ],
)  # fmt: skip
def test_canned(
    alice: User,
    writers: str,
    name: str,
    bucket_more: set[tuple[str, str]],
    object_more: set[tuple[str, str]] | None,
) -> None:
    headers = {"x-amz-acl": name}
    assert alice("PUT", f"/{writers}", "acl", headers).status == 200
    assert grants(alice, f"/{writers}") == {OWNER, *bucket_more}
    for path, query, body in (
        ("k", "acl", b""), ("new", "", b"x"), ("copy", "", b""),
    ):  # fmt: skip
        copy = {"x-amz-copy-source": f"/{writers}/k"} if path == "copy" else {}
        answer = alice("PUT", f"/{writers}/{path}", query, {**headers, **copy}, body)
        if object_more is None:
            assert answer.code == "InvalidArgument"
        else:
            assert answer.status == 200
            assert grants(alice, f"/{writers}/{path}") == {OWNER, *object_more}


def test_bucket_owner_canned_by_another(alice: User, bob: User, writers: str) -> None:
    alice("PUT", f"/{writers}", "acl", {"x-amz-acl": "public-read-write"})
    mine = ("bob-id", "FULL_CONTROL")
    for name, more in (
        ("private", set()),
        ("bucket-owner-read", {("alice-id", "READ")}),
        ("bucket-owner-full-control", {("alice-id", "FULL_CONTROL")}),
    ):
        answer = bob("PUT", f"/{writers}/bobs", "", {"x-amz-acl": name}, b"bobs")
        assert answer.status == 200
        assert grants(bob, f"/{writers}/bobs") == {mine, *more}
        # what others own in a bucket is theirs to share, also with the bucket's owner
        assert alice("GET", f"/{writers}/bobs").status == (200 if more else 403)
        full = name == "bucket-owner-full-control"
        assert alice("GET", f"/{writers}/bobs", "acl").status == (200 if full else 403)
    assert bob("GET", f"/{writers}/bobs").body == b"bobs"
    assert alice("DELETE", f"/{writers}/bobs").status == 204


def test_grants_by_header(alice: User, bob: User, writers: str) -> None:
    headers = {
        "x-amz-grant-read": f'id="bob-id", uri="{AUTHENTICATED_USERS}"',
        "x-amz-grant-read-acp": "emailAddress=BOB@example.org",
        "x-amz-grant-full-control": "id=alice-id",
    }
    expected = {
        OWNER, ("bob-id", "READ"), (AUTHENTICATED_USERS, "READ"), ("bob-id", "READ_ACP"),
    }  # fmt: skip
    for path, query in (("", "acl"), ("/k", "acl"), ("/new", "")):
        assert alice("PUT", f"/{writers}{path}", query, headers).status == 200
        assert grants(alice, f"/{writers}{path}") == expected
        assert grants(bob, f"/{writers}{path}") == expected


def test_grants_by_xml(alice: User, bob: User, writers: str) -> None:
    body = document(
        "alice-id",
        ("ID", "alice-id", "FULL_CONTROL"),
        ("URI", ALL_USERS, "READ"),
        ("EmailAddress", "bob@example.org", "WRITE_ACP"),
    )
    expected = {OWNER, (ALL_USERS, "READ"), ("bob-id", "WRITE_ACP")}
    for path in ("", "/k"):
        assert alice("PUT", f"/{writers}{path}", "acl", body=body).status == 200
        assert grants(alice, f"/{writers}{path}") == expected
    answer = alice("GET", f"/{writers}/k", "acl")
    assert (answer.text("Owner/ID"), answer.text("Owner/DisplayName")) == ("alice-id", "alice")
    names = answer.texts("AccessControlList/Grant/Grantee/DisplayName")
    assert sorted(names) == ["alice", "bob"]
    # written again as it was read
    assert alice("PUT", f"/{writers}/k", "acl", body=answer.body).status == 200
    assert grants(alice, f"/{writers}/k") == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<", "MalformedACLError"),
        (b"<AccessControlPolicy/>", "MalformedACLError"),
        (document("alice-id", ("ID", "alice-id", "EVERYTHING")), "MalformedACLError"),
        (document("alice-id", ("Other", "x", "READ")), "MalformedACLError"),
        (document(""), "MalformedACLError"),
        (document("bob-id", ("ID", "bob-id", "READ")), "AccessDenied"),
        (document("alice-id", ("ID", "no-such-id", "READ")), "InvalidArgument"),
        (document("alice-id", ("URI", "http://x/", "READ")), "InvalidArgument"),
        (document("alice-id", ("EmailAddress", "x@x.org", "READ")),
         "UnresolvableGrantByEmailAddress"),
        (document("alice-id", *[("ID", "bob-id", "READ")] * 101), "MalformedACLError"),
        (b"", "MissingSecurityHeader"),
    ],
)  # fmt: skip
def test_documents_that_are_refused(alice: User, writers: str, body: bytes, code: str) -> None:
    for path in ("", "/k"):
        assert alice("PUT", f"/{writers}{path}", "acl", body=body).code == code
        assert grants(alice, f"/{writers}{path}") == {OWNER}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-acl": "everybody"}, "InvalidArgument"),
        ({"x-amz-acl": ""}, "InvalidArgument"),
        ({"x-amz-acl": "private", "x-amz-grant-read": "id=bob-id"}, "InvalidRequest"),
        ({"x-amz-grant-read": "id=no-such-id"}, "InvalidArgument"),
        ({"x-amz-grant-read": "bob-id"}, "InvalidArgument"),
        ({"x-amz-grant-read": ""}, "InvalidArgument"),
        ({"x-amz-grant-read": "name=bob"}, "InvalidArgument"),
        ({"x-amz-grant-read": "uri=http://x/"}, "InvalidArgument"),
        ({"x-amz-grant-read": ",".join(["id=bob-id"] * 101)}, "InvalidArgument"),
        ({"x-amz-grant-read": 'emailAddress="x@x.org"'}, "UnresolvableGrantByEmailAddress"),
    ],
    ids=str,
)
def test_headers_that_are_refused(
    alice: User, writers: str, headers: dict[str, str], code: str
) -> None:
    for path, query in (("", "acl"), ("/k", "acl"), ("/new", "")):
        assert alice("PUT", f"/{writers}{path}", query, headers).code == code
    assert alice("POST", f"/{writers}/new", "uploads", headers).code == code
    assert alice("GET", f"/{writers}/new").code == "NoSuchKey"
    made = alice("PUT", f"/{writers}-x", "", headers)
    assert made.code == code


def test_what_a_bucket_acl_grants(alice: User, bob: User, nobody: Nobody, writers: str) -> None:
    def allowed(client: User | Nobody) -> set[str]:
        found = {
            "READ": client("GET", f"/{writers}").status == 200
            and client("HEAD", f"/{writers}").status == 200
            and client("GET", f"/{writers}", "versions").status == 200
            and client("GET", f"/{writers}", "uploads").status == 200,
            "WRITE": client("PUT", f"/{writers}/by-acl", body=b"x").status == 200
            and client("DELETE", f"/{writers}/by-acl").status == 204,
            "READ_ACP": client("GET", f"/{writers}", "acl").status == 200,
            "other": client("GET", f"/{writers}", "policyStatus").status == 200
            or client("GET", f"/{writers}/k").status == 200,
        }
        return {name for name, yes in found.items() if yes}

    for permission in ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"):
        body = document("alice-id", ("ID", "bob-id", permission))
        assert alice("PUT", f"/{writers}", "acl", body=body).status == 200
        everything = {"READ", "WRITE", "READ_ACP"}
        expected = everything if permission == "FULL_CONTROL" else {permission} & everything
        assert allowed(bob) == expected
        assert allowed(nobody) == set()
        may_change = permission in ("WRITE_ACP", "FULL_CONTROL")
        answer = bob("PUT", f"/{writers}", "acl", body=body)
        assert answer.status == (200 if may_change else 403)
    alice("PUT", f"/{writers}", "acl", {"x-amz-acl": "authenticated-read"})
    assert (allowed(bob), allowed(nobody)) == ({"READ"}, set())
    alice("PUT", f"/{writers}", "acl", {"x-amz-acl": "public-read"})
    assert (allowed(bob), allowed(nobody)) == ({"READ"}, {"READ"})


def test_what_an_object_acl_grants(alice: User, bob: User, nobody: Nobody, writers: str) -> None:
    def allowed(client: User | Nobody) -> set[str]:
        found = {
            "READ": client("GET", f"/{writers}/k").status == 200
            and client("HEAD", f"/{writers}/k", "versionId=null").status == 200,
            "READ_ACP": client("GET", f"/{writers}/k", "acl").status == 200,
            "other": client("PUT", f"/{writers}/k", body=b"x").status == 200
            or client("GET", f"/{writers}/k", "tagging").status == 200
            or client("GET", f"/{writers}").status == 200,
        }
        return {name for name, yes in found.items() if yes}

    for permission in ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"):
        body = document("alice-id", ("ID", "bob-id", permission))
        assert alice("PUT", f"/{writers}/k", "acl", body=body).status == 200
        readable = {"READ", "READ_ACP"}
        expected = readable if permission == "FULL_CONTROL" else {permission} & readable
        assert (allowed(bob), allowed(nobody)) == (expected, set())
        answer = bob("PUT", f"/{writers}/k", "acl", body=body)
        assert answer.status == (200 if permission in ("WRITE_ACP", "FULL_CONTROL") else 403)
    alice("PUT", f"/{writers}/k", "acl", {"x-amz-acl": "public-read"})
    assert (allowed(bob), allowed(nobody)) == ({"READ"}, {"READ"})
    for client in (bob, nobody):  # a key that is not there
        assert client("GET", f"/{writers}/missing").code == "AccessDenied"


def test_an_owner_gets_its_acl_back(alice: User, bob: User, writers: str) -> None:
    alice("PUT", f"/{writers}", "acl", {"x-amz-acl": "public-read-write"})
    bob("PUT", f"/{writers}/bobs", body=b"x")
    assert bob("PUT", f"/{writers}/bobs", "acl", body=document("bob-id")).status == 200
    assert bob("GET", f"/{writers}/bobs").code == "AccessDenied"
    assert grants(bob, f"/{writers}/bobs") == set()
    assert bob("PUT", f"/{writers}/bobs", "acl", {"x-amz-acl": "private"}).status == 200
    assert bob("GET", f"/{writers}/bobs").body == b"x"


def test_acl_of_a_version(alice: User, nobody: Nobody, writers: str) -> None:
    enable = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert alice("PUT", f"/{writers}", "versioning", body=enable).status == 200
    versions = [
        alice("PUT", f"/{writers}/v", body=b"%d" % n).headers["x-amz-version-id"] for n in (1, 2)
    ]
    query = f"versionId={versions[0]}"
    answer = alice("PUT", f"/{writers}/v", f"acl&{query}", {"x-amz-acl": "public-read"})
    assert (answer.status, answer.headers["x-amz-version-id"]) == (200, versions[0])
    assert nobody("GET", f"/{writers}/v", query).body == b"1"
    assert nobody("GET", f"/{writers}/v").code == "AccessDenied"
    got = alice("GET", f"/{writers}/v", f"acl&{query}")
    assert got.headers["x-amz-version-id"] == versions[0]
    assert len(got.texts("AccessControlList/Grant")) == 2


def test_multipart_keeps_owner_and_acl(alice: User, bob: User, writers: str) -> None:
    alice("PUT", f"/{writers}", "acl", {"x-amz-acl": "public-read-write"})
    upload = bob("POST", f"/{writers}/m", "uploads", {"x-amz-acl": "public-read"})
    query = f"uploadId={upload.text('UploadId')}"
    etag = bob("PUT", f"/{writers}/m", f"partNumber=1&{query}", body=b"x").headers["etag"]
    listed = alice("GET", f"/{writers}", "uploads")
    assert listed.text("Upload/Owner/ID") == "bob-id"
    assert listed.text("Upload/Owner/DisplayName") == "bob"
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
    assert bob("POST", f"/{writers}/m", query, body=body).status == 200
    assert grants(bob, f"/{writers}/m") == {("bob-id", "FULL_CONTROL"), (ALL_USERS, "READ")}
    assert alice("GET", f"/{writers}/m").body == b"x"


# --- object ownership ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ownership", "headers", "owner"),
    [
        (ENFORCED, {}, "alice-id"),
        (ENFORCED, {"x-amz-acl": "bucket-owner-full-control"}, "alice-id"),
        (ENFORCED, {"x-amz-grant-full-control": "id=alice-id"}, "alice-id"),
        (ENFORCED, {"x-amz-acl": "private"}, ""),
        (ENFORCED, {"x-amz-acl": "public-read"}, ""),
        (ENFORCED, {"x-amz-grant-read": "id=alice-id"}, ""),
        (PREFERRED, {}, "bob-id"),
        (PREFERRED, {"x-amz-acl": "private"}, "bob-id"),
        (PREFERRED, {"x-amz-acl": "bucket-owner-full-control"}, "alice-id"),
        (WRITER, {}, "bob-id"),
        (WRITER, {"x-amz-acl": "bucket-owner-full-control"}, "bob-id"),
    ],
    ids=str,
)
def test_who_owns_what_is_written(
    alice: User, bob: User, alices: str, ownership: str, headers: dict[str, str], owner: str
) -> None:
    open_up(alice, alices, ownership)
    everything = policy(allow("s3:*", alices), allow("s3:*", f"{alices}/*"))
    assert alice("PUT", f"/{alices}", "policy", body=everything).status == 204
    copy = {"x-amz-copy-source": f"/{alices}/k"}
    for key, more in (("put", {}), ("copy", copy)):
        answer = bob("PUT", f"/{alices}/{key}", "", {**headers, **more})
        if not owner:
            assert answer.code == "AccessControlListNotSupported"
            continue
        assert answer.status == 200
        assert bob("GET", f"/{alices}/{key}", "acl").text("Owner/ID") == owner
    upload = bob("POST", f"/{alices}/m", "uploads", headers)
    if owner:
        query = f"uploadId={upload.text('UploadId')}"
        assert bob("GET", f"/{alices}/m", query).text("Owner/ID") == owner
    else:
        assert upload.code == "AccessControlListNotSupported"


def test_ownership_controls(alice: User, alices: str) -> None:
    def configured() -> str:
        answer = alice("GET", f"/{alices}", "ownershipControls")
        return answer.text("Rule/ObjectOwnership") or answer.code

    def put(body: str) -> str:
        document = f"<OwnershipControls>{body}</OwnershipControls>".encode()
        return alice("PUT", f"/{alices}", "ownershipControls", body=document).code

    rule = "<Rule><ObjectOwnership>{}</ObjectOwnership></Rule>"
    assert configured() == ENFORCED
    for ownership in (PREFERRED, WRITER, ENFORCED):
        assert put(rule.format(ownership)) == ""
        assert configured() == ownership
    for body in ("", rule.format("Mine"), rule.format(WRITER) * 2, "<Rule/>", "<X/>"):
        assert put(body) == "MalformedXML"
    assert alice("PUT", f"/{alices}", "ownershipControls").code == "MissingRequestBodyError"
    for _ in range(2):
        assert alice("DELETE", f"/{alices}", "ownershipControls").status == 204
        assert configured() == "OwnershipControlsNotFoundError"
    # without controls ACLs count, as in the buckets of old
    assert alice("PUT", f"/{alices}", "acl", {"x-amz-grant-read": "id=alice-id"}).status == 200


def test_acls_and_enforced_ownership_exclude_each_other(
    alice: User, nobody: Nobody, writers: str
) -> None:
    alice("PUT", f"/{writers}/k", "acl", {"x-amz-acl": "public-read"})
    alice("PUT", f"/{writers}", "acl", {"x-amz-acl": "public-read"})
    rule = f"<Rule><ObjectOwnership>{ENFORCED}</ObjectOwnership></Rule>"
    body = f"<OwnershipControls>{rule}</OwnershipControls>".encode()
    answer = alice("PUT", f"/{writers}", "ownershipControls", body=body)
    assert (answer.status, answer.code) == (400, "InvalidBucketAclWithObjectOwnership")
    alice("PUT", f"/{writers}", "acl", {"x-amz-acl": "private"})
    assert nobody("GET", f"/{writers}/k").body == b"data"
    assert alice("PUT", f"/{writers}", "ownershipControls", body=body).status == 200
    # the object's ACL counts no longer, reads as the owner's own, and can't be changed
    assert nobody("GET", f"/{writers}/k").code == "AccessDenied"
    assert grants(alice, f"/{writers}/k") == {OWNER}
    for path in ("", "/k"):
        answer = alice("PUT", f"/{writers}{path}", "acl", {"x-amz-acl": "private"})
        assert (answer.status, answer.code) == (400, "AccessControlListNotSupported")


def test_a_bucket_made_with_an_acl(alice: User, alices: str) -> None:
    name = f"{alices}-acl"
    public = {"x-amz-acl": "public-read"}
    assert alice("PUT", f"/{name}", "", public).code == "InvalidBucketAclWithObjectOwnership"
    headers = {**public, "x-amz-object-ownership": WRITER}
    answer = alice("PUT", f"/{name}", "", headers)
    assert answer.code == "InvalidBucketAclWithBlockPublicAccessError"
    headers = {"x-amz-object-ownership": "Mine"}
    assert alice("PUT", f"/{name}", "", headers).code == "InvalidArgument"
    assert alice("HEAD", f"/{name}").status == 404
    headers = {"x-amz-grant-read": "id=bob-id", "x-amz-object-ownership": WRITER}
    assert alice("PUT", f"/{name}", "", headers).status == 200
    assert grants(alice, f"/{name}") == {("bob-id", "READ")}
    assert alice("GET", f"/{name}", "ownershipControls").text("Rule/ObjectOwnership") == WRITER
    # made again in us-east-1: its ACL is reset, nothing else
    assert alice("PUT", f"/{name}").status == 200
    assert grants(alice, f"/{name}") == {OWNER}
    assert alice("GET", f"/{name}", "ownershipControls").text("Rule/ObjectOwnership") == WRITER
