"""S3's checksums on the client's side: computed as data passes, joined over parts.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
CRCs come from awscrt, in hardware; it holds the GIL, so pieces are bounded. It is imported at the first
use, as it takes longer than all the rest of the client.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol

from holdfast.client.config import MIB

_PIECE_BYTES = MIB


class Running(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc:
    __slots__ = ("_bytes", "_function", "value")

    def __init__(self, function: Callable[[Any, int], int], size: int) -> None:
        self._function, self._bytes, self.value = function, size, 0

    def update(self, data: memoryview, /) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            self.value = self._function(data[start : start + _PIECE_BYTES], self.value)

    def digest(self) -> bytes:
        return self.value.to_bytes(self._bytes, "big")


class _Joinable(NamedTuple):
    function: Callable[[Any, int], int]
    combine: Callable[[int, int, int], int]
    digest_bytes: int


_CRC_BYTES = {"CRC64NVME": 8, "CRC32": 4, "CRC32C": 4}


@cache
def _crc(algorithm: str) -> _Joinable:
    from awscrt import checksums as crt

    name = algorithm.lower()
    function, combine = getattr(crt, name), getattr(crt, f"combine_{name}")
    return _Joinable(function, combine, _CRC_BYTES[algorithm])


_HASHES = {"SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "MD5": "md5"}
ALGORITHMS: tuple[str, ...] = (*_CRC_BYTES, *_HASHES)
HEADERS: dict[str, str] = {f"x-amz-checksum-{name.lower()}": name for name in ALGORITHMS}


def header(algorithm: str) -> str:
    return f"x-amz-checksum-{algorithm.lower()}"


def is_joinable(algorithm: str) -> bool:
    """Whether checksums of stretches make the checksum of the whole."""
    return algorithm in _CRC_BYTES


def running(algorithm: str) -> Running:
    if algorithm in _CRC_BYTES:
        crc = _crc(algorithm)
        return _Crc(crc.function, crc.digest_bytes)
    return hashlib.new(_HASHES[algorithm], usedforsecurity=False)


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def checksum(algorithm: str, data: bytes | bytearray | memoryview) -> str:
    state = running(algorithm)
    state.update(memoryview(data))
    return encoded(state.digest())


def joined(algorithm: str, parts: list[tuple[str, int]]) -> str:
    """The checksum of the whole out of (base64 checksum, bytes) of its stretches in order."""
    _, combine, size = _crc(algorithm)
    value = 0
    for number, (text, count) in enumerate(parts):
        part = int.from_bytes(base64.b64decode(text), "big")
        value = combine(value, part, count) if number else part
    return encoded(value.to_bytes(size, "big"))


def composite(algorithm: str, parts: list[str]) -> str:
    """The checksum of the parts' checksums, with their number."""
    state = running(algorithm)
    for text in parts:
        state.update(memoryview(base64.b64decode(text)))
    return f"{encoded(state.digest())}-{len(parts)}"
