"""Who sent a request: AWS Signature Version 4, in the Authorization header or in the query.

Strategy: what is constant for a client (the header up to its signature, the date's text, the
signing key) is parsed once and kept in bounded caches; a request then costs one hash and one HMAC.
Nothing is believed before the comparison at the end: until then values only choose an error.
Refusals carry S3's code, message and extra elements; the status belongs to the code.
Sources: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)"
(sig-v4-authenticating-requests.html, sigv4-query-string-auth.html) and "Error responses".

Whoever binds the query must read "+" as a space, as the canonical query does.
"""

from __future__ import annotations

import calendar
import email.utils
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from hmac import compare_digest
from operator import itemgetter
from typing import NamedTuple, NoReturn
from urllib.parse import unquote

from holdfast.auth.canonical import (
    ALGORITHM,
    SERVICE,
    TERMINAL,
    UNSIGNED_PAYLOAD,
    SigningKey,
    canonical_path,
    canonical_query,
    canonical_request,
    canonical_value,
    query_pairs,
    signing_key,
    string_to_sign,
)
from holdfast.auth.identity import (
    Authenticated,
    AuthError,
    Credential,
    CredentialLookup,
    PayloadKind,
)

SKEW_SECONDS_MAX = 15 * 60
EXPIRES_SECONDS_MAX = 7 * 24 * 3600
#: entries in each cache of parsed text, and the longest text that is kept there
PARSED_MAX = 1024
PARSED_BYTES_MAX = 1024
#: the longest date that is looked at
DATE_BYTES_MAX = 40

_AMZ_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z").fullmatch
_SCOPE_DATE = re.compile(r"[0-9]{8}").fullmatch
_NUMBER = re.compile(r"-?[0-9]+").fullmatch

_ONE_MECHANISM = (
    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
    "Signature query string parameter or the Authorization header should be specified"
)
_USE_SIGV4 = (
    "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
)
_NO_SIGV4A = f"AWS4-ECDSA-P256-SHA256 (SigV4A) is not implemented. Please use {ALGORITHM}."
_NO_DATE = "AWS authentication requires a valid Date or x-amz-date header"
_QUERY_REQUIRES = (
    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
    "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
)
_BAD_SHA256 = (
    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, "
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER "
    "or a valid sha256 value."
)
_BAD_CREDENTIAL = (
    'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
)
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your key and signing method."
)

#: any of these in the query makes the request a presigned one, however incomplete
_QUERY_V4 = frozenset(
    ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders")
)
_QUERY_SCOPE = ("X-Amz-Credential", "X-Amz-SignedHeaders")
_QUERY_V2 = frozenset(("AWSAccessKeyId", "Signature"))
_QUERY_REQUIRED = (*sorted(_QUERY_V4), "X-Amz-Date", "X-Amz-Expires")

_PAYLOADS = {kind.value: kind for kind in PayloadKind if kind is not PayloadKind.SIGNED}
_CHUNK_SIGNED = (PayloadKind.STREAMING_SIGNED, PayloadKind.STREAMING_SIGNED_TRAILER)


class _Scope(NamedTuple):
    """What a client repeats from request to request."""

    access_key: str
    date: str
    region: str
    scope: str  # date/region/service/aws4_request
    names: tuple[str, ...]
    signed: frozenset[str]
    signed_headers: str
    values: Callable[[dict[str, str]], tuple[str, ...] | str]  # of the signed headers, in order
    lines: str  # the canonical headers, %s for each value


class _Claim(NamedTuple):
    """A request with the signature that was found in its header or its query."""

    method: str
    path: str
    pairs: list[tuple[str, str]]
    headers: dict[str, str]
    scope: _Scope
    amz_date: str
    payload_text: str
    signature: str
    presigned: bool


def authenticate(
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    *,
    now: float,
    region: str,
    lookup: CredentialLookup,
    service: str = SERVICE,
) -> Authenticated:
    """Verify a request's signature. Raises AuthError.

    `path` and `query` are raw, as on the wire; `headers` as in http.message.Request; `now` is in
    seconds since the epoch. A request that offers no authentication comes back with no credential.
    """
    pairs = query_pairs(query) if query else []
    names = {name for name, _ in pairs}
    authorization = headers.get("authorization")
    if authorization is None:
        if not names.isdisjoint(_QUERY_V4):
            return _presigned(method, path, pairs, headers, now, region, service, lookup)
        if not names.isdisjoint(_QUERY_V2):
            raise AuthError("InvalidRequest", _USE_SIGV4)
        return _anonymous(headers)
    if pairs and not (names.isdisjoint(_QUERY_V4) and names.isdisjoint(_QUERY_V2)):
        raise _invalid_argument(_ONE_MECHANISM, "Authorization", authorization.split(" ")[0])

    prefix, _, signature = authorization.rpartition("Signature=")
    scope = _header_scope(prefix, service, authorization)
    if scope.region != region:
        raise AuthError(
            "AuthorizationHeaderMalformed",
            "The authorization header is malformed; "
            f"the region '{scope.region}' is wrong; expecting '{region}'",
            Region=region,
        )
    timestamp, amz_date = _request_time(headers)
    if amz_date[:8] != scope.date:
        raise _malformed("Invalid credential date. Date is not the same as X-Amz-Date.")
    if abs(now - timestamp) > SKEW_SECONDS_MAX:
        raise _skewed(headers, now)
    payload_text = headers.get("x-amz-content-sha256")
    if payload_text is None:
        raise AuthError(
            "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"
        )
    claim = _Claim(method, path, pairs, headers, scope, amz_date, payload_text, signature, False)
    return _verify(claim, service, lookup)


# --- the request's claims --------------------------------------------------------------------


def _anonymous(headers: dict[str, str]) -> Authenticated:
    kind, sha256 = _payload(headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD))
    if kind in _CHUNK_SIGNED:
        raise AuthError(
            "InvalidRequest",
            "Anonymous requests don't support this x-amz-content-sha256 value. "
            "Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER.",
        )
    return Authenticated(None, kind, sha256, "", b"", "", "", False)


def _presigned(
    method: str,
    path: str,
    pairs: list[tuple[str, str]],
    headers: dict[str, str],
    now: float,
    region: str,
    service: str,
    lookup: CredentialLookup,
) -> Authenticated:
    values = _query_values(pairs)
    credential = values["X-Amz-Credential"]
    scope = _query_scope(credential, values["X-Amz-SignedHeaders"], service)
    if scope.region != region:
        raise AuthError(
            "AuthorizationQueryParametersError",
            "Error parsing the X-Amz-Credential parameter; "
            f"the region '{scope.region}' is wrong; expecting '{region}'",
            Region=region,
        )
    amz_date = values["X-Amz-Date"]
    if not _AMZ_DATE(amz_date) or (parsed := _parse_date(amz_date)) is None:
        raise _query_error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if amz_date[:8] != scope.date:
        raise _query_error(
            f'Invalid credential date "{scope.date}". '
            f'This date is not the same as X-Amz-Date: "{amz_date[:8]}".'
        )
    _check_expiry(parsed[0], values["X-Amz-Expires"], now)
    # A header that was not signed cannot say what was signed: _verify refuses it as unsigned.
    in_header = headers.get("x-amz-content-sha256")
    payload_text = values.get("X-Amz-Content-Sha256", in_header or UNSIGNED_PAYLOAD)
    if in_header not in (None, payload_text):
        raise AuthError("InvalidRequest", "The value of x-amz-content-sha256 header is invalid.")
    if values.get("X-Amz-Security-Token"):
        raise _no_token()
    signature = values["X-Amz-Signature"]
    rest = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
    claim = _Claim(method, path, rest, headers, scope, amz_date, payload_text, signature, True)
    return _verify(claim, service, lookup)


def _query_values(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The X-Amz-* parameters, decoded but those of _query_scope. None may be missing or twice."""
    values: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith("X-Amz-"):
            if name in values:
                raise _query_error(f"{name} must not be given more than once")
            values[name] = value if name in _QUERY_SCOPE or "%" not in value else _decoded(value)
    algorithm = values.get("X-Amz-Algorithm")
    if algorithm is not None and algorithm.startswith("AWS4-ECDSA-P256-SHA256"):
        raise AuthError("NotImplemented", _NO_SIGV4A)
    if not all(values.get(name) for name in _QUERY_REQUIRED):
        raise _query_error(_QUERY_REQUIRES)
    if algorithm != ALGORITHM:
        raise _query_error(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    return values


def _decoded(value: str) -> str:
    return unquote(value, encoding="latin-1")


def _check_expiry(signed_at: float, expires: str, now: float) -> None:
    if not _NUMBER(expires):
        raise _query_error("X-Amz-Expires should be a number")
    if expires.startswith("-"):
        raise _query_error("X-Amz-Expires must be non-negative")
    # The length first: int() of a long text costs the square of it.
    if len(expires) > 10 or int(expires) > EXPIRES_SECONDS_MAX:
        raise _query_error(
            "X-Amz-Expires must be less than a week (in seconds); "
            "that is, the given X-Amz-Expires must be less than 604800 seconds"
        )
    if signed_at - now > SKEW_SECONDS_MAX:
        raise AuthError("AccessDenied", "Request is not valid yet")
    if now > signed_at + int(expires):
        raise AuthError(
            "AccessDenied",
            "Request has expired",
            **{
                "X-Amz-Expires": str(int(expires)),
                "Expires": _iso(signed_at + int(expires)),
                "ServerTime": _iso(now),
            },
        )


def _request_time(headers: dict[str, str]) -> tuple[float, str]:
    """(seconds since the epoch, its ISO 8601 basic form) of x-amz-date, else of Date."""
    text = headers.get("x-amz-date")
    if text is None:
        text = headers.get("date", "")
    parsed = _parse_date(text) if len(text) <= DATE_BYTES_MAX else None
    if parsed is None:
        raise AuthError("AccessDenied", _NO_DATE)
    return parsed


@lru_cache(maxsize=PARSED_MAX)
def _parse_date(text: str) -> tuple[float, str] | None:
    """ISO 8601 basic, or the forms of an HTTP date (RFC 9110 section 5.6.7); None for any other."""
    try:
        if _AMZ_DATE(text):
            day = int(text[:4]), int(text[4:6]), int(text[6:8])
            at = datetime(*day, int(text[9:11]), int(text[11:13]), int(text[13:15]), tzinfo=UTC)
            return at.timestamp(), text
        # parsedate_tz takes any two words for a date: ask for a weekday first.
        fields = email.utils.parsedate_tz(text) if text[3:4] in (",", " ") else None
        if fields is None:
            return None
        seconds = calendar.timegm((*fields[:6], 0, 0, 0)) - (fields[9] or 0)
        return float(seconds), datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def _payload(text: str) -> tuple[PayloadKind, bytes | None]:
    """What the body is to be. `text` is x-amz-content-sha256."""
    kind = _PAYLOADS.get(text)
    if kind is not None:
        return kind, None
    if len(text) == 64:
        try:
            sha256 = bytes.fromhex(text)
        except ValueError:
            sha256 = b""
        if len(sha256) == 32:  # fromhex skips white space
            return PayloadKind.SIGNED, sha256
    if text.startswith("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"):
        raise AuthError("NotImplemented", _NO_SIGV4A)
    raise _invalid_argument(_BAD_SHA256, "x-amz-content-sha256", text)


# --- the client's constants ------------------------------------------------------------------


def _header_scope(prefix: str, service: str, authorization: str) -> _Scope:
    """The parsed header. `prefix` is all of it before the signature, which must come last."""
    if prefix.startswith(ALGORITHM + " "):
        if len(prefix) <= PARSED_BYTES_MAX:
            return _parse_header(prefix, service)
        return _parse_header.__wrapped__(prefix, service)
    scheme, space, _ = authorization.partition(" ")
    if scheme == "AWS":
        raise AuthError("InvalidRequest", _USE_SIGV4)
    if scheme == "AWS4-ECDSA-P256-SHA256":
        raise AuthError("NotImplemented", _NO_SIGV4A)
    if not space:
        raise _invalid_argument(
            "Authorization header is invalid -- one and only one ' ' (space) required.",
            "Authorization",
            scheme,
        )
    if scheme == ALGORITHM:
        raise _malformed("missing Signature.")
    raise _invalid_argument("Unsupported Authorization Type", "Authorization", scheme)


@lru_cache(maxsize=PARSED_MAX)
def _parse_header(prefix: str, service: str) -> _Scope:
    """`AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, `; the spaces are optional."""
    found: dict[str, str] = {}
    *parts, rest = prefix[len(ALGORITHM) :].split(",")
    for part in parts:
        name, _, value = part.strip(" ").partition("=")
        found[name] = value
    for name in ("Credential", "SignedHeaders"):
        if not found.get(name):
            raise _malformed(f"missing {name}.")
    if len(parts) != 2 or rest.strip(" "):
        raise _malformed(
            "the authorization header requires three components: "
            "Credential, SignedHeaders, and Signature."
        )
    return _parse_scope(
        found["Credential"], found["SignedHeaders"], service, "AuthorizationHeaderMalformed"
    )


def _query_scope(credential: str, signed_headers: str, service: str) -> _Scope:
    """The parsed parameters. Both are still percent-encoded, so that a cache hit decodes nothing."""
    if len(credential) + len(signed_headers) <= PARSED_BYTES_MAX:
        return _parse_query(credential, signed_headers, service)
    return _parse_query.__wrapped__(credential, signed_headers, service)


@lru_cache(maxsize=PARSED_MAX)
def _parse_query(credential: str, signed_headers: str, service: str) -> _Scope:
    return _parse_scope(
        _decoded(credential),
        _decoded(signed_headers),
        service,
        "AuthorizationQueryParametersError",
    )


def _parse_scope(credential: str, signed_headers: str, service: str, code: str) -> _Scope:
    def refuse(message: str) -> NoReturn:
        start = (
            "The authorization header is malformed; "
            if code == "AuthorizationHeaderMalformed"
            else "Error parsing the X-Amz-Credential parameter; "
        )
        raise AuthError(code, start + message)

    parts = credential.split("/")
    if len(parts) != 5 or not parts[0]:
        refuse(_BAD_CREDENTIAL)
    access_key, date, region, its_service, terminal = parts
    if not _SCOPE_DATE(date):
        refuse(
            f'incorrect date format "{date}". '
            'This date in the credential must be in the format "yyyyMMdd".'
        )
    if its_service != service:
        refuse(f'incorrect service "{its_service}". This endpoint belongs to "{service}".')
    if terminal != TERMINAL:
        refuse(f'incorrect terminal "{terminal}". This endpoint uses "{TERMINAL}".')
    names = tuple(signed_headers.split(";"))
    signed = frozenset(names)
    if list(names) != sorted(signed) or signed_headers != signed_headers.lower():
        refuse("SignedHeaders must be lower-case names, sorted, each of them once.")
    scope = credential.partition("/")[2]
    lines = "".join([f"{name.replace('%', '%%')}:%s\n" for name in names])
    return _Scope(
        access_key, date, region, scope, names, signed, signed_headers, itemgetter(*names), lines
    )


# --- the proof -------------------------------------------------------------------------------


def _verify(claim: _Claim, service: str, lookup: CredentialLookup) -> Authenticated:
    method, path, pairs, headers, scope, amz_date, payload_text, signature, presigned = claim
    kind, sha256 = _payload(payload_text)
    if headers.get("x-amz-security-token"):
        raise _no_token()
    if "host" not in scope.signed:
        raise _not_signed(["host"])
    if "x-amz-" in ",".join(headers.keys() - scope.signed):
        _check_unsigned(headers, scope.signed, presigned)
    credential = lookup(scope.access_key)
    if credential is None:
        # S3 says so by its code; to hide it in the time would gain nothing.
        raise AuthError(
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            AWSAccessKeyId=scope.access_key,
        )
    request = canonical_request(
        method,
        canonical_path(path),
        canonical_query(pairs) if pairs else "",
        _canonical_headers(scope, headers),
        scope.signed_headers,
        payload_text,
    )
    text = string_to_sign(amz_date, scope.scope, request)
    key: SigningKey = signing_key(credential.secret_key, scope.date, scope.region, service)
    expected = key.sign(text)
    # compare_digest takes no other text than ASCII
    if not (signature.isascii() and compare_digest(expected, signature)):
        raise _mismatch(credential, text, signature, request)
    return Authenticated(
        credential, kind, sha256, expected, key.raw, scope.scope, amz_date, presigned
    )


def _canonical_headers(scope: _Scope, headers: dict[str, str]) -> str:
    try:
        lines = scope.lines % scope.values(headers)
    except KeyError:
        lines = "  "
    if not ("  " in lines or ": " in lines or " \n" in lines or "\t" in lines):
        return lines
    # A header that was listed and then lost on the way counts as empty.
    return "".join([f"{name}:{canonical_value(headers.get(name, ''))}\n" for name in scope.names])


def _check_unsigned(headers: dict[str, str], signed: frozenset[str], presigned: bool) -> None:
    """Every x-amz-* header must be signed, or whoever carries the request could add one.

    x-amz-content-sha256 is in the canonical request in any case, and older curls
    (--aws-sigv4 before 7.88) send it without signing it as a header.
    """
    exempt = "" if presigned else "x-amz-content-sha256"
    unsigned = [
        name
        for name in headers
        if name.startswith("x-amz-") and name not in signed and name != exempt
    ]
    if unsigned:
        raise _not_signed(unsigned)


# --- refusals --------------------------------------------------------------------------------


def _malformed(message: str) -> AuthError:
    return AuthError(
        "AuthorizationHeaderMalformed", f"The authorization header is malformed; {message}"
    )


def _query_error(message: str) -> AuthError:
    return AuthError("AuthorizationQueryParametersError", message)


def _invalid_argument(message: str, name: str, value: str) -> AuthError:
    return AuthError("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)


def _no_token() -> AuthError:
    return AuthError("InvalidToken", "The provided token is malformed or otherwise invalid.")


def _not_signed(names: list[str]) -> AuthError:
    return AuthError(
        "AccessDenied",
        "There were headers present in the request which were not signed",
        HeadersNotSigned=", ".join(names),
    )


def _skewed(headers: dict[str, str], now: float) -> AuthError:
    return AuthError(
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
        RequestTime=headers.get("x-amz-date") or headers.get("date", ""),
        ServerTime=_iso(now),
        MaxAllowedSkewMilliseconds=str(SKEW_SECONDS_MAX * 1000),
    )


def signature_mismatch(access_key: str, text: str, signature: str, **fields: str) -> AuthError:
    """SignatureDoesNotMatch with the elements that help a client to find its mistake."""
    return AuthError(
        "SignatureDoesNotMatch",
        _MISMATCH,
        AWSAccessKeyId=access_key,
        StringToSign=text,
        SignatureProvided=signature,
        StringToSignBytes=text.encode("latin-1").hex(" "),
        **fields,
    )


def _mismatch(credential: Credential, text: str, signature: str, request: str) -> AuthError:
    raw = request.encode("latin-1")
    return signature_mismatch(
        credential.access_key,
        text,
        signature,
        CanonicalRequest=raw.decode("utf-8", "replace"),
        CanonicalRequestBytes=raw.hex(" "),
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
