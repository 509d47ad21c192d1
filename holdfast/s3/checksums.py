"""S3's additional checksums: names on the wire, digests, and how those of parts make one.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
CRC32C, CRC64NVME and XXHashes come from awscrt (in hardware where the processor can), CRC32 from
zlib, which is as fast at it, the rest from hashlib; all are written big-endian. Only a CRC can be
joined, so only CRCs make a full-object checksum of parts; hashes of parts are composite.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from holdfast.blobs.digests import FACTORIES, Digest, crt
from holdfast.s3.errors import S3Error

FULL_OBJECT = "FULL_OBJECT"
COMPOSITE = "COMPOSITE"


class Algorithm(NamedTuple):
    name: str
    header: str
    digest_bytes: int
    digest: Callable[[bytes], bytes]
    #: (crc of a, crc of b, bytes of b) -> crc of a + b; None where digests can't be joined
    combine: Callable[[int, int, int], int] | None
    default_type: str  # of a multipart upload that names the algorithm only
    types: tuple[str, ...]  # that a multipart upload may have


def _sha(name: str) -> Callable[[bytes], bytes]:
    return lambda data: hashlib.new(name, data, usedforsecurity=False).digest()


def _crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _crc(name: str, size: int) -> Callable[[bytes], bytes]:
    def digest(data: bytes) -> bytes:
        value: int = getattr(crt(), name)(data)
        return value.to_bytes(size, "big")

    return digest


def _xxhash(name: str) -> Callable[[bytes], bytes]:
    def digest(data: bytes) -> bytes:
        value: bytes = getattr(crt().XXHash, name)(data)
        return value

    return digest


def _combine(name: str) -> Callable[[int, int, int], int]:
    def combine(before: int, after: int, after_bytes: int) -> int:
        value: int = getattr(crt(), name)(before, after, after_bytes)
        return value

    return combine


_BOTH = (COMPOSITE, FULL_OBJECT)

ALGORITHMS: dict[str, Algorithm] = {
    a.name: a
    for a in (
        Algorithm(
            "CRC32", "x-amz-checksum-crc32", 4, _crc32, _combine("combine_crc32"), COMPOSITE,
            _BOTH,
        ),
        Algorithm(
            "CRC32C", "x-amz-checksum-crc32c", 4, _crc("crc32c", 4), _combine("combine_crc32c"),
            COMPOSITE, _BOTH,
        ),
        Algorithm(
            "CRC64NVME", "x-amz-checksum-crc64nvme", 8, _crc("crc64nvme", 8),
            _combine("combine_crc64nvme"), FULL_OBJECT, (FULL_OBJECT,),
        ),
        Algorithm(
            "SHA1", "x-amz-checksum-sha1", 20, _sha("sha1"), None, COMPOSITE, (COMPOSITE,)
        ),
        Algorithm(
            "SHA256", "x-amz-checksum-sha256", 32, _sha("sha256"), None, COMPOSITE, (COMPOSITE,)
        ),
        Algorithm(
            "SHA512", "x-amz-checksum-sha512", 64, _sha("sha512"), None, COMPOSITE, (COMPOSITE,)
        ),
        Algorithm("MD5", "x-amz-checksum-md5", 16, _sha("md5"), None, COMPOSITE, (COMPOSITE,)),
        Algorithm(
            "XXHASH64", "x-amz-checksum-xxhash64", 8, _xxhash("compute_xxhash64"), None, COMPOSITE,
            (COMPOSITE,),
        ),
        Algorithm(
            "XXHASH3", "x-amz-checksum-xxhash3", 8, _xxhash("compute_xxhash3_64"), None, COMPOSITE,
            (COMPOSITE,),
        ),
        Algorithm(
            "XXHASH128", "x-amz-checksum-xxhash128", 16, _xxhash("compute_xxhash3_128"), None,
            COMPOSITE, (COMPOSITE,),
        ),
    )
}  # fmt: skip

BY_HEADER: dict[str, Algorithm] = {a.header: a for a in ALGORITHMS.values()}

HEADERS: frozenset[str] = frozenset(BY_HEADER)

#: what S3 computes and keeps when the client names none
DEFAULT = ALGORITHMS["CRC64NVME"]


def algorithm(name: str) -> Algorithm:
    """Raises InvalidRequest."""
    found = ALGORITHMS.get(name.upper())
    if found is None:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            f"types: [{', '.join(ALGORITHMS)}]",
        )
    return found


def running(alg: Algorithm) -> Digest:
    """A digest that takes its data in pieces."""
    return FACTORIES[alg.name]()


def checksum_elements(name: str, kind: str, value: str) -> str:
    """How answers write a checksum; "" when there is none. `kind` "": that of a part."""
    if not value:
        return ""
    written = f"<Checksum{name}>{value}</Checksum{name}>"
    return f"{written}<ChecksumType>{kind}</ChecksumType>" if kind else written


def decode_digest(alg: Algorithm, text: str, where: str) -> bytes:
    """The digest in a header or element. Raises BadDigest when it can't be one: a value that does
    not go with its algorithm fails so, as PutObject documents."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != alg.digest_bytes:
        raise S3Error("BadDigest", f"Value for {where} header is invalid.")
    return value


def encode_digest(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def composite(alg: Algorithm, digests: Sequence[bytes]) -> str:
    """The checksum of the parts' checksums, with the number of parts behind it."""
    return f"{encode_digest(alg.digest(b''.join(digests)))}-{len(digests)}"


def joined(alg: Algorithm, parts: Sequence[tuple[bytes, int]]) -> str:
    """The checksum of the whole, out of (digest, size in bytes) of its parts; reads no byte."""
    assert alg.combine is not None
    value = 0
    for index, (digest, size) in enumerate(parts):
        part = int.from_bytes(digest, "big")
        value = part if index == 0 else alg.combine(value, part, size)
    return encode_digest(value.to_bytes(alg.digest_bytes, "big"))
