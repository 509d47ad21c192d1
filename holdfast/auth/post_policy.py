"""Browser-based uploads: who signed a form's policy, and whether the form keeps to it. Pure.

A form is a dict of lower-case field names to text. A policy is believed only after its signature:
Signature Version 4, or Version 2, which S3 still takes here and form generators still make
(an HMAC-SHA1 over the policy; requests themselves are never taken with it).
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-UsingHTTPPOST.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from datetime import datetime
from typing import Any, NamedTuple

from holdfast.auth.canonical import ALGORITHM, SERVICE, TERMINAL, signing_key
from holdfast.auth.identity import AuthError, Credential, CredentialLookup
from holdfast.auth.sigv4 import signature_mismatch

#: fields that a policy need not name
UNCHECKED = frozenset(("awsaccesskeyid", "file", "policy", "signature", "x-amz-signature"))
UNCHECKED_PREFIX = "x-ignore-"

_V4_FIELDS = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_V2_FIELDS = ("awsaccesskeyid", "signature")
_EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z").fullmatch
_SCOPE_DATE = re.compile(r"[0-9]{8}").fullmatch
_AMZ_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z").fullmatch
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_DIGITS_MAX = 19


class Condition(NamedTuple):
    prefix: bool  # starts-with, else eq
    name: str  # lower-case
    value: str

    def __str__(self) -> str:
        return json.dumps(["starts-with" if self.prefix else "eq", f"${self.name}", self.value])

    def holds(self, value: str | None) -> bool:
        """A field that is absent meets no condition, not even an empty beginning."""
        if value is None:
            return False
        if not self.prefix:
            return value == self.value
        if self.name == "content-type" and "," in value:
            return all(one.strip().startswith(self.value) for one in value.split(","))
        return value.startswith(self.value)


class PostPolicy(NamedTuple):
    expires: float  # seconds since the epoch
    conditions: tuple[Condition, ...]
    #: the bounds of content-length-range in bytes, both inclusive
    length_min: int = 0
    length_max: int | None = None


def authenticate_form(
    form: dict[str, str], *, region: str, lookup: CredentialLookup, service: str = SERVICE
) -> Credential | None:
    """Verify the signature of the form's policy; None for a form that offers none.

    Raises AuthError: InvalidArgument, InvalidAccessKeyId, InvalidToken, SignatureDoesNotMatch.
    """
    is_v4 = any(name in form for name in _V4_FIELDS)
    is_v2 = any(name in form for name in _V2_FIELDS)
    if is_v4 and is_v2:
        raise _argument("Only one auth mechanism allowed", "signature", "")
    if not is_v4 and not is_v2:
        if "policy" in form:
            raise _missing("AWSAccessKeyId")
        return None
    for name in ("policy", *(_V4_FIELDS if is_v4 else _V2_FIELDS)):
        if name not in form:
            raise _missing("AWSAccessKeyId" if name == "awsaccesskeyid" else name)
    if form.get("x-amz-security-token"):
        raise AuthError("InvalidToken", "The provided token is malformed or otherwise invalid.")
    if is_v4:
        return _verify_v4(form, region, service, lookup)
    return _verify_v2(form, lookup)


def _verify_v4(
    form: dict[str, str], region: str, service: str, lookup: CredentialLookup
) -> Credential:
    if form["x-amz-algorithm"] != ALGORITHM:
        raise _argument(
            f"X-Amz-Algorithm only supports {ALGORITHM}", "x-amz-algorithm", form["x-amz-algorithm"]
        )
    text = form["x-amz-credential"]
    access_key, *scope = text.split("/")
    if len(scope) != 4 or not _SCOPE_DATE(scope[0]) or scope[3] != TERMINAL or not access_key:
        raise _argument(
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/'
            'aws4_request".',
            "x-amz-credential",
            text,
        )
    if scope[1:3] != [region, service]:
        raise _argument(
            f"the Credential is for {scope[1]}/{scope[2]}; expecting '{region}/{service}'",
            "x-amz-credential",
            text,
        )
    date = form["x-amz-date"]
    if not _AMZ_DATE(date) or date[:8] != scope[0]:
        raise _argument(
            "X-Amz-Date must be in the ISO8601 Long Format and of the credential's day",
            "x-amz-date",
            date,
        )
    credential = _credential(access_key, lookup)
    policy, signature = form["policy"], form["x-amz-signature"]
    if not policy.isascii():
        raise _bad_policy("it is not base64.")
    expected = signing_key(credential.secret_key, scope[0], region, service).sign(policy)
    if not (signature.isascii() and hmac.compare_digest(expected, signature)):
        raise signature_mismatch(access_key, policy, signature)
    return credential


def _verify_v2(form: dict[str, str], lookup: CredentialLookup) -> Credential:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/HTTPPOSTForms.html"""
    credential = _credential(form["awsaccesskeyid"], lookup)
    policy, signature = form["policy"], form["signature"]
    if not policy.isascii():
        raise _bad_policy("it is not base64.")
    mac = hmac.digest(credential.secret_key.encode(), policy.encode(), "sha1")
    expected = base64.b64encode(mac).decode("ascii")
    if not (signature.isascii() and hmac.compare_digest(expected, signature)):
        raise signature_mismatch(credential.access_key, policy, signature)
    return credential


def _credential(access_key: str, lookup: CredentialLookup) -> Credential:
    credential = lookup(access_key)
    if credential is None:
        raise AuthError(
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            AWSAccessKeyId=access_key,
        )
    return credential


def parse_policy(encoded: str) -> PostPolicy:
    """The policy in a form's field (base64 of JSON). Raises AuthError InvalidPolicyDocument."""
    try:
        # encoders break lines; the signature is over the text as it is
        packed = encoded.replace("\r", "").replace("\n", "")
        text = base64.b64decode(packed, validate=True).decode("utf-8")
        # S3's one escape that JSON does not have
        text = _ESCAPE.sub(lambda match: "$" if match[1] == "$" else match[0], text)
        document = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        raise _bad_policy("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _bad_policy("Invalid JSON.")
    for name in document:
        if name not in ("expiration", "conditions"):
            raise _bad_policy(f"Unexpected: '{name}'")
    for name in ("expiration", "conditions"):
        if name not in document:
            raise _bad_policy(f"Policy missing {name}.")
    rows = document["conditions"]
    if not isinstance(rows, list):
        raise _bad_policy("Invalid 'conditions' value: must be a list.")
    conditions: list[Condition] = []
    length_min, length_max = 0, None
    for row in rows:
        if isinstance(row, list) and row and _is(row[0], "content-length-range"):
            low, high = _length_range(row)
            length_min = max(length_min, low)
            length_max = high if length_max is None else min(length_max, high)
        else:
            conditions.append(_condition(row))
    return PostPolicy(
        _expiration(document["expiration"]), tuple(conditions), length_min, length_max
    )


def _expiration(value: Any) -> float:
    if isinstance(value, str) and _EXPIRATION(value):
        try:
            return datetime.fromisoformat(value[:19] + "+00:00").timestamp()
        except ValueError:
            pass
    raise _bad_policy(f"Invalid 'expiration' value: '{value}'")


def _is(value: Any, operator: str) -> bool:
    return isinstance(value, str) and value.lower() == operator


def _length_range(row: list[Any]) -> tuple[int, int]:
    if len(row) != 3:
        raise _bad_policy("Invalid content-length-range: wrong number of arguments.")
    bounds = []
    for value in row[1:]:
        text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
            raise _bad_policy(f"Invalid content-length-range: '{value}' is not a number of bytes.")
        bounds.append(int(text))
    return bounds[0], bounds[1]


def _condition(row: Any) -> Condition:
    if isinstance(row, dict):
        if len(row) != 1:
            raise _bad_policy(
                "Invalid Simple-Condition: Simple-Conditions must have exactly one property "
                "specified."
            )
        ((name, value),) = row.items()
        if not isinstance(value, str):
            raise _bad_policy("Invalid Simple-Condition: value must be a string.")
        return Condition(False, name.lower(), value)
    if not isinstance(row, list) or len(row) != 3:
        raise _bad_policy("Invalid Condition: wrong number of arguments.")
    operator, name, value = row
    if not (isinstance(name, str) and isinstance(value, str) and name.startswith("$")):
        raise _bad_policy("Invalid Condition: a field is named $field, and its value is text.")
    if not (_is(operator, "eq") or _is(operator, "starts-with")):
        raise _bad_policy(f"Invalid Condition: unknown operation '{operator}'.")
    return Condition(_is(operator, "starts-with"), name[1:].lower(), value)


def check_form(policy: PostPolicy, form: dict[str, str], now: float) -> None:
    """Whether the form keeps to the policy, but for the length of the file. `form` holds `bucket` as
    the target names it. Raises AuthError AccessDenied."""
    if now > policy.expires:
        raise AuthError("AccessDenied", "Invalid according to Policy: Policy expired.")
    for condition in policy.conditions:
        if not condition.holds(form.get(condition.name)):
            raise AuthError(
                "AccessDenied", f"Invalid according to Policy: Policy Condition failed: {condition}"
            )
    named = {condition.name for condition in policy.conditions}
    extra = [
        name
        for name in form
        if name not in named and name not in UNCHECKED and not name.startswith(UNCHECKED_PREFIX)
    ]
    if extra:
        raise AuthError(
            "AccessDenied", f"Invalid according to Policy: Extra input fields: {', '.join(extra)}"
        )


def _bad_policy(why: str) -> AuthError:
    return AuthError("InvalidPolicyDocument", f"Invalid Policy: {why}")


def _argument(message: str, name: str, value: str) -> AuthError:
    return AuthError("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)


def _missing(name: str) -> AuthError:
    return _argument(
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the "
        "order of the fields.",
        name,
        "",
    )
