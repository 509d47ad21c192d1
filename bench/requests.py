"""Requests made ahead: each with its own key, its own body and its own signature.

Bodies of one size share their beginning and differ in their last 16 bytes, so that no server can
share them and a hash costs only the end, whatever the size. A request is its buffers in order; the
shared ones are the same objects in all requests, so that a million of them fit into memory.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.endpoint import Endpoint
from bench.load import Expectation, Request
from bench.sign import EMPTY_SHA256, SIGNED_TRAILER, UNSIGNED_PAYLOAD, UNSIGNED_TRAILER, Signer

SUFFIX_BYTES = 16
CHUNK_BYTES = 128 * 1024
RANGE_BYTES = 64 * 1024
_CRC32_BYTES = 4
_SIGNER_SECONDS = 300.0
_CHECK_EVERY = 1000
_CHECKSUM_HEADER = "x-amz-checksum-crc32"


class Bodies:
    """Bodies of one size: random bytes, the last 16 of each its own, so that none is like another
    (of less than 16 bytes, as far as they reach)."""

    def __init__(self, size: int) -> None:
        """size: in bytes, at least 1."""
        self.size = size
        self.common = os.urandom(max(0, size - SUFFIX_BYTES))
        self.crc32 = zlib.crc32(self.common)
        self._state = hashlib.sha256(self.common)
        self._run = int.from_bytes(os.urandom(8), "little")

    def suffix(self, number: int) -> bytes:
        return struct.pack("<QQ", number, self._run)[: self.size]

    def make(self, number: int) -> tuple[tuple[bytes, bytes], str]:
        """The parts of body `number` and its SHA-256 in hex."""
        suffix = self.suffix(number)
        state = self._state.copy()
        state.update(suffix)
        return (self.common, suffix), state.hexdigest()


class Chunked:
    """Bodies in the aws-chunked coding with a CRC32 in the trailer, as the SDKs stream them."""

    def __init__(self, bodies: Bodies, *, signed: bool) -> None:
        self._bodies = bodies
        self._signed = signed
        common = bodies.common
        whole = len(common) // CHUNK_BYTES * CHUNK_BYTES
        #: the chunks that all bodies share, then the beginning of the last
        self._shared = [common[at : at + CHUNK_BYTES] for at in range(0, whole, CHUNK_BYTES)]
        self._last = common[whole:]
        self._digests = [hashlib.sha256(chunk).hexdigest() for chunk in self._shared]
        self.headers = {
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(bodies.size),
            "x-amz-sdk-checksum-algorithm": "CRC32",
            "x-amz-trailer": _CHECKSUM_HEADER,
        }

    def request(self, signer: Signer, path: str, number: int) -> Request:
        suffix = self._bodies.suffix(number)
        last = self._last + suffix
        # the shared beginning may leave less room in its last chunk than the suffix needs
        chunks = [
            *self._shared,
            *(last[at : at + CHUNK_BYTES] for at in range(0, len(last), CHUNK_BYTES)),
        ]
        checksum = zlib.crc32(suffix, self._bodies.crc32).to_bytes(_CRC32_BYTES, "big")
        trailer = f"{_CHECKSUM_HEADER}:{base64.b64encode(checksum).decode()}".encode()
        length = self._length(chunks, trailer)
        payload = SIGNED_TRAILER if self._signed else UNSIGNED_TRAILER
        head = signer.head("PUT", path, "", payload, length, self.headers)
        signature = head[head.index(b"Signature=") + 10 :][:64].decode()
        buffers = [head]
        for place, chunk in enumerate(chunks):
            if self._signed:
                known = place < len(self._digests)
                digest = self._digests[place] if known else hashlib.sha256(chunk).hexdigest()
                signature = signer.chunk_signature(signature, digest)
            buffers += [self._line(len(chunk), signature), chunk, b"\r\n"]
        if self._signed:
            signature = signer.chunk_signature(signature, EMPTY_SHA256)
        end = self._line(0, signature) + trailer + b"\r\n"
        if self._signed:
            signature = signer.trailer_signature(signature, trailer + b"\n")
            end += b"x-amz-trailer-signature:%b\r\n" % signature.encode()
        return (*buffers, end + b"\r\n")

    def _line(self, size: int, signature: str) -> bytes:
        return (
            f"{size:x};chunk-signature={signature}\r\n" if self._signed else f"{size:x}\r\n"
        ).encode()

    def _length(self, chunks: list[bytes], trailer: bytes) -> int:
        """Of the encoded body in bytes."""
        any_signature = "0" * 64
        total = sum(len(self._line(len(chunk), any_signature)) + len(chunk) + 2 for chunk in chunks)
        total += len(self._line(0, any_signature)) + len(trailer) + 4
        return total + (len("x-amz-trailer-signature:") + 64 + 2 if self._signed else 0)


@dataclass(frozen=True)
class Objects:
    """A set of puts: `count` of them, of `size` bytes each, the n-th under the key key_of(n)."""

    bucket: str
    name: str  # of its marker
    size: int
    count: int
    key_of: Callable[[int], str]

    def path(self, number: int) -> str:
        return f"/{self.bucket}/{self.key_of(number)}"


def folder_key(number: int, prefix: str = "") -> str:
    """Keys in folders of 1,000, in the order of their numbers; none needs an escape."""
    return f"{prefix}{number // 1000:05d}/{number:08d}"


class FreshSigner:
    """A signer whose time is never more than five minutes ago, for sets that take long to send."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._signer, self._made = endpoint.signer(), time.monotonic()

    def at(self, number: int) -> Signer:
        """The clock is read at every thousandth number."""
        if number % _CHECK_EVERY == 0 and time.monotonic() - self._made > _SIGNER_SECONDS:
            self._signer, self._made = self._endpoint.signer(), time.monotonic()
        return self._signer


def signed_puts(endpoint: Endpoint, objects: Objects, variant: str = "") -> Iterator[Request]:
    """The requests that put a set, signed as they are asked for. variant: of `plan.VARIANTS`."""
    bodies, size, signers = Bodies(objects.size), objects.size, FreshSigner(endpoint)
    chunked = Chunked(bodies, signed=variant == "chunked")
    for number in range(objects.count):
        signer, path = signers.at(number), objects.path(number)
        if variant in ("trailer", "chunked"):
            yield chunked.request(signer, path, number)
            continue
        if variant == "presigned":
            yield (signer.presigned_head("PUT", path, size), bodies.common, bodies.suffix(number))
            continue
        parts, digest = bodies.make(number)
        payload = UNSIGNED_PAYLOAD if variant == "unsigned" else digest
        yield (signer.head("PUT", path, payload_hash=payload, length=size), *parts)


def signed_reads(
    endpoint: Endpoint, method: str, objects: Objects, variant: str = ""
) -> list[Request]:
    """One GET, HEAD or DELETE of each, in an order of no use to anybody's read-ahead."""
    signer = endpoint.signer()
    order = random.Random(objects.count).sample(range(objects.count), objects.count)
    if variant == "presigned":
        return [(signer.presigned_head(method, objects.path(number)),) for number in order]
    return [(signer.head(method, objects.path(number)),) for number in order]


def range_bytes(size: int) -> int:
    """What one request reads of an object of this size."""
    return min(RANGE_BYTES, size // 2)


def signed_ranges(endpoint: Endpoint, objects: Objects, variant: str, count: int) -> list[Request]:
    """So many reads of a part somewhere in one of the objects."""
    signer, length, dice = endpoint.signer(), range_bytes(objects.size), random.Random(count)
    requests: list[Request] = []
    for turn in range(count):
        first = dice.randrange(objects.size - length + 1)
        more = {"range": f"bytes={first}-{first + length - 1}"}
        # each object once before any is read again, for the sake of cold reads
        path = objects.path(turn % objects.count)
        if variant == "presigned":
            requests.append((signer.presigned_head("GET", path, more=more),))
        else:
            requests.append((signer.head("GET", path, further=more),))
    dice.shuffle(requests)
    return requests


#: of 20 requests in the mixed load
MIXED = ("GET",) * 14 + ("PUT",) * 4 + ("HEAD", "DELETE")


def mixed(
    endpoint: Endpoint, read: Objects, put: Objects, delete: Objects
) -> tuple[list[Request], list[Expectation]]:
    """The mixed load: as much as there is to put and to delete lets, in a shuffled order."""
    sources = {
        "GET": (signed_reads(endpoint, "GET", read), Expectation(body_bytes=read.size, kind="GET")),
        "PUT": (list(signed_puts(endpoint, put)), Expectation(kind="PUT")),
        "HEAD": (signed_reads(endpoint, "HEAD", read), Expectation(no_body=True, kind="HEAD")),
        "DELETE": (signed_reads(endpoint, "DELETE", delete), Expectation(kind="DELETE")),
    }
    rounds = min(put.count // MIXED.count("PUT"), delete.count // MIXED.count("DELETE"))
    dice = random.Random(rounds)
    requests: list[Request] = []
    expects: list[Expectation] = []
    used = dict.fromkeys(sources, 0)
    for _ in range(rounds):
        for method in dice.sample(MIXED, len(MIXED)):
            ready, expect = sources[method]
            requests.append(ready[used[method] % len(ready)])
            expects.append(expect)
            used[method] += 1
    return requests, expects
