"""A server under measurement: where it is, its keys, and the plain calls that prepare a run.

Only loopback addresses are taken unless the caller allows others: a bench is a load attack on
whatever it is pointed at.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.load import STALL_SECONDS, Address
from bench.sign import Signer, canonical_query

_FORM = "NAME=http://HOST:PORT,ACCESS_KEY,SECRET_KEY"
_ANSWER_BYTES_MAX = 16 * 1024 * 1024
_DELETE_PAGES_MAX = 100_000


class EndpointError(Exception):
    """The endpoint is not as it should be; the message says what to do."""


@dataclass(frozen=True)
class Endpoint:
    """One server and one user of it."""

    name: str
    address: Address
    host: str  # as in the Host header
    access_key: str
    secret_key: str
    region: str

    @property
    def is_local(self) -> bool:
        return _is_loopback(self.address.host)

    def signer(self) -> Signer:
        return Signer(self.host, self.access_key, self.secret_key, self.region)

    def call(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        timeout: float = STALL_SECONDS,
    ) -> tuple[int, bytes]:
        """One request on a connection of its own. Raises EndpointError when nobody answers."""
        headers = self.signer().headers(method, path, query, hashlib.sha256(body).hexdigest())
        if body:
            # DeleteObjects insists on it
            digest = hashlib.md5(body, usedforsecurity=False).digest()
            headers["Content-MD5"] = base64.b64encode(digest).decode()
        connection = http.client.HTTPConnection(self.address.host, self.address.port)
        try:
            connection.sock = self.address.connect(timeout)
            connection.request(
                method, f"{path}{'?' + query if query else ''}", body or None, headers
            )
            response = connection.getresponse()
            return response.status, response.read(_ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise EndpointError(
                f"{self.name}: no answer from {self.address.host}:{self.address.port} "
                f"({error or type(error).__name__}). Is the server running?"
            ) from error
        finally:
            connection.close()

    def expect(self, method: str, path: str, query: str = "", body: bytes = b"") -> bytes:
        """A call that must succeed."""
        status, answer = self.call(method, path, query, body)
        if not 200 <= status < 300:
            hint = "; check the access key, the secret key and --region" if status == 403 else ""
            raise EndpointError(
                f"{self.name}: {method} {path} answered {status}{hint}\n"
                f"{answer[:500].decode(errors='replace')}"
            )
        return answer

    def make_bucket(self, bucket: str) -> None:
        if self.call("HEAD", f"/{bucket}")[0] != 200:
            self.expect("PUT", f"/{bucket}")

    def remove_bucket(self, bucket: str, *, versions: bool = False) -> None:
        """Delete the bucket with all its objects; no error when there is none.

        versions: it has, or had, versioning.
        """
        if self.call("HEAD", f"/{bucket}")[0] == 404:
            return
        kind = ("versions", "") if versions else ("list-type", "2")
        page = canonical_query((kind, ("max-keys", "1000")))
        for _ in range(_DELETE_PAGES_MAX):
            entries = _entries(self.expect("GET", f"/{bucket}", page))
            if not entries:
                break
            body = b"<Delete><Quiet>true</Quiet>%b</Delete>" % b"".join(entries)
            answer = self.expect("POST", f"/{bucket}", "delete=", body)
            if b"<Error>" in answer:
                raise EndpointError(f"{self.name}: DeleteObjects: {answer[:500]!r}")
        self.expect("DELETE", f"/{bucket}")


def _entries(page: bytes) -> list[bytes]:
    """The objects, or versions and delete markers, of a page as DeleteObjects names them. The
    bench's own keys need no XML escapes."""
    keys = re.findall(rb"<Key>[^<]*</Key>", page)
    versions = re.findall(rb"<VersionId>[^<]*</VersionId>", page) or [b""] * len(keys)
    return [
        b"<Object>%b%b</Object>" % (key, version)
        for key, version in zip(keys, versions, strict=True)
    ]


def parse_endpoint(
    text: str, region: str, *, allow_remote: bool, tls: ssl.SSLContext | None = None
) -> Endpoint:
    """Read NAME=URL,ACCESS,SECRET. Raises ValueError with a message that shows the form."""
    name, equals, rest = text.partition("=")
    url, _, keys = rest.partition(",")
    access_key, comma, secret_key = keys.partition(",")
    if not (name and equals and access_key and comma and secret_key):
        raise ValueError(f"want {_FORM}, got {text.split(',')[0]!r} with other parts missing")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"want {_FORM} with http:// or https:// and no path, got {url!r}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not allow_remote and not _is_loopback(parts.hostname):
        raise ValueError(
            f"{parts.hostname} is not this machine. A bench loads its target heavily; "
            f"add --allow-remote only for a server that you run"
        )
    context = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
    address = Address(parts.hostname, port, context)
    return Endpoint(name, address, f"{parts.netloc}", access_key, secret_key, region)


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ValueError(f"unknown host {host!r}: {error.strerror}") from None
    return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)
