"""Who may do what: the stage between the signature and the operation.

    root                everything that no bucket policy denies
    bucket owner        everything in its buckets that their policies don't deny, but for objects
                        that others own: those are read, and their ACLs kept, by what these grant
    everybody else      what the bucket policy allows (of the bucket owner's objects), else what
                        ACLs grant

An explicit Deny wins over all of it, but never locks the owner out of the policy itself. Object
ownership may switch ACLs off, and then the bucket owner owns every object; the public access block
narrows what is public; Requester Pays refuses others who don't say that they will pay. Users' own
policies, when there are such, join in `_verdict` and nowhere else.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-s3-evaluates-access-control.html
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

from holdfast.auth.identity import CredentialLookup
from holdfast.auth.policy import ANONYMOUS, AccessRequest, Policy, Principal, Verdict, parse_policy
from holdfast.iam.accounts import principal
from holdfast.iam.directory import NotLoaded
from holdfast.meta.records import Bucket, ObjectVersion
from holdfast.s3 import xml
from holdfast.s3.acl import bucket_grants, decode_acl, permits
from holdfast.s3.call import Call, Services
from holdfast.s3.condition_keys import EXISTING_TAG, REQUEST_TAG, REQUEST_TAG_KEYS, RequestContext
from holdfast.s3.configuration import Configuration
from holdfast.s3.errors import S3Error
from holdfast.s3.names import version_seq
from holdfast.s3.operation import OBJECT, SERVICE
from holdfast.s3.ownership import (
    ENFORCED,
    OWNERSHIP_KIND,
    object_ownership,
    public_access_block,
)
from holdfast.s3.payload import read_document
from holdfast.s3.replay import ReplayedBody
from holdfast.s3.request_payment import refuses_to_pay
from holdfast.s3.tags import parse_tag_document
from holdfast.s3.xml import XML_BODY_BYTES_MAX

T = TypeVar("T")

#: the kind of the document that holds a bucket's policy, as it was sent
POLICY_KIND = "policy"
LIST_BUCKET = "s3:ListBucket"

#: actions of which the owner can't deprive itself
_POLICY_ACTIONS = frozenset(("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"))

#: what is asked for instead when the request names a version
_OF_A_VERSION = {
    "s3:DeleteObject": "s3:DeleteObjectVersion",
    "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
    "s3:GetObject": "s3:GetObjectVersion",
    "s3:GetObjectAcl": "s3:GetObjectVersionAcl",
    "s3:GetObjectAttributes": "s3:GetObjectVersionAttributes",
    "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
    "s3:PutObjectAcl": "s3:PutObjectVersionAcl",
    "s3:PutObjectTagging": "s3:PutObjectVersionTagging",
}

#: headers that ask for more than the operation's own action, on any object
_ALSO = {
    "x-amz-acl": "s3:PutObjectAcl",
    "x-amz-bypass-governance-retention": "s3:BypassGovernanceRetention",
    "x-amz-grant-full-control": "s3:PutObjectAcl",
    "x-amz-grant-read": "s3:PutObjectAcl",
    "x-amz-grant-read-acp": "s3:PutObjectAcl",
    "x-amz-grant-write": "s3:PutObjectAcl",
    "x-amz-grant-write-acp": "s3:PutObjectAcl",
    "x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold",
    "x-amz-object-lock-mode": "s3:PutObjectRetention",
    "x-amz-object-lock-retain-until-date": "s3:PutObjectRetention",
    "x-amz-tagging": "s3:PutObjectTagging",
}

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#permissions
_BUCKET_ACL = {
    "s3:AbortMultipartUpload": "WRITE",
    "s3:DeleteObject": "WRITE",
    "s3:GetBucketAcl": "READ_ACP",
    "s3:ListBucket": "READ",
    "s3:ListBucketMultipartUploads": "READ",
    "s3:ListBucketVersions": "READ",
    "s3:ListMultipartUploadParts": "WRITE",
    "s3:PutBucketAcl": "WRITE_ACP",
    "s3:PutObject": "WRITE",
}
_OBJECT_ACL = {
    "s3:GetObject": "READ",
    "s3:GetObjectAcl": "READ_ACP",
    "s3:GetObjectAttributes": "READ",
    "s3:GetObjectVersion": "READ",
    "s3:GetObjectVersionAcl": "READ_ACP",
    "s3:GetObjectVersionAttributes": "READ",
    "s3:PutObjectAcl": "WRITE_ACP",
    "s3:PutObjectVersionAcl": "WRITE_ACP",
}


class BucketPolicy(NamedTuple):
    """A bucket policy, and what its evaluation needs. `keys`: of its conditions, in lower case."""

    policy: Policy
    is_public: bool
    keys: frozenset[str]


class _By(enum.Enum):
    """What decided."""

    OWNER = "owner"
    POLICY = "policy"
    ACL = "acl"
    NOTHING = "nothing"  # denied


# --- the stage -------------------------------------------------------------------------------


async def authenticated(services: Services, verify: Callable[[CredentialLookup], T]) -> T:
    """What `verify` returns; a key that this worker has not kept is looked up between two tries."""
    directory = services.directory
    try:
        return verify(directory.credential)
    except NotLoaded as need:
        wanted = need.access_key
    found = await directory.load(wanted)
    return verify(lambda access_key: found if access_key == wanted else None)


async def authorize(call: Call) -> None:
    """Whether the caller may do what the operation declares, and what its headers ask for besides.
    Raises NoSuchBucket, AccessDenied.

    Not for operations that authorize by themselves, key by key: those call `may` or `require`.
    """
    op = call.op
    credential = call.auth.credential
    if op.level is SERVICE or op.action == "s3:CreateBucket":
        if credential is None:
            raise S3Error("AccessDenied")
        return
    bucket = await call.bucket()
    configuration = await call.services.configurations.of(bucket)
    if (
        credential is not None
        and (credential.account_id == bucket.owner or credential.is_root)
        and configuration.document(POLICY_KIND) is None
        and (configuration.document(OWNERSHIP_KIND) is None or credential.is_root)
    ):
        return
    version_id = call.query.get("versionId", "") if op.level is OBJECT else ""
    action = op.action
    by = await _decide(call, action, bucket, call.key, version_id)
    if by is _By.NOTHING:
        raise S3Error("AccessDenied")
    if action == "s3:GetObjectAttributes":  # AWS wants both
        await require(call, "s3:GetObject", bucket, call.key, version_id)
    if op.level is OBJECT and op.method not in ("GET", "HEAD"):
        for also in _also(call, bucket, by):
            if also != action:  # a condition is on the current version, whichever is deleted
                of_version = "" if also == "s3:GetObject" else version_id
                await require(call, also, bucket, call.key, of_version)


def _also(call: Call, bucket: Bucket, by: _By) -> set[str]:
    """Further actions that the headers of a write on an object ask for."""
    headers = call.request.headers
    wanted = {
        action
        for name, action in _ALSO.items()
        if name in headers and not _asks_nothing(name, headers[name], bucket)
    }
    if headers.get("if-match", "*").strip('" ') != "*":  # whoever compares it learns the ETag
        wanted.add("s3:GetObject")
    if by is _By.ACL:  # whoever may write by an ACL owns what he writes, with its ACL and tags
        wanted -= {"s3:PutObjectAcl", "s3:PutObjectTagging"}
    return wanted


def _asks_nothing(name: str, value: str, bucket: Bucket) -> bool:
    """An ACL that lets in nobody but the writer and the bucket's owner is part of the write, as in
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ensure-object-ownership.html"""
    if name == "x-amz-bypass-governance-retention":
        return value.lower() != "true"
    if name == "x-amz-acl":
        return value in ("private", "bucket-owner-read", "bucket-owner-full-control")
    if name.startswith("x-amz-grant-"):
        return value.replace('"', "").replace(" ", "") == f"id={bucket.owner}"
    return False


async def require(
    call: Call, action: str, bucket: Bucket, key: bytes = b"", version_id: str = ""
) -> None:
    """Raises AccessDenied."""
    if not await may(call, action, bucket, key, version_id):
        raise S3Error("AccessDenied")


async def may(
    call: Call, action: str, bucket: Bucket, key: bytes = b"", version_id: str = ""
) -> bool:
    """Whether the caller may do `action` on the bucket (key b"") or on an object of it. With a
    `version_id` the action is that on a version, where S3 tells them apart."""
    return await _decide(call, action, bucket, key, version_id) is not _By.NOTHING


async def may_delete(call: Call, bucket: Bucket, key: bytes, version_id: str) -> bool:
    """One key of DeleteObjects."""
    return await may(call, "s3:DeleteObject", bucket, key, version_id)


async def nothing_allows(call: Call, bucket: Bucket) -> bool:
    """Whether nothing in this bucket can allow this caller anything: no need to read on."""
    if call.auth.credential is not None and _owns(call, bucket):
        return False
    configuration = await call.services.configurations.of(bucket)
    if refuses_to_pay(call, configuration):
        return True
    return (
        configuration.document(POLICY_KIND) is None and object_ownership(configuration) == ENFORCED
    )


async def concealed(call: Call, error: S3Error) -> S3Error:
    """What may be said of an object that is not there: only who may list the bucket learns it."""
    if error.code not in ("NoSuchKey", "NoSuchVersion") or call.op.level is not OBJECT:
        return error
    bucket, prefix = call.source or await call.bucket(), error.fields.get("Key", "")
    by = await _decide(call, LIST_BUCKET, bucket, b"", "", prefix)
    return S3Error("AccessDenied") if by is _By.NOTHING else error


# --- the decision ----------------------------------------------------------------------------


def _owns(call: Call, bucket: Bucket) -> bool:
    credential = call.auth.credential
    return credential is not None and (credential.account_id == bucket.owner or credential.is_root)


def caller(call: Call) -> Principal:
    credential = call.auth.credential
    if credential is None:
        return ANONYMOUS
    return principal(credential.account_id, credential.display_name)


def bucket_policy(bucket: Bucket, configuration: Configuration) -> BucketPolicy | None:
    def parse(document: bytes) -> BucketPolicy:
        policy = parse_policy(document, bucket=bucket.name)
        return BucketPolicy(policy, policy.is_public(), policy.keys())

    return configuration.parsed(POLICY_KIND, parse)


async def _decide(
    call: Call,
    action: str,
    bucket: Bucket,
    key: bytes,
    version_id: str,
    prefix: str | None = None,
) -> _By:
    if version_id:
        action = _OF_A_VERSION.get(action, action)
    configuration = await call.services.configurations.of(bucket)
    owns = _owns(call, bucket)
    if not owns and refuses_to_pay(call, configuration):
        return _By.NOTHING
    policy = bucket_policy(bucket, configuration)
    verdict = Verdict.NONE
    if policy is not None:
        verdict = await _verdict(call, policy, action, bucket, key, version_id, prefix)
        if verdict is Verdict.DENY:
            return _By.OWNER if owns and action in _POLICY_ACTIONS else _By.NOTHING
    credential = call.auth.credential
    if credential is not None and credential.is_root:
        return _By.OWNER
    acls_count = object_ownership(configuration) != ENFORCED
    version = None
    if acls_count and key and action in _OBJECT_ACL:
        version = await _find(call, bucket, key, version_id)
    if version is None or version.owner == bucket.owner:  # what others own is theirs to share
        if owns:
            return _By.OWNER
        if (
            policy is not None
            and verdict is Verdict.ALLOW
            and not (policy.is_public and public_access_block(configuration).restrict)
        ):
            return _By.POLICY
    if acls_count and await _granted(call, configuration, action, bucket, key, version):
        return _By.ACL
    return _By.NOTHING


async def _verdict(
    call: Call,
    policy: BucketPolicy,
    action: str,
    bucket: Bucket,
    key: bytes,
    version_id: str,
    prefix: str | None,
) -> Verdict:
    tags: dict[str, str] = {}
    if key and any(name.startswith(EXISTING_TAG) for name in policy.keys):
        found = await _find(call, bucket, key, version_id)
        if found is not None:
            tags = found.tags
    headers = call.request.headers
    if any(
        name.startswith((REQUEST_TAG, "s3:object-lock-")) or name == REQUEST_TAG_KEYS
        for name in policy.keys
    ):
        headers = {**headers, **await _headers_of_body(call)}
    resource = f"arn:aws:s3:::{bucket.name}"
    if key:
        resource += "/" + key.decode("utf-8", "replace")
    context = RequestContext(call, headers, bucket.owner, tags, prefix)
    return policy.policy.evaluate(AccessRequest(caller(call), action, resource, context))


async def _find(call: Call, bucket: Bucket, key: bytes, version_id: str) -> ObjectVersion | None:
    """None also for a delete marker. Raises InvalidArgument."""
    seq = version_seq(version_id) if version_id else 0
    found = await call.services.meta.find(bucket.id, key, seq)
    return None if found is None or found.version.delete_marker else found.version


async def _granted(
    call: Call,
    configuration: Configuration,
    action: str,
    bucket: Bucket,
    key: bytes,
    version: ObjectVersion | None,
) -> bool:
    """Whether an ACL grants it. `version`: the object's, where its ACL is the one to ask."""
    ignore = public_access_block(configuration).ignore_acls
    account_id = call.account_id
    permission = _BUCKET_ACL.get(action)
    if permission is not None:
        grants = bucket_grants(bucket, configuration)
        return permits(grants, permission, account_id, ignore_public=ignore)
    permission = _OBJECT_ACL.get(action)
    if permission is None or not key:
        return False
    if version is None:  # whoever may list may know; the operation says so
        prefix = key.decode("utf-8", "replace")
        return await _decide(call, LIST_BUCKET, bucket, b"", "", prefix) is not _By.NOTHING
    if permission.endswith("_ACP") and version.owner == account_id:
        return True  # also after it has taken its own grants away
    grants = decode_acl(version.owner, version.acl)
    return permits(grants, permission, account_id, ignore_public=ignore)


async def _headers_of_body(call: Call) -> dict[str, str]:
    """The headers that would say what the body of PutObjectTagging, PutObjectRetention and
    PutObjectLegalHold says. The body can be read again afterwards."""
    name = call.op.name
    if name not in ("PutObjectTagging", "PutObjectRetention", "PutObjectLegalHold"):
        return {}
    request = call.request
    raw = await request.body.read(XML_BODY_BYTES_MAX)
    request.body = ReplayedBody(raw)
    document = await read_document(request, call.auth, XML_BODY_BYTES_MAX)
    request.body = ReplayedBody(raw)
    if name == "PutObjectTagging":
        return {"x-amz-tagging": urlencode(parse_tag_document(document))}
    root = name.removeprefix("PutObject")
    tree = xml.parse(document, root)
    fields = {
        "Mode": "x-amz-object-lock-mode",
        "RetainUntilDate": "x-amz-object-lock-retain-until-date",
        "Status": "x-amz-object-lock-legal-hold",
    }
    return {fields[child.tag]: child.text or "" for child in tree if child.tag in fields}
