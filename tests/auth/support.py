"""Shared by these tests: AWS's example credentials and date, an aws-chunked encoder."""

from __future__ import annotations

import calendar
import hashlib
import hmac
from collections.abc import Sequence

from holdfast.auth.identity import Authenticated, Credential, PayloadKind
from holdfast.auth.sigv4 import authenticate

#: the credentials and the date of every example in AWS's documentation
CREDENTIAL = Credential(
    "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a" * 64, "example", False
)
NOW = float(calendar.timegm((2013, 5, 24, 0, 0, 0)))
AMZ_DATE = "20130524T000000Z"
SCOPE = "20130524/us-east-1/s3/aws4_request"
REGION = "us-east-1"
EMPTY = hashlib.sha256().hexdigest()


def lookup(access_key: str) -> Credential | None:
    return CREDENTIAL if access_key == CREDENTIAL.access_key else None


def verify(
    method: str, path: str, query: str, headers: dict[str, str], now: float = NOW
) -> Authenticated:
    return authenticate(method, path, query, headers, now=now, region=REGION, lookup=lookup)


def raw_signing_key() -> bytes:
    """Derived here anew, so that the code under test does not check itself."""
    key = b"AWS4" + CREDENTIAL.secret_key.encode()
    for part in (b"20130524", b"us-east-1", b"s3", b"aws4_request"):
        key = hmac.new(key, part, hashlib.sha256).digest()
    return key


def streaming(kind: PayloadKind, seed: str = "5" * 64) -> Authenticated:
    """A verified request whose body comes aws-chunked."""
    return Authenticated(
        CREDENTIAL, kind, None, seed, raw_signing_key(), SCOPE, AMZ_DATE, presigned=False
    )


def encode(
    auth: Authenticated,
    chunks: Sequence[bytes],
    trailers: Sequence[tuple[str, str]] = (),
    newline: bytes = b"\r\n",
) -> bytes:
    """An aws-chunked body, signed as `auth.payload` wants it, after sigv4-streaming*.html."""
    signed = auth.payload is not PayloadKind.STREAMING_UNSIGNED_TRAILER
    previous = auth.signature
    body = bytearray()

    def sign(kind: str, *parts: str) -> str:
        text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", AMZ_DATE, SCOPE, previous, *parts))
        return hmac.new(auth.signing_key, text.encode(), hashlib.sha256).hexdigest()

    for chunk in (*chunks, b""):
        body += b"%x" % len(chunk)
        if signed:
            previous = sign("PAYLOAD", EMPTY, hashlib.sha256(chunk).hexdigest())
            body += b";chunk-signature=" + previous.encode()
        body += b"\r\n" + (chunk + b"\r\n" if chunk else b"")
    for name, value in trailers:
        body += f"{name}:{value}".encode() + newline
    if auth.payload is PayloadKind.STREAMING_SIGNED_TRAILER:
        lines = "".join(f"{name}:{value}\n" for name, value in sorted(trailers))
        signature = sign("TRAILER", hashlib.sha256(lines.encode()).hexdigest())
        if newline == b"\n":
            body += b"\r\n"  # as minio-go does
        body += b"x-amz-trailer-signature:" + signature.encode() + b"\r\n"
    return bytes(body + b"\r\n")
