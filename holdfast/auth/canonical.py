"""The canonical forms and keys of AWS Signature Version 4, shared by verifying and signing.

Rule: text from the wire is `str` decoded as latin-1, canonical text is the same, so that
`.encode("latin-1")` gives the bytes that are signed. For S3 the path is encoded once and never
normalized: `//`, `.` and `..` are part of a key.
Source: "Signature Calculations for the Authorization Header", Amazon S3 API Reference
(sig-v4-header-based-auth.html).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINAL = "aws4_request"
SERVICE = "s3"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256().hexdigest()
#: signing keys kept: one for each access key, day and region in use
SIGNING_KEYS_MAX = 1024

# AWS's unreserved characters (those of RFC 3986 section 2.3), and what is already percent-encoded
# as AWS would: upper-case digits, and no unreserved character among them. In a path "/" is free.
_FREE = r"[A-Za-z0-9\-._~{}]*"
_ENCODED = r"%(?:[0189A-F][0-9A-F]|2[0-9A-C{}]|3[A-F]|40|5[B-E]|60|7[B-DF])"
_CANONICAL_PATH = re.compile(
    f"{_FREE}(?:{_ENCODED}{_FREE})*".format("/", "", "/")  # %2F is another way to write "/"
).fullmatch
_CANONICAL_QUERY = re.compile(f"{_FREE}(?:{_ENCODED}{_FREE})*".format("=&", "F", "=&")).fullmatch
_SPACES = re.compile(" {2,}")


class SigningKey(NamedTuple):
    """`raw` is the derived key (32 bytes); `mac` a keyed HMAC, to be copied, never updated."""

    raw: bytes
    mac: hmac.HMAC

    def sign(self, text: str) -> str:
        """The signature of `text` in lower-case hexadecimal."""
        # Copying a keyed HMAC costs 2/3 of hmac.digest, which sets the key up anew.
        mac = self.mac.copy()
        mac.update(text.encode("latin-1"))
        return mac.hexdigest()


@lru_cache(maxsize=SIGNING_KEYS_MAX)
def signing_key_of(raw: bytes) -> SigningKey:
    return SigningKey(raw, hmac.new(raw, digestmod="sha256"))


@lru_cache(maxsize=SIGNING_KEYS_MAX)
def signing_key(secret_key: str, date: str, region: str, service: str = SERVICE) -> SigningKey:
    """The key that signs everything of one day (`YYYYMMDD`), region and service."""
    raw = f"AWS4{secret_key}".encode()
    for part in (date, region, service, TERMINAL):
        raw = hmac.digest(raw, part.encode("latin-1"), "sha256")
    return signing_key_of(raw)


def percent_encode(raw: bytes, safe: str = "") -> str:
    """AWS's UriEncode: everything but the unreserved characters and `safe` as upper-case %XX."""
    return quote_from_bytes(raw, safe=safe)


def canonical_path(path: str) -> str:
    """The canonical URI of a raw request path: decoded once, encoded once."""
    if _CANONICAL_PATH(path):
        return path or "/"
    return percent_encode(unquote_to_bytes(path.encode("latin-1")), safe="/")


def _query_part(part: str) -> str:
    # S3 reads "+" in a query as a space, as every HTML form does (minio-go relies on it).
    return percent_encode(unquote_to_bytes(part.replace("+", " ").encode("latin-1")))


def query_pairs(query: str) -> list[tuple[str, str]]:
    """The encoded (name, value) pairs of a raw query, in its own order, without empty pieces."""
    canonical = _CANONICAL_QUERY(query) is not None
    pairs = []
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        if not canonical or "=" in value:
            name, value = _query_part(name), _query_part(value)
        if piece:
            pairs.append((name, value))
    return pairs


def canonical_query(pairs: list[tuple[str, str]]) -> str:
    """Sorted by encoded name, then value; not by "name=value", as "-" sorts before "="."""
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def canonical_value(value: str) -> str:
    """A header's value trimmed, runs of spaces collapsed."""
    value = value.strip(" \t")
    return _SPACES.sub(" ", value) if "  " in value else value


def canonical_request(
    method: str, path: str, query: str, headers: str, signed_headers: str, payload: str
) -> str:
    """`path`, `query` and `headers` are canonical; each header line ends with a newline."""
    return f"{method}\n{path}\n{query}\n{headers}\n{signed_headers}\n{payload}"


def string_to_sign(amz_date: str, scope: str, request: str) -> str:
    digest = hashlib.sha256(request.encode("latin-1")).hexdigest()
    return f"{ALGORITHM}\n{amz_date}\n{scope}\n{digest}"


def amz_date_of(now: float) -> str:
    """`YYYYMMDDTHHMMSSZ`."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
