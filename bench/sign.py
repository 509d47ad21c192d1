"""AWS Signature Version 4 for raw requests, made ahead of the measurement.

The bench signs by itself and imports nothing of Holdfast, so that a fault shared by the server's
verification and the client's signing cannot hide. Signed are host, x-amz-content-sha256 and
x-amz-date, the least that S3 accepts, and what else a caller names.
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from urllib.parse import quote

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
_PRESIGNED_SECONDS = 3600
_NO_HEADERS: Mapping[str, str] = {}


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """The query as SigV4 wants it, usable as it is in the request line."""
    return "&".join(
        sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    )


class Signer:
    """Signs with the time at which it was made: S3 takes that for 15 minutes."""

    def __init__(
        self, host: str, access_key: str, secret_key: str, region: str, now: float | None = None
    ) -> None:
        """host: as in the Host header. now: seconds since the epoch, default the present."""
        self._host = host
        self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        scope = (self._date[:8], region, "s3", "aws4_request")
        key = ("AWS4" + secret_key).encode()
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = key
        self._scope = f"{self._date}\n{'/'.join(scope)}\n"
        self._string_to_sign = f"AWS4-HMAC-SHA256\n{self._scope}"
        self._credential = f"{access_key}/{'/'.join(scope)}"

    def headers(
        self,
        method: str,
        path: str,
        query: str,
        payload_hash: str,
        further: Mapping[str, str] = _NO_HEADERS,
    ) -> dict[str, str]:
        """path: percent-encoded, starts with a slash. query: from `canonical_query`. further: to be
        sent and signed too, names in lower case, values as they are in the canonical request."""
        lines = {
            "host": self._host,
            "x-amz-content-sha256": payload_hash,
            "x-amz-date": self._date,
            **further,
        }
        names = sorted(lines)
        signed = ";".join(names)
        text = "".join([f"{name}:{lines[name]}\n" for name in names])
        canonical = f"{method}\n{path}\n{query}\n{text}\n{signed}\n{payload_hash}"
        signature = self._sign(
            self._string_to_sign + hashlib.sha256(canonical.encode()).hexdigest()
        )
        return {
            "Host": self._host,
            "x-amz-content-sha256": payload_hash,
            "x-amz-date": self._date,
            **further,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self._credential}, "
            f"SignedHeaders={signed}, Signature={signature}",
        }

    def presigned_head(
        self,
        method: str,
        path: str,
        length: int | None = None,
        more: Mapping[str, str] = _NO_HEADERS,
    ) -> bytes:
        """A request by a presigned URL, up to its body; `more` is sent unsigned."""
        query = canonical_query(
            (
                ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
                ("X-Amz-Credential", self._credential),
                ("X-Amz-Date", self._date),
                ("X-Amz-Expires", str(_PRESIGNED_SECONDS)),
                ("X-Amz-SignedHeaders", "host"),
            )
        )
        canonical = f"{method}\n{path}\n{query}\nhost:{self._host}\n\nhost\n{UNSIGNED_PAYLOAD}"
        signature = self._sign(
            self._string_to_sign + hashlib.sha256(canonical.encode()).hexdigest()
        )
        lines = [f"{method} {path}?{query}&X-Amz-Signature={signature} HTTP/1.1"]
        lines += [f"Host: {self._host}", *(f"{name}: {value}" for name, value in more.items())]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join((*lines, "", "")).encode()

    def chunk_signature(self, before: str, digest: str) -> str:
        """Of a chunk with this SHA-256, behind the one (or the head) whose signature is `before`."""
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{self._scope}{before}\n{EMPTY_SHA256}\n{digest}"
        return self._sign(text)

    def trailer_signature(self, before: str, trailer: bytes) -> str:
        """trailer: its lines, each ended by a line feed alone."""
        digest = hashlib.sha256(trailer).hexdigest()
        return self._sign(f"AWS4-HMAC-SHA256-TRAILER\n{self._scope}{before}\n{digest}")

    def _sign(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def head(
        self,
        method: str,
        path: str,
        query: str = "",
        payload_hash: str = EMPTY_SHA256,
        length: int | None = None,
        further: Mapping[str, str] = _NO_HEADERS,
    ) -> bytes:
        """The request up to its body. length: of the body in bytes, None for a request without.
        further: as of `headers`."""
        lines = [f"{method} {path}{'?' + query if query else ''} HTTP/1.1"]
        headers = self.headers(method, path, query, payload_hash, further)
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join((*lines, "", "")).encode()
