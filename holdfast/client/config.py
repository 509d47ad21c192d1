"""The knobs of transfers and retries: each with its unit, all of them optional."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024
#: S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
PARTS_MAX = 10_000
PART_BYTES_MIN = 5 * MIB
PART_BYTES_MAX = 5 * 1024 * MIB
SINGLE_COPY_BYTES_MAX = 5 * 1024 * MIB
DELETE_KEYS_MAX = 1000


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """Memory of one upload is at most about `concurrency` + 1 parts, of a download `concurrency`
    buffers of 1 MiB. `checksum`: CRC64NVME, CRC32, CRC32C, SHA1, SHA256, or None to send none."""

    part_size: int = 16 * MIB
    multipart_threshold: int = 32 * MIB
    concurrency: int = 4
    checksum: str | None = "CRC64NVME"

    def __post_init__(self) -> None:
        if not PART_BYTES_MIN <= self.part_size <= PART_BYTES_MAX:
            raise ValueError("part_size must be 5 MiB to 5 GiB")
        if self.concurrency < 1:
            raise ValueError("concurrency must be at least 1")


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Attempts in all; the n-th wait is a random time up to min(cap, base * 2**n) seconds."""

    attempts: int = 5
    base: float = 0.1
    cap: float = 20.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1")
