"""A small signing client over a socket, for what no SDK sends: broken bodies, odd targets, lies.

Rule: nothing is added to what a test gives but the signature, Host and Content-Length; the
aws-chunked coding is made here from AWS's documents, without the code under test.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPResponse
from typing import NamedTuple, Self
from urllib.parse import quote_from_bytes, urlsplit
from xml.etree import ElementTree

from holdfast.auth.presign import presign_url, sign_headers
from holdfast.testing.server import Server

TIMEOUT_SECONDS = 30.0
#: a connection that rested longer may have been closed by the server: a new one is made
REST_SECONDS_MAX = 10.0
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def strip_namespaces(tree: ElementTree.Element) -> ElementTree.Element:
    for node in tree.iter():
        node.tag = node.tag.rpartition("}")[2]
    return tree


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # lower-case names
    body: bytes

    @property
    def xml(self) -> ElementTree.Element:
        """The body's root, without namespaces."""
        return strip_namespaces(ElementTree.fromstring(self.body))

    def text(self, path: str) -> str:
        """The text of the element at `path`; "" when it is empty or absent."""
        return self.xml.findtext(path) or ""

    def texts(self, path: str) -> list[str]:
        return [node.text or "" for node in self.xml.findall(path)]

    @property
    def code(self) -> str:
        """S3's error code; "" of a success."""
        return self.text("Code") if self.status >= 300 and self.body else ""


def quote_key(key: str | bytes) -> str:
    return quote_from_bytes(key.encode() if isinstance(key, str) else key, safe="/-_.~")


def target(bucket: str, key: str | bytes) -> str:
    """The path of an object, percent-encoded."""
    return f"/{bucket}/{quote_key(key)}"


class Site(NamedTuple):
    """Where a server is and with which keys; `Server` has the same attributes."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str


class Raw:
    """One caller, one kept connection at a time. Used with `with`, or closed at the end."""

    def __init__(self, server: Server | Site, cafile: str = "") -> None:
        url = urlsplit(server.endpoint)
        self.address = (url.hostname or "", url.port or 0)
        self.host = url.netloc
        self.endpoint = server.endpoint
        self.region = server.region
        self.access_key = server.access_key
        self.secret_key = server.secret_key
        self._context = ssl.create_default_context(cafile=cafile) if cafile else None
        self._socket: socket.socket | None = None
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def connect(self) -> socket.socket:
        """A connection of its own, the caller's to close."""
        sock = socket.create_connection(self.address, TIMEOUT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            return self._context.wrap_socket(sock, server_hostname=self.address[0])
        return sock

    def sign(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        payload: str = EMPTY_SHA256,
        now: float | None = None,
    ) -> dict[str, str]:
        return sign_headers(
            method,
            path,
            query,
            {"host": self.host, **(headers or {})},
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            now=time.time() if now is None else now,
            payload=payload,
        )

    def presign(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        now: float | None = None,
        expires_seconds: int = 600,
    ) -> tuple[str, str]:
        """(path, query) of a presigned URL."""
        url = f"{self.endpoint}{path}" + (f"?{query}" if query else "")
        signed = presign_url(
            method,
            url,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            now=time.time() if now is None else now,
            expires_seconds=expires_seconds,
            headers=headers,
        )
        return path, signed.partition("?")[2]

    def send(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Exactly these headers (no signature, nothing added), then the body."""
        if time.monotonic() - self._used_at > REST_SECONDS_MAX:
            self.close()
        sock = self._socket or self.connect()
        self._socket = sock
        self._used_at = time.monotonic()
        sock.sendall(head(method, path, query, headers or {}) + body)
        answer, closes = receive(sock, method)
        if closes:
            self.close()
        return answer

    def __call__(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        payload: str | None = None,
    ) -> Answer:
        """A signed request; `payload` is what x-amz-content-sha256 says, by default the truth."""
        if payload is None:
            payload = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        signed = self.sign(method, path, query, headers, payload)
        if body or method in ("PUT", "POST"):
            signed.setdefault("content-length", str(len(body)))
        return self.send(method, path, query, signed, body)

    def chunked(
        self,
        path: str,
        data: bytes,
        kind: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        trailers: Mapping[str, str] | None = None,
        chunk_bytes: int = 64 * 1024,
        decoded_length: int | None = None,
        spoil: str = "",
    ) -> Answer:
        """PUT in the aws-chunked coding. `spoil` breaks one thing: chunk (signature of the second),
        data (a byte after signing), trailer (its signature), last (the last chunk is missing)."""
        signed = self.sign(
            "PUT",
            path,
            query,
            {
                "content-encoding": "aws-chunked",
                "x-amz-decoded-content-length": str(
                    len(data) if decoded_length is None else decoded_length
                ),
                **({"x-amz-trailer": ",".join(trailers)} if trailers else {}),
                **(headers or {}),
            },
            kind,
        )
        seed = signed["authorization"].rpartition("Signature=")[2]
        scope = signed["authorization"].partition("/")[2].partition(",")[0]
        signer = (
            None
            if kind == STREAMING_UNSIGNED_TRAILER
            else _ChunkSigner(self.secret_key, signed["x-amz-date"], scope, seed)
        )
        pieces = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
        body = encode_chunks(pieces, signer, trailers or {}, spoil)
        signed["content-length"] = str(len(body))
        return self.send("PUT", path, query, signed, body)


class _ChunkSigner:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html"""

    def __init__(self, secret_key: str, amz_date: str, scope: str, seed: str) -> None:
        key = f"AWS4{secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        self._key = key
        self._stamp = f"{amz_date}\n{scope}\n"
        self._previous = seed

    def _sign(self, text: str) -> str:
        self._previous = hmac.new(self._key, text.encode(), "sha256").hexdigest()
        return self._previous

    def chunk(self, data: bytes) -> str:
        return self._sign(
            f"AWS4-HMAC-SHA256-PAYLOAD\n{self._stamp}{self._previous}\n{EMPTY_SHA256}\n"
            f"{hashlib.sha256(data).hexdigest()}"
        )

    def trailer(self, lines: bytes) -> str:
        return self._sign(
            f"AWS4-HMAC-SHA256-TRAILER\n{self._stamp}{self._previous}\n"
            f"{hashlib.sha256(lines).hexdigest()}"
        )


def encode_chunks(
    pieces: Sequence[bytes],
    signer: _ChunkSigner | None,
    trailers: Mapping[str, str],
    spoil: str = "",
) -> bytes:
    out: list[bytes] = []
    last = [] if spoil == "last" else [b""]
    for index, piece in enumerate([*pieces, *last]):
        line = f"{len(piece):x}"
        if signer is not None:
            signature = signer.chunk(piece)
            if spoil == "chunk" and index == 1:
                signature = signature[::-1]
            line += f";chunk-signature={signature}"
        if spoil == "data" and index == 0:
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        out.append(line.encode() + b"\r\n" + (piece + b"\r\n" if piece else b""))
    for name, value in trailers.items():
        out.append(f"{name}:{value}\r\n".encode())
    if trailers and signer is not None:
        lines = "".join(f"{name}:{trailers[name]}\n" for name in sorted(trailers))
        signature = signer.trailer(lines.encode())
        if spoil == "trailer":
            signature = signature[::-1]
        out.append(f"x-amz-trailer-signature:{signature}\r\n".encode())
    return b"".join([*out, b"\r\n"])


def head(method: str, path: str, query: str, headers: Mapping[str, str]) -> bytes:
    line = f"{method} {path}{'?' + query if query else ''} HTTP/1.1\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (line + fields + "\r\n").encode("latin-1")


def receive(sock: socket.socket, method: str) -> tuple[Answer, bool]:
    """(the answer, whether the server closes the connection behind it)"""
    with HTTPResponse(sock, method=method) as response:
        response.begin()
        body = response.read()
        names: dict[str, str] = {}
        for name, value in response.getheaders():
            names[name.lower()] = value
        return Answer(response.status, names, body), response.will_close
