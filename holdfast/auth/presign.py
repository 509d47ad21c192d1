"""The client's side of Signature Version 4: signing requests and making presigned URLs.

Rule: everything that is given is signed; what must not be (User-Agent, Expect) is added afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from holdfast.auth.canonical import (
    ALGORITHM,
    SERVICE,
    TERMINAL,
    UNSIGNED_PAYLOAD,
    amz_date_of,
    canonical_path,
    canonical_query,
    canonical_request,
    canonical_value,
    percent_encode,
    query_pairs,
    signing_key,
    string_to_sign,
)


def sign_headers(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    access_key: str,
    secret_key: str,
    region: str,
    now: float,
    payload: str = UNSIGNED_PAYLOAD,
    service: str = SERVICE,
) -> dict[str, str]:
    """`headers` with x-amz-date, x-amz-content-sha256 and authorization added.

    `path` and `query` are raw, as they go on the wire. Names are lower-case, `host` among them.
    `payload` is the SHA-256 of the body in hexadecimal, or one of S3's words for it.
    """
    amz_date = amz_date_of(now)
    signed = {**headers, "x-amz-date": amz_date, "x-amz-content-sha256": payload}
    names = ";".join(sorted(signed))
    scope = f"{amz_date[:8]}/{region}/{service}/{TERMINAL}"
    request = canonical_request(
        method,
        canonical_path(path),
        canonical_query(query_pairs(query)),
        _header_lines(signed),
        names,
        payload,
    )
    key = signing_key(secret_key, amz_date[:8], region, service)
    signature = key.sign(string_to_sign(amz_date, scope, request))
    signed["authorization"] = (
        f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed


def presign_url(
    method: str,
    url: str,
    *,
    access_key: str,
    secret_key: str,
    region: str,
    now: float,
    expires_seconds: int = 3600,
    headers: Mapping[str, str] | None = None,
    service: str = SERVICE,
) -> str:
    """`url` with a signature in its query, valid for `expires_seconds` (at most 7 days) from `now`.

    `url` is absolute and already percent-encoded. `headers` (lower-case names) must be sent as they
    are given here; `host` is the URL's unless given.
    """
    parts = urlsplit(url)
    signed = {"host": parts.netloc.rpartition("@")[2], **(headers or {})}
    names = ";".join(sorted(signed))
    amz_date = amz_date_of(now)
    scope = f"{amz_date[:8]}/{region}/{service}/{TERMINAL}"
    added = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{access_key}/{scope}",
        "X-Amz-Date": amz_date,
        "X-Amz-Expires": str(expires_seconds),
        "X-Amz-SignedHeaders": names,
    }
    query = "&".join([f"{name}={percent_encode(value.encode())}" for name, value in added.items()])
    if parts.query:
        query = f"{parts.query}&{query}"
    request = canonical_request(
        method,
        canonical_path(parts.path),
        canonical_query(query_pairs(query)),
        _header_lines(signed),
        names,
        UNSIGNED_PAYLOAD,
    )
    key = signing_key(secret_key, amz_date[:8], region, service)
    signature = key.sign(string_to_sign(amz_date, scope, request))
    path = parts.path or "/"
    return f"{parts.scheme}://{parts.netloc}{path}?{query}&X-Amz-Signature={signature}"


def _header_lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}:{canonical_value(headers[name])}\n" for name in sorted(headers)])
