"""What a request's target names: service, bucket or object; path style and virtual-host style.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote_plus, unquote_to_bytes

from holdfast.s3.errors import S3Error
from holdfast.s3.names import check_key
from holdfast.s3.operation import BUCKET, OBJECT, SERVICE, Level

QUERY_PARAMETERS_MAX = 100


class Target(NamedTuple):
    level: Level
    bucket: str  # "" at service level
    key: bytes  # b"" but at object level
    query: dict[str, str]  # decoded


_NO_QUERY: dict[str, str] = {}


def parse_query(raw: str) -> dict[str, str]:
    """Decoded parameters; of a repeated one the first counts, as in S3."""
    if not raw:
        return _NO_QUERY
    pieces = raw.split("&", QUERY_PARAMETERS_MAX)
    if len(pieces) > QUERY_PARAMETERS_MAX:
        raise S3Error("InvalidURI", f"More than {QUERY_PARAMETERS_MAX} query parameters.")
    query: dict[str, str] = {}
    for piece in pieces:
        if not piece:
            continue
        name, _, value = piece.partition("=")
        if "%" in name or "+" in name:
            name = unquote_plus(name)
        if "%" in value or "+" in value:
            try:
                value = unquote_plus(value, errors="strict")
            except UnicodeDecodeError:
                raise S3Error("InvalidURI", f"{name} is not valid UTF-8.") from None
        query.setdefault(name, value)
    return query


def virtual_host_bucket(host: str, domains: tuple[str, ...]) -> str:
    """The bucket that a Host names below one of the domains, "" when none (path style)."""
    name = host.lower()
    if ":" in name and not name.endswith("]"):
        name = name.rpartition(":")[0]
    for domain in domains:
        if name.endswith(domain) and len(name) > len(domain) + 1 and name[-len(domain) - 1] == ".":
            return name[: -len(domain) - 1]
    return ""


#: parameters of a presigned URL that are no headers in disguise
_SIGNATURE_PARAMETERS = frozenset(
    f"x-amz-{name}"
    for name in (
        "algorithm",
        "content-sha256",
        "credential",
        "date",
        "expires",
        "security-token",
        "signature",
        "signedheaders",
    )
)


def meant_headers(query: dict[str, str], headers: dict[str, str]) -> dict[str, str]:
    """Some SDKs move x-amz-* headers into the query of a presigned URL: they mean the same there.
    A header that was sent as one stands."""
    moved = {
        lower: value.encode("utf-8").decode("latin-1")
        for name, value in query.items()
        if (lower := name.lower()).startswith("x-amz-") and lower not in _SIGNATURE_PARAMETERS
    }
    return {**moved, **headers} if moved else headers


def parse_target(path: str, query: str, host: str, domains: tuple[str, ...]) -> Target:
    """Out of path and query as on the wire. Raises InvalidURI, KeyTooLongError."""
    bucket = virtual_host_bucket(host, domains) if domains else ""
    parameters = parse_query(query)
    if not path.startswith("/"):
        raise S3Error("InvalidURI")
    if bucket:
        raw_key = path[1:]
    else:
        bucket, _, raw_key = path[1:].partition("/")
        if not bucket:
            if raw_key:
                raise S3Error("InvalidBucketName", BucketName="")
            return Target(SERVICE, "", b"", parameters)
        if "%" in bucket:
            bucket = unquote_to_bytes(bucket).decode("utf-8", "replace")
    if not raw_key:
        return Target(BUCKET, bucket, b"", parameters)
    key = unquote_to_bytes(raw_key) if "%" in raw_key else raw_key.encode("latin-1")
    check_key(key)
    return Target(OBJECT, bucket, key, parameters)
