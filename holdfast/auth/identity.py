"""Who is asking, how the payload is promised, and what can be wrong with either."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple


class Credential(NamedTuple):
    """An access key with its secret and the account that owns it."""

    access_key: str
    secret_key: str
    account_id: str  # the canonical user id: 64 hexadecimal digits
    display_name: str
    is_root: bool


#: access key -> credential, None when there is no such key
CredentialLookup = Callable[[str], Credential | None]


class PayloadKind(enum.Enum):
    """What `x-amz-content-sha256` promises of the body."""

    # a member is looked up in every request, and Enum's own hash is a call into Python
    __hash__ = object.__hash__

    SIGNED = "signed"  # the hash of the body is part of the signature
    UNSIGNED = "UNSIGNED-PAYLOAD"
    STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


class Authenticated(NamedTuple):
    """The outcome of a verified signature. `credential` is None for an anonymous request."""

    credential: Credential | None
    payload: PayloadKind
    #: the SHA-256 promised for the body (32 bytes), when payload is SIGNED
    sha256: bytes | None
    #: for the chunk signatures: the seed signature (hex), the signing key, the scope
    #: `date/region/s3/aws4_request` and the `x-amz-date` that was signed
    signature: str
    signing_key: bytes
    scope: str
    amz_date: str
    #: whether the signature was in the query (a presigned URL)
    presigned: bool


#: a request that offers no authentication, and promises nothing of its payload
ANONYMOUS = Authenticated(None, PayloadKind.UNSIGNED, None, "", b"", "", "", False)


class AuthError(Exception):
    """A request that may not pass. `code` is S3's error code; `fields` are S3's extra elements."""

    def __init__(self, code: str, message: str, **fields: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.fields = fields
