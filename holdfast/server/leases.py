"""Which reads are under way, told to the collector: one number for each worker in shared memory.

A worker writes the start of its oldest read; the collector takes the least of all. Written by one
process and read by another, 8 aligned bytes at a time, so neither ever sees half of one.
"""

from __future__ import annotations

import mmap

from holdfast.s3.leases import LEASE_MS_MAX


class OldestReads:
    """Made before the fork. Times are ms since the epoch, 0: nothing is read."""

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, max(mmap.PAGESIZE, workers * 8))
        self._oldest = memoryview(self._memory).cast("q")
        self._workers = workers

    def publish(self, worker: int, oldest_ms: int) -> None:
        self._oldest[worker] = oldest_ms

    def oldest_ms(self, now_ms: int) -> int:
        """The start of the oldest read of any worker, as far back as leases go; 0 without any."""
        oldest = min((ms for ms in self._oldest[: self._workers] if ms), default=0)
        return max(oldest, now_ms - LEASE_MS_MAX) if oldest else 0
