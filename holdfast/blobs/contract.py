"""The contract of every blob store.

A blob is an immutable run of bytes, addressed by (bucket directory, SHA-256 of the plain bytes, `n`).
`n` is chosen anew by whoever writes, so two uploads of the same bytes never share a file, and a slow
remover can never take a file that a later commit adopted.

Order, which keeps invariants 1 and 4: stage -> (caller verifies the digests) -> publish -> commit in
the MetaStore. Until that commit the file is garbage and nothing trusts it; a crash at any step
leaves at worst garbage, which `sweep` finds. After `publish` returns, the bytes and every directory
entry on the way to them survive a power cut (unless durability is relaxed).
All methods may be called from any number of coroutines; none blocks the loop for disk I/O of
unbounded length. Errors: OSError as the system gave it, `DiskFull` for ENOSPC, EDQUOT and EFBIG.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol


class DiskFull(OSError):
    """No room for the write. Nothing of it remains; reads and removals go on."""


class BlobMissing(FileNotFoundError):
    """The file is not there: its row went meanwhile (read the row again), or content was lost."""


class Source(Protocol):
    """Where an upload's bytes come from; `holdfast.http.message.Body` is one."""

    async def fill(self, view: memoryview) -> int:
        """Fill `view`; fewer bytes than len(view) mean the end. May raise: the upload is discarded."""


class BlobAddress(NamedTuple):
    """bucket_dir: `<bucket>-<id>`; sha256: 32 bytes; n: 63-bit number of the writer."""

    bucket_dir: str
    sha256: bytes
    n: int


class Staged(Protocol):
    """An upload whose bytes are all on the way to the disk but have no address yet.

    Exactly one of publish and discard is called, exactly once; discard never raises.
    """

    size: int  # bytes
    md5: bytes
    sha256: bytes
    #: the further digests asked for, by AWS's names: CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256,
    #: SHA512, XXHASH3, XXHASH64, XXHASH128
    checksums: dict[str, bytes]

    async def publish(self, bucket_dir: str) -> BlobAddress:
        """Give it its address, durably. Raises DiskFull or OSError; then nothing of it remains."""

    async def discard(self) -> None: ...


class OpenBlob(Protocol):
    """A blob opened for reading: `size` bytes of the file `fd`, from `offset` on.

    The descriptor may be shared: read at given places only. The bytes stay readable until close,
    even when the blob is removed, unless `needs_lease`: then they may turn into zeros, so its reader
    must hold a lease on what can be removed, from before it is opened (holdfast.s3.leases).
    """

    fd: int
    offset: int  # bytes
    size: int  # bytes
    needs_lease: bool

    def close(self) -> None: ...


class BlobStore(Protocol):
    async def stage(
        self, source: Source, size_bytes: int | None, algorithms: tuple[str, ...] = ()
    ) -> Staged:
        """Read `source` to its end, hashing on the way (MD5, SHA-256 and `algorithms`).

        `size_bytes` is the expected size or None; it is a hint for allocation, not a check.
        Memory: a fixed number of buffers, whatever the size. On any exception of `source` the
        bytes are discarded and the exception goes on to the caller.
        """

    async def open(self, address: BlobAddress) -> OpenBlob:
        """Open for reading. Raises BlobMissing."""

    async def link(self, source: BlobAddress, bucket_dir: str) -> BlobAddress:
        """A second address for the same bytes in another bucket (hard link, else a copy), durably.

        Raises BlobMissing, DiskFull; OSError (EIO) when a copy finds other bytes than were stored.
        """

    async def remove(self, address: BlobAddress) -> None:
        """Remove it, with files and directories that became empty. Idempotent: absent is fine."""

    async def remove_bucket(self, bucket_dir: str) -> None:
        """Remove what is left of a deleted bucket's directory. Idempotent."""

    def sweep(self, older_than_seconds: float) -> AsyncIterator[tuple[BlobAddress, int]]:
        """(address, size) of every blob that was published longer ago; for fsck and the collector.

        A link counts from when it was made, however old its bytes: its commit may be on the way.
        Also removes what has no address and is older: stale files in `tmp/`, half-written records.
        """

    async def verify(self, address: BlobAddress) -> bool:
        """Read every byte and compare with the address. Raises BlobMissing."""

    def release(self) -> None:
        """Close files that are kept open and not in use, as at the end of a process. Blocks."""


def new_blob_number() -> int:
    """A number for one written file: 62 random bits, so that writers need no agreement.

    Bit 62 is left to those who pack a place into the number.
    """
    return int.from_bytes(os.urandom(8), "big") >> 2
