"""The digests of an upload: MD5 (the ETag), SHA-256 (the address), and those the client asked for.

Strategy: two lanes, each strictly in order. MD5 is the slowest (about 650 MB/s a core) and has one
of its own; SHA-256 and one further checksum together still keep up with it. All of them release
the GIL over large views.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from awscrt import checksums


@cache
def crt() -> Any:
    """awscrt's checksums. Loading that library gathers entropy for 60 ms of processor time, which no
    checksum needs: it comes with its first use, and before the fork where there is one."""
    from awscrt import checksums

    return checksums


class Digest(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc:
    """A CRC as a digest: big-endian bytes, as S3 shows them (in base64)."""

    __slots__ = ("_update", "_value", "_width_bytes")

    def __init__(self, update: Callable[[memoryview, int], int], width_bytes: int) -> None:
        self._update = update
        self._width_bytes = width_bytes
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = self._update(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._width_bytes, "big")


#: bytes copied at once where a library takes no memoryview
PIECE_BYTES = 256 * 1024


class XXHash:
    """An XXHash as a digest. awscrt takes only bytes, so the view is copied in pieces."""

    __slots__ = ("_hash",)

    def __init__(self, hash: checksums.XXHash) -> None:
        self._hash = hash

    def update(self, data: memoryview, /) -> None:
        for at in range(0, len(data), PIECE_BYTES):
            self._hash.update(bytes(data[at : at + PIECE_BYTES]))

    def digest(self) -> bytes:
        value: bytes = self._hash.finalize()
        return value


#: AWS's name -> a new digest (SHA256 is the address, MD5 the ETag: never computed twice)
FACTORIES: dict[str, Callable[[], Digest]] = {
    "CRC32": lambda: Crc(zlib.crc32, 4),  # as fast as awscrt's
    "CRC32C": lambda: Crc(crt().crc32c, 4),
    "CRC64NVME": lambda: Crc(crt().crc64nvme, 8),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
    "XXHASH64": lambda: XXHash(crt().XXHash.new_xxhash64()),
    "XXHASH3": lambda: XXHash(crt().XXHash.new_xxhash3_64()),
    "XXHASH128": lambda: XXHash(crt().XXHash.new_xxhash3_128()),
}


class Digests:
    """All digests of one upload. Raises ValueError for an algorithm that is not in `FACTORIES`."""

    __slots__ = ("_further", "_md5", "_sha256", "_wanted")

    def __init__(self, algorithms: tuple[str, ...] = ()) -> None:
        unknown = [name for name in algorithms if name not in FACTORIES]
        if unknown:
            raise ValueError(f"unknown checksum algorithms: {unknown}")
        self._md5: Digest = hashlib.md5(usedforsecurity=False)
        self._sha256: Digest = hashlib.sha256()
        self._wanted = algorithms
        self._further = {
            name: FACTORIES[name]() for name in algorithms if name not in ("SHA256", "MD5")
        }

    def update_md5(self, view: memoryview) -> None:
        self._md5.update(view)

    def update_others(self, view: memoryview) -> None:
        self._sha256.update(view)
        for digest in self._further.values():
            digest.update(view)

    def update(self, view: memoryview) -> None:
        self.update_md5(view)
        self.update_others(view)

    def md5(self) -> bytes:
        return self._md5.digest()

    def sha256(self) -> bytes:
        return self._sha256.digest()

    def checksums(self) -> dict[str, bytes]:
        found = {name: digest.digest() for name, digest in self._further.items()}
        if "SHA256" in self._wanted:
            found["SHA256"] = self.sha256()
        if "MD5" in self._wanted:
            found["MD5"] = self.md5()
        return found
