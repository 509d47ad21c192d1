"""Where a request goes, and its signature: endpoint, region, style, SigV4. No input or output here.

Rule: path and query are made canonical here, once, and go on the wire as they were signed.
Virtual-host style for amazonaws.com, path style elsewhere, unless `addressing` says otherwise; a
bucket with dots stays in the path under TLS, as certificates cover one label only.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from holdfast.auth.canonical import (
    ALGORITHM,
    EMPTY_SHA256,
    SERVICE,
    TERMINAL,
    UNSIGNED_PAYLOAD,
    amz_date_of,
    canonical_query,
    canonical_request,
    canonical_value,
    percent_encode,
    signing_key,
    string_to_sign,
)
from holdfast.client.credentials import Credentials, Identity
from holdfast.client.errors import InvalidRequest

Buffer = bytes | bytearray | memoryview
#: buckets whose region is remembered
REGIONS_MAX = 1000
#: temporary keys are renewed this long before they end
RENEW_SECONDS = 300.0

_AWS_HOST = re.compile(r"(?:^|\.)amazonaws\.com(?:\.cn)?$").search
_DNS_BUCKET = re.compile(r"[a-z0-9][a-z0-9\-]{1,61}[a-z0-9]").fullmatch
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1").fullmatch
#: what proxies change, or what is the connection's own
_UNSIGNED = frozenset(("accept-encoding", "user-agent", "expect", "content-length", "connection"))
_DAY_SECONDS = 86400
PRESIGN_SECONDS_MAX = 7 * _DAY_SECONDS


class Target(NamedTuple):
    """A host to connect to."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = 443 if self.scheme == "https" else 80
        return host if self.port == standard else f"{host}:{self.port}"


def target_of(url: str) -> Target:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Target(parts.scheme, parts.hostname or "", port)


@dataclass(slots=True)
class Request:
    """One call of S3, before it has an address and a signature. `query` values are not yet encoded,
    header names are lower-case, header values latin-1. `body` is sent again by a retry."""

    method: str
    bucket: str = ""
    key: str = ""
    query: Iterable[tuple[str, str]] = ()
    headers: Mapping[str, str] | None = None
    body: tuple[Buffer, ...] = ()
    #: whether it may be repeated when nobody knows if it was done
    idempotent: bool = True
    #: called with the number of bytes after each piece of the body; negative when a retry begins
    on_sent: Callable[[int], None] | None = None
    #: statuses besides 2xx that are answers
    expected: frozenset[int] = frozenset()
    #: a success whose body may still say <Error>
    late_error: bool = False

    @property
    def resource(self) -> str:
        return f"{self.bucket}/{self.key}" if self.key else self.bucket


class Signed(NamedTuple):
    target: Target
    head: bytes


class Addresser:
    """Makes the heads of requests, and remembers where buckets are."""

    def __init__(
        self, identity: Identity, *, addressing: str = "auto", sign_payload: bool | None = None
    ) -> None:
        if addressing not in ("auto", "path", "virtual"):
            raise InvalidRequest(message='addressing is "auto", "path" or "virtual"')
        self._identity = identity
        self.region = identity.region
        self._base = target_of(identity.endpoint) if identity.endpoint else None
        host = self._base.host if self._base else "s3.amazonaws.com"
        self._aws = _AWS_HOST(host) is not None
        self._addressing = addressing
        self._credentials: Credentials | None = None
        scheme = self._base.scheme if self._base else "https"
        # Without TLS the signature is what guards the body on its way; not needed on this machine.
        auto = scheme == "http" and not _LOOPBACK(host)
        self._sign_payload = auto if sign_payload is None else sign_payload
        self._regions: dict[str, str] = {}
        self._hosts: dict[str, Target] = {}
        #: seconds to add to this machine's clock, once a server said so
        self.clock_offset = 0.0

    def now(self) -> float:
        return time.time() + self.clock_offset

    def credentials(self) -> Credentials | None:
        source = self._identity.credentials
        if not callable(source):
            return source
        kept = self._credentials
        if kept is None or (
            kept.expires is not None and kept.expires < time.time() + RENEW_SECONDS
        ):
            kept = self._credentials = source()
        return kept

    def region_of(self, bucket: str) -> str:
        return self._regions.get(bucket, self.region)

    def learn_region(self, bucket: str, region: str) -> bool:
        """Whether that is news."""
        if not region or self.region_of(bucket) == region:
            return False
        if len(self._regions) >= REGIONS_MAX:
            self._regions.clear()
        self._regions[bucket] = region
        self._hosts.pop(bucket, None)
        return True

    def learn_host(self, bucket: str, url: str) -> bool:
        """A temporary redirect (a new bucket's name is not everywhere yet). Only within AWS: keys
        are not sent to whatever a server names."""
        target = target_of(url)
        if not (self._aws and _AWS_HOST(target.host)) or self._hosts.get(bucket) == target:
            return False
        if len(self._hosts) >= REGIONS_MAX:
            self._hosts.clear()
        self._hosts[bucket] = target
        return True

    def forget_host(self, bucket: str) -> None:
        self._hosts.pop(bucket, None)

    def locate(self, bucket: str, key: str) -> tuple[Target, str]:
        """(host, encoded path)."""
        base = self._regional(bucket)
        encoded = percent_encode(key.encode("utf-8", "surrogateescape"), safe="/")
        if not bucket:
            return base, f"/{encoded}"
        virtual = self._addressing == "virtual" or (self._addressing == "auto" and self._aws)
        if virtual and _DNS_BUCKET(bucket):
            if bucket in self._hosts:
                return self._hosts[bucket], f"/{encoded}"
            return base._replace(host=f"{bucket}.{base.host}"), f"/{encoded}"
        return base, f"/{percent_encode(bucket.encode())}/{encoded}" if key else f"/{bucket}"

    def _regional(self, bucket: str) -> Target:
        region = self.region_of(bucket)
        if self._base is None:
            return Target("https", f"s3.{region}.amazonaws.com", 443)
        if self._aws and region != self.region:
            suffix = "amazonaws.com.cn" if self._base.host.endswith(".cn") else "amazonaws.com"
            return self._base._replace(host=f"s3.{region}.{suffix}")
        return self._base

    def signed(self, request: Request) -> Signed:
        """The head as it goes on the wire, without Expect."""
        target, path = self.locate(request.bucket, request.key)
        query = canonical_query(
            [
                (percent_encode(name.encode()), percent_encode(value.encode("utf-8")))
                for name, value in request.query
            ]
        )
        headers = {"host": target.authority, **(request.headers or {})}
        keys = self.credentials()
        if keys is not None:
            self._sign(request, keys, path, query, headers)
        length = sum([len(piece) for piece in request.body])
        if length or request.method in ("PUT", "POST"):
            headers["content-length"] = str(length)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        where = f"{path}?{query}" if query else path
        try:
            head = f"{request.method} {where} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        except UnicodeEncodeError:
            raise InvalidRequest(message="a header has a character that HTTP can't carry") from None
        if head.count(b"\n") != len(headers) + 2 or head.count(b"\r") != len(headers) + 2:
            raise InvalidRequest(message="a header has a line break in it")
        return Signed(target, head)

    def _sign(
        self,
        request: Request,
        keys: Credentials,
        path: str,
        query: str,
        headers: dict[str, str],
    ) -> None:
        payload = EMPTY_SHA256
        if request.body:
            payload = self._payload(request.body) if self._sign_payload else UNSIGNED_PAYLOAD
        amz_date = amz_date_of(self.now())
        headers["x-amz-date"] = amz_date
        headers["x-amz-content-sha256"] = payload
        if keys.session_token:
            headers["x-amz-security-token"] = keys.session_token
        names = sorted([name for name in headers if name not in _UNSIGNED])
        lines = "".join([f"{name}:{canonical_value(headers[name])}\n" for name in names])
        joined = ";".join(names)
        region = self.region_of(request.bucket)
        scope = f"{amz_date[:8]}/{region}/{SERVICE}/{TERMINAL}"
        canonical = canonical_request(request.method, path, query, lines, joined, payload)
        key = signing_key(keys.secret_key, amz_date[:8], region)
        signature = key.sign(string_to_sign(amz_date, scope, canonical))
        headers["authorization"] = (
            f"{ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={joined}, "
            f"Signature={signature}"
        )

    def _payload(self, body: tuple[Buffer, ...]) -> str:
        digest = hashlib.sha256()
        for piece in body:
            digest.update(piece)
        return digest.hexdigest()
