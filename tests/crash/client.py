"""A small S3 client for the crash test: one connection, no retries, so that it is always known
which request was answered and which was not."""

from __future__ import annotations

import hashlib
import http.client
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from holdfast.auth.presign import sign_headers

REQUEST_SECONDS_MAX = 30.0
REGION = "us-east-1"


class Unanswered(Exception):
    """The connection failed: whether the request was carried out is unknown."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # lower-case names
    body: bytes

    @property
    def etag(self) -> str:
        return self.headers.get("etag", "").strip('"')

    def find(self, name: str) -> str:
        """The text of the first element of that name, "" when there is none."""
        for node in ElementTree.fromstring(self.body).iter():
            if node.tag.rpartition("}")[2] == name:
                return node.text or ""
        return ""


class Client:
    """For one thread."""

    def __init__(self, port: int, access_key: str, secret_key: str) -> None:
        self._host = f"127.0.0.1:{port}"
        self._access_key = access_key
        self._secret_key = secret_key
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self,
        method: str,
        bucket: str,
        key: bytes = b"",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Raises Unanswered."""
        digest = hashlib.sha256(body).hexdigest()
        with self._exchange(method, bucket, key, query, headers, body, digest) as response:
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def send_pieces(
        self, bucket: str, key: bytes, query: Mapping[str, str], pieces: Sequence[memoryview]
    ) -> Answer:
        """PUT a body that is sent piece after piece, never joined nor hashed. Raises Unanswered."""
        length = {"content-length": str(sum(map(len, pieces)))}
        with self._exchange(
            "PUT", bucket, key, query, length, pieces, "UNSIGNED-PAYLOAD"
        ) as response:
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def read_into(self, bucket: str, key: bytes, piece: bytearray) -> Iterator[memoryview]:
        """The object, `piece` full after `piece` full. Raises Unanswered, ValueError."""
        digest = hashlib.sha256(b"").hexdigest()
        with self._exchange("GET", bucket, key, None, None, b"", digest) as response:
            if response.status != 200:
                raise ValueError(f"{key!r} answered {response.status} {response.read()!r}")
            with memoryview(piece) as view:
                while count := _fill(response, view):
                    yield view[:count]

    @contextmanager
    def _exchange(
        self,
        method: str,
        bucket: str,
        key: bytes,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | Sequence[memoryview],
        payload: str,
    ) -> Iterator[http.client.HTTPResponse]:
        path = f"/{bucket}" + (f"/{quote(key, safe='/-_.~')}" if key else "")
        pairs = sorted((query or {}).items())
        text = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in pairs)
        signed = sign_headers(
            method, path, text, {"host": self._host, **(headers or {})},
            access_key=self._access_key, secret_key=self._secret_key, region=REGION,
            now=time.time(), payload=payload,
        )  # fmt: skip
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(
                    self._host, timeout=REQUEST_SECONDS_MAX
                )
            self._connection.request(method, f"{path}?{text}" if text else path, body, signed)
            yield self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unanswered(f"{method} {path}: {type(error).__name__} {error}") from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _fill(response: http.client.HTTPResponse, view: memoryview) -> int:
    """Read until the view is full or the body ends; raises IncompleteRead when it breaks off."""
    filled = 0
    while filled < len(view):
        count = response.readinto(view[filled:])
        if not count:
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            break
        filled += count
    return filled


def list_objects(client: Client, bucket: str, page_size: int = 250) -> dict[bytes, tuple[str, int]]:
    """key -> (ETag, size) of a whole bucket by ListObjectsV2. Raises Unanswered, ValueError."""
    found: dict[bytes, tuple[str, int]] = {}
    query = {"list-type": "2", "max-keys": str(page_size)}
    while True:
        answer = client.request("GET", bucket, query=query)
        if answer.status != 200:
            raise ValueError(f"listing of {bucket} answered {answer.status} {answer.body!r}")
        page = ElementTree.fromstring(answer.body)
        for node in page.iter():
            node.tag = node.tag.rpartition("}")[2]
        for entry in page.findall("Contents"):
            key = (entry.findtext("Key") or "").encode()
            if key in found:
                raise ValueError(f"{key!r} is listed twice")
            etag = (entry.findtext("ETag") or "").strip('"')
            found[key] = (etag, int(entry.findtext("Size") or -1))
        if page.findtext("IsTruncated") != "true":
            return found
        query["continuation-token"] = page.findtext("NextContinuationToken") or ""
