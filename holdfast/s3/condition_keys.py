"""The condition keys of a request, each worked out only when a policy asks for it.

A table of keys; what is not in it is refused when a policy is put (the keys of `s3:`), or is never
there (AWS's own: no request here comes from a VPC or an organization).
https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from holdfast.s3.dates import iso_date
from holdfast.s3.errors import S3Error
from holdfast.s3.tags import parse_tag_header

if TYPE_CHECKING:
    from holdfast.s3.call import Call

EXISTING_TAG = "s3:existingobjecttag/"
REQUEST_TAG = "s3:requestobjecttag/"
REQUEST_TAG_KEYS = "s3:requestobjecttagkeys"
_DAY_SECONDS = 24 * 3600


_Headers = Mapping[str, str]
_WorkOut = Callable[["Call", _Headers], str | None]


def _source_ip(call: Call, _: _Headers) -> str | None:
    try:
        ipaddress.ip_address(call.request.peer)
    except ValueError:  # a Unix socket has none
        return None
    return call.request.peer


def _principal_type(call: Call, _: _Headers) -> str:
    credential = call.auth.credential
    if credential is None:
        return "Anonymous"
    return "Account" if credential.is_root else "User"


def _user_name(call: Call, _: _Headers) -> str | None:
    credential = call.auth.credential
    return None if credential is None or credential.is_root else credential.display_name


def _principal_arn(call: Call, _: _Headers) -> str | None:
    credential = call.auth.credential
    if credential is None:
        return None
    who = "root" if credential.is_root else f"user/{credential.display_name}"
    return f"arn:aws:iam::{credential.account_id}:{who}"


def _auth_type(call: Call, _: _Headers) -> str | None:
    if call.auth.credential is None:
        return None
    if call.op.name == "PostObject" or not call.auth.signature:
        return "POST"
    return "REST-QUERY-STRING" if call.auth.presigned else "REST-HEADER"


def _signature_age(call: Call, _: _Headers) -> str | None:
    if not call.auth.amz_date:
        return None
    signed = datetime.strptime(call.auth.amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return str(max(0, round((call.services.now() - signed.timestamp()) * 1000)))


def _copy_source(call: Call, headers: _Headers) -> str | None:
    text = headers.get("x-amz-copy-source")
    return None if text is None else unquote(text.partition("?versionId=")[0]).removeprefix("/")


def _remaining_days(call: Call, headers: _Headers) -> str | None:
    text = headers.get("x-amz-object-lock-retain-until-date")
    if text is None:
        return None
    try:
        until = datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
    return str(max(0, math.ceil((until - call.services.now()) / _DAY_SECONDS)))


def _header(name: str) -> _WorkOut:
    return lambda _, headers: headers.get(name)


def _query(name: str) -> _WorkOut:
    return lambda call, _: call.query.get(name)


_KEYS: dict[str, _WorkOut] = {
    "aws:sourceip": _source_ip,
    "aws:securetransport": lambda call, _: "true" if call.request.secure else "false",
    "aws:useragent": _header("user-agent"),
    "aws:referer": _header("referer"),
    "aws:currenttime": lambda call, _: iso_date(int(call.services.now() * 1000)),
    "aws:epochtime": lambda call, _: str(int(call.services.now())),
    "aws:principaltype": _principal_type,
    "aws:principalarn": _principal_arn,
    "aws:principalaccount": lambda call, _: call.account_id or None,
    "aws:principalisawsservice": lambda call, _: "false",
    "aws:viaawsservice": lambda call, _: "false",
    "aws:requestedregion": lambda call, _: call.services.region,
    "aws:userid": lambda call, _: call.account_id or "anonymous",
    "aws:username": _user_name,
    "s3:authtype": _auth_type,
    "s3:delimiter": _query("delimiter"),
    "s3:if-match": _header("if-match"),
    "s3:if-none-match": _header("if-none-match"),
    "s3:max-keys": _query("max-keys"),
    "s3:object-lock-legal-hold": _header("x-amz-object-lock-legal-hold"),
    "s3:object-lock-mode": _header("x-amz-object-lock-mode"),
    "s3:object-lock-remaining-retention-days": _remaining_days,
    "s3:object-lock-retain-until-date": _header("x-amz-object-lock-retain-until-date"),
    "s3:prefix": _query("prefix"),
    "s3:signatureage": _signature_age,
    "s3:signatureversion": lambda call, _: (
        None if call.auth.credential is None else "AWS4-HMAC-SHA256"
    ),
    "s3:versionid": _query("versionId"),
    "s3:x-amz-copy-source": _copy_source,
    **{
        f"s3:{name}": _header(name)
        for name in (
            "x-amz-acl",
            "x-amz-content-sha256",
            "x-amz-grant-full-control",
            "x-amz-grant-read",
            "x-amz-grant-read-acp",
            "x-amz-grant-write",
            "x-amz-grant-write-acp",
            "x-amz-metadata-directive",
            "x-amz-object-ownership",
            "x-amz-server-side-encryption",
            "x-amz-server-side-encryption-aws-kms-key-id",
            "x-amz-server-side-encryption-customer-algorithm",
            "x-amz-storage-class",
        )
    },
}

_ELSEWHERE = ("s3:dataaccesspoint", "s3:accesspointnetworkorigin", "s3:resourceaccount")


def is_known(key: str) -> bool:
    """Whether a policy may ask for it (lower case)."""
    if not key.startswith("s3:"):
        return True
    return (
        key in _KEYS
        or key == REQUEST_TAG_KEYS
        or key.startswith((EXISTING_TAG, REQUEST_TAG, *_ELSEWHERE))
    )


class RequestContext(Mapping[str, tuple[str, ...]]):
    """The keys of one request on one resource.

    `headers`: the request's, with those that say the same as its body. `resource_account`: the
    bucket's owner. `existing_tags`: of the object that is there already. `prefix`: of the listing
    that is asked about, where the request is none.
    """

    def __init__(
        self,
        call: Call,
        headers: _Headers,
        resource_account: str,
        existing_tags: Mapping[str, str],
        prefix: str | None = None,
    ) -> None:
        self._call = call
        self._prefix = prefix
        self._headers = headers
        self._resource_account = resource_account
        self._existing = existing_tags
        self._requested: Mapping[str, str] | None = None

    def __getitem__(self, key: str) -> tuple[str, ...]:
        found = self._find(key)
        if found is None:
            raise KeyError(key)
        return found

    def _find(self, key: str) -> tuple[str, ...] | None:
        if key.startswith(EXISTING_TAG):
            return _tag(self._existing, key[len(EXISTING_TAG) :])
        if key.startswith(REQUEST_TAG):
            return _tag(self._tags(), key[len(REQUEST_TAG) :])
        if key == REQUEST_TAG_KEYS:
            return tuple(self._tags()) or None
        if key == "s3:resourceaccount":
            return (self._resource_account,)
        if key == "s3:prefix" and self._prefix is not None:
            return (self._prefix,)
        work_out = _KEYS.get(key)
        value = None if work_out is None else work_out(self._call, self._headers)
        return None if value is None else (value,)

    def _tags(self) -> Mapping[str, str]:
        if self._requested is None:
            text = self._headers.get("x-amz-tagging", "")
            try:
                self._requested = parse_tag_header(text)
            except S3Error:
                self._requested = {}  # the operation refuses it
        return self._requested

    def __iter__(self) -> Iterator[str]:
        return (key for key in _KEYS if self._find(key) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _tag(tags: Mapping[str, str], wanted: str) -> tuple[str, ...] | None:
    """Condition keys are compared without regard to case."""
    values = tuple(value for key, value in tags.items() if key.lower() == wanted)
    return values or None
