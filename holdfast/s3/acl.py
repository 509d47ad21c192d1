"""Access control lists: out of canned names, headers and XML, into what is kept, and back.

Kept as JSON, a list of grants; b"" is the default, FULL_CONTROL to the owner alone. Who asks by an
email address is found when the list is put, and kept by the canonical user id.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated
from xml.etree import ElementTree

import msgspec

from holdfast.meta.records import Bucket
from holdfast.s3 import xml
from holdfast.s3.call import Call, Services
from holdfast.s3.configuration import Configuration
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import Header, Input
from holdfast.s3.ownership import (
    BLOCK_KIND,
    BLOCK_REMOVED,
    ENFORCED,
    OWNERSHIP_KIND,
    OWNERSHIP_REMOVED,
    PREFERRED,
    WRITER,
    encode_block,
    object_ownership,
    public_access_block,
)
from holdfast.s3.xml import element

#: the kind of the document that holds a bucket's ACL
KIND = "acl"
GRANTS_MAX = 100
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
GROUPS = (ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY)
PUBLIC_GROUPS = (ALL_USERS, AUTHENTICATED_USERS)
PERMISSIONS = ("FULL_CONTROL", "READ", "READ_ACP", "WRITE", "WRITE_ACP")
#: the canonical user id that AWS gives to what anonymous requests write
ANONYMOUS_ID = "65a011a29cdf8ec533ec3d1ccaae921c"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_TYPE = f"{{{_XSI}}}type"

_GROUP_GRANTS = {
    "private": (),
    "public-read": ((ALL_USERS, "READ"),),
    "public-read-write": ((ALL_USERS, "READ"), (ALL_USERS, "WRITE")),
    "authenticated-read": ((AUTHENTICATED_USERS, "READ"),),
    # EC2 reads no bundles here: nobody is granted anything
    "aws-exec-read": (),
    "bucket-owner-read": (),
    "bucket-owner-full-control": (),
    "log-delivery-write": ((LOG_DELIVERY, "WRITE"), (LOG_DELIVERY, "READ_ACP")),
}
_GRANTEE = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"([^"]*)"|([^",]*?))\s*(?:,|\Z)')


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """To an account by `id`, or to a `group` by its URI."""

    permission: str
    id: str = ""
    group: str = ""


def _canned_name(text: str) -> str:
    if text not in _GROUP_GRANTS:
        raise S3Error("InvalidArgument", ArgumentName="x-amz-acl", ArgumentValue=text)
    return text


def _grantees(text: str) -> str:
    if not text.strip():
        raise S3Error("InvalidArgument", "A grant without a grantee.")
    return text


class AclInput(Input):
    """The headers that give a new bucket, object or upload its ACL, or replace one."""

    acl: Annotated[str, Header("x-amz-acl", _canned_name)] = ""
    grant_full_control: Annotated[str, Header("x-amz-grant-full-control", _grantees)] = ""
    grant_read: Annotated[str, Header("x-amz-grant-read", _grantees)] = ""
    grant_read_acp: Annotated[str, Header("x-amz-grant-read-acp", _grantees)] = ""
    grant_write: Annotated[str, Header("x-amz-grant-write", _grantees)] = ""
    grant_write_acp: Annotated[str, Header("x-amz-grant-write-acp", _grantees)] = ""

    def header_grants(self) -> list[tuple[str, str]]:
        """(permission, header) of the grant headers that were sent."""
        sent = (
            self.grant_full_control,
            self.grant_read,
            self.grant_read_acp,
            self.grant_write,
            self.grant_write_acp,
        )
        if not any(sent):
            return []
        return [pair for pair in zip(PERMISSIONS, sent, strict=True) if pair[1]]


# --- what is kept ----------------------------------------------------------------------------


def encode_acl(owner: str, grants: list[Grant]) -> bytes:
    return b"" if grants == [Grant("FULL_CONTROL", owner)] else msgspec.json.encode(grants)


def decode_acl(owner: str, acl: bytes) -> list[Grant]:
    if not acl:
        return [Grant("FULL_CONTROL", owner)]
    return msgspec.json.decode(acl, type=list[Grant])


def bucket_grants(bucket: Bucket, configuration: Configuration) -> list[Grant]:
    """Of the bucket's ACL."""
    grants = configuration.parsed(KIND, lambda body: decode_acl(bucket.owner, body))
    return decode_acl(bucket.owner, b"") if grants is None else grants


def is_public(grants: Iterable[Grant]) -> bool:
    return any(grant.group in PUBLIC_GROUPS for grant in grants)


def permits(
    grants: Iterable[Grant], permission: str, account_id: str, *, ignore_public: bool
) -> bool:
    """Whether they give `permission` to the account ("": an anonymous caller)."""
    for grant in grants:
        if grant.permission not in (permission, "FULL_CONTROL"):
            continue
        if grant.id:
            if grant.id == account_id:
                return True
        elif not ignore_public and (
            grant.group == ALL_USERS or (grant.group == AUTHENTICATED_USERS and account_id != "")
        ):
            return True
    return False


# --- what comes in ---------------------------------------------------------------------------


async def object_access(call: Call, bucket: Bucket, inp: AclInput) -> tuple[str, bytes]:
    """(owner, acl) for the command that makes an object or an upload in `bucket`, as the bucket's
    object ownership and public access block allow.

    Raises AccessControlListNotSupported, AccessDenied (a public ACL where those are blocked),
    InvalidArgument, InvalidRequest, UnresolvableGrantByEmailAddress.
    """
    configuration = await call.services.configurations.of(bucket)
    ownership = object_ownership(configuration)
    writer = call.account_id or ANONYMOUS_ID
    owner = writer
    if ownership == ENFORCED or (ownership == PREFERRED and inp.acl == "bucket-owner-full-control"):
        owner = bucket.owner
    if ownership == ENFORCED:
        await _check_enforced(call, inp, owner)
        return owner, b""
    acl = await acl_from_headers(call, inp, owner, bucket.owner)
    if acl is None:
        return owner, b""
    check_public(configuration, decode_acl(owner, acl))
    return owner, acl


async def writer(call: Call, bucket: Bucket) -> str:
    """Whose a delete marker is that the caller makes."""
    if object_ownership(await call.services.configurations.of(bucket)) == ENFORCED:
        return bucket.owner
    return call.account_id or ANONYMOUS_ID


async def _check_enforced(call: Call, inp: AclInput, owner: str) -> None:
    """Where ACLs are switched off, a request may only say what is so anyhow.

    From the bucket's owner `private` says that, too: full control to him alone.
    """
    granted = inp.header_grants()
    if not granted and (
        inp.acl in ("", "bucket-owner-full-control")
        or (inp.acl == "private" and call.account_id == owner)
    ):
        return
    if not inp.acl:
        try:
            if await acl_from_headers(call, inp, owner, owner) == b"":
                return
        except S3Error:
            pass  # whatever it grants, it may not
    raise S3Error("AccessControlListNotSupported")


async def new_bucket_documents(call: Call, inp: AclInput, ownership: str) -> dict[str, bytes]:
    """The documents by kind that a bucket begins with, as its headers and the server's defaults
    say. `ownership`: x-amz-object-ownership, "" when absent.

    Raises InvalidBucketAclWithObjectOwnership, InvalidBucketAclWithBlockPublicAccessError and what
    `acl_from_headers` raises.
    """
    defaults = call.services.new_buckets
    documents: dict[str, bytes] = {}
    chosen = ownership or defaults.ownership
    if chosen != ENFORCED:
        # the oldest default is that of buckets without ownership controls
        documents[OWNERSHIP_KIND] = (
            chosen.encode("ascii") if ownership or chosen != WRITER else OWNERSHIP_REMOVED
        )
    if not defaults.block_public:
        documents[BLOCK_KIND] = encode_block(BLOCK_REMOVED)
    acl = await acl_from_headers(call, inp, call.account_id, "")
    if acl:
        if chosen == ENFORCED:
            raise S3Error("InvalidBucketAclWithObjectOwnership")
        if defaults.block_public and is_public(decode_acl(call.account_id, acl)):
            raise S3Error("InvalidBucketAclWithBlockPublicAccessError")
        documents[KIND] = acl
    return documents


async def acl_from_headers(
    call: Call, inp: AclInput, owner: str, bucket_owner: str
) -> bytes | None:
    """The ACL that x-amz-acl or x-amz-grant-* ask for, as it is kept; None when there are none.

    `owner`: of what gets the ACL. `bucket_owner`: "" when it is a bucket that gets it. Raises
    InvalidRequest (both kinds), InvalidArgument, UnresolvableGrantByEmailAddress.
    """
    headers = inp.header_grants()
    if inp.acl:
        if headers:
            raise S3Error(
                "InvalidRequest",
                "Specifying both Canned ACLs and Header Grants is not allowed",
            )
        return encode_acl(owner, _canned(inp.acl, owner, bucket_owner))
    if not headers:
        return None
    grants: list[Grant] = []
    for permission, text in headers:
        at = 0
        while at < len(text):
            match = _GRANTEE.match(text, at)
            if match is None or len(grants) >= GRANTS_MAX:
                raise S3Error("InvalidArgument", f"Argument format not recognized: {text[:200]}")
            at = match.end()
            kind, value = match[1].lower(), match[2] if match[2] is not None else match[3]
            grants.append(await _grant(call.services, permission, kind, value))
    return encode_acl(owner, grants)


def _canned(name: str, owner: str, bucket_owner: str) -> list[Grant]:
    if name == "log-delivery-write" and bucket_owner:
        raise S3Error("InvalidArgument", ArgumentName="x-amz-acl", ArgumentValue=name)
    grants = [Grant(permission, group=group) for group, permission in _GROUP_GRANTS[name]]
    grants.append(Grant("FULL_CONTROL", owner))
    if bucket_owner not in ("", owner):
        if name == "bucket-owner-read":
            grants.append(Grant("READ", bucket_owner))
        elif name == "bucket-owner-full-control":
            grants.append(Grant("FULL_CONTROL", bucket_owner))
    return grants


async def _grant(services: Services, permission: str, kind: str, value: str) -> Grant:
    """Raises InvalidArgument, UnresolvableGrantByEmailAddress."""
    if kind == "uri":
        if value not in GROUPS:
            raise S3Error(
                "InvalidArgument",
                "Invalid group uri",
                ArgumentName="uri",
                ArgumentValue=value,
            )
        return Grant(permission, group=value)
    if kind == "id":
        if await services.directory.account(value) is None:
            raise S3Error(
                "InvalidArgument",
                "Invalid id",
                ArgumentName="CanonicalUser/ID",
                ArgumentValue=value,
            )
        return Grant(permission, value)
    if kind == "emailaddress":
        found = await services.directory.by_email(value)
        if not found:
            raise S3Error("UnresolvableGrantByEmailAddress", EmailAddress=value)
        return Grant(permission, found[0].id)
    raise S3Error("InvalidArgument", f"Argument format not recognized: {kind}={value}"[:200])


async def parse_acl(services: Services, body: bytes, owner: str) -> list[Grant]:
    """The grants of an AccessControlPolicy document. Raises MalformedACLError, AccessDenied (another
    owner), InvalidArgument, UnresolvableGrantByEmailAddress."""
    try:
        tree = xml.parse(body, "AccessControlPolicy")
    except S3Error:
        raise S3Error("MalformedACLError") from None
    parts = {child.tag: child for child in tree}
    if len(parts) != len(tree) or parts.keys() != {"Owner", "AccessControlList"}:
        raise S3Error("MalformedACLError")
    owner_id = parts["Owner"].findtext("ID")
    if not owner_id:
        raise S3Error("MalformedACLError")
    if owner_id != owner:
        raise S3Error("AccessDenied")
    rows = list(parts["AccessControlList"])
    if len(rows) > GRANTS_MAX:
        raise S3Error("MalformedACLError")
    grants = []
    for row in rows:
        permission, kind, value = _row(row)
        grants.append(await _grant(services, permission, kind, value))
    return grants


def _row(row: ElementTree.Element) -> tuple[str, str, str]:
    """(permission, kind of grantee, grantee). Raises MalformedACLError."""
    grantee, permission = row.find("Grantee"), row.findtext("Permission") or ""
    if row.tag != "Grant" or len(row) != 2 or grantee is None or permission not in PERMISSIONS:
        raise S3Error("MalformedACLError")
    named = {child.tag: (child.text or "").strip() for child in grantee}
    for tag, kind, said in (
        ("ID", "id", "CanonicalUser"),
        ("EmailAddress", "emailaddress", "AmazonCustomerByEmail"),
        ("URI", "uri", "Group"),
    ):
        if tag in named:
            if named.keys() - {tag, "DisplayName"} or grantee.get(_TYPE, said) != said:
                break
            return permission, kind, named[tag]
    raise S3Error("MalformedACLError")


def check_public(configuration: Configuration, grants: Iterable[Grant]) -> None:
    """Raises AccessDenied for a public ACL where BlockPublicAcls is on."""
    if is_public(grants) and public_access_block(configuration).block_acls:
        raise S3Error("AccessDenied")


# --- what goes out ---------------------------------------------------------------------------


async def acl_document(services: Services, owner: str, grants: list[Grant]) -> bytes:
    """The answer of GetBucketAcl and GetObjectAcl."""
    name_of = services.directory.display_name
    rows = []
    for grant in sorted(grants, key=lambda grant: not grant.group):
        if grant.group:
            kind, inner = "Group", element("URI", grant.group)
        else:
            kind = "CanonicalUser"
            inner = element("ID", grant.id) + element("DisplayName", await name_of(grant.id))
        rows.append(
            f'<Grant><Grantee xmlns:xsi="{_XSI}" xsi:type="{kind}">{inner}</Grantee>'
            f"{element('Permission', grant.permission)}</Grant>"
        )
    return xml.document(
        "AccessControlPolicy",
        f"<Owner>{element('ID', owner)}{element('DisplayName', await name_of(owner))}</Owner>"
        f"<AccessControlList>{''.join(rows)}</AccessControlList>",
    )
