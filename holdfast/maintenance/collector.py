"""Takes away content that nothing refers to any more.

Rule (invariant 4): a file goes only when no row refers to it and nothing can still read or adopt
it.
- A blob without references is marked as going in the transaction that drops the last reference, and
  is never revived. Its file goes when the mark is older than the grace time and than the oldest
  read under way; then its row. A crash between the two leaves a row without a file: it goes next.
- A file without a row is garbage, but may be an upload whose commit is on its way. The committer
  refuses content older than half the grace time, so a file older than the whole of it is safe to
  take; the database is asked only after the file was seen to be that old.
Everything is done in bounded slices with a breath between them, so that clients' commits go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.blobs.contract import BlobAddress, BlobStore
from holdfast.maintenance.rounds import Round
from holdfast.meta.commands import Command, Done, ForgetBlobs, ForgetDirectories, Reaped, ReapParts
from holdfast.meta.contract import MetaStore

_log = logging.getLogger("holdfast.maintenance")

GRACE_SECONDS = 3600.0
PARTS_SLICE = 500
BLOBS_SLICE = 200
DIRECTORIES_SLICE = 20
#: files that a paced sweep looks at before it rests for SWEEP_REST_SECONDS: at most 2,560 a second
SWEEP_SLICE_FILES = 256
SWEEP_REST_SECONDS = 0.1
#: the time between two rounds: a fraction of the grace time, within these
ROUND_SECONDS_MIN = 0.5
ROUND_SECONDS_MAX = 60.0


class CollectorFault(Exception):
    """The store refused a command that it must not refuse: a fault of ours."""


@dataclass(slots=True)
class CollectorReport:
    """What one round did. `failed`: removals that the disk refused; they are tried again."""

    parts: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    directories: int = 0
    files_swept: int = 0
    files_removed: int = 0
    file_bytes: int = 0
    failed: int = 0

    @property
    def changed(self) -> bool:
        return bool(self.parts or self.blobs or self.directories or self.files_removed)

    def __str__(self) -> str:
        return (
            f"{self.parts} parts reaped, {self.blobs} blobs ({self.blob_bytes} bytes) and "
            f"{self.directories} directories removed, {self.files_removed} of {self.files_swept} "
            f"files ({self.file_bytes} bytes) were garbage, {self.failed} removals failed"
        )


class Collector:
    """Times are seconds, but what is named `_ms`: milliseconds since the epoch.

    `oldest_read_ms` gives the start of the oldest read under way in any worker, 0 if there is none.
    """

    def __init__(
        self,
        meta: MetaStore,
        blobs: BlobStore,
        *,
        grace_seconds: float = GRACE_SECONDS,
        now: Callable[[], float] = time.time,
        oldest_read_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._meta = meta
        self._blobs = blobs
        self._grace_seconds = grace_seconds
        self._now = now
        self._oldest_read_ms = oldest_read_ms

    def rounds(self) -> tuple[Round, ...]:
        """A sweep comes once in a grace time. So does the first: before that, what an earlier
        process left behind may be too young anyhow."""
        pause = min(max(self._grace_seconds / 4, ROUND_SECONDS_MIN), ROUND_SECONDS_MAX)
        return (
            Round("collection", self._collect, pause, pause),
            Round("sweep", self._sweep, self._grace_seconds + pause, self._grace_seconds),
        )

    async def run_once(self) -> CollectorReport:
        """Everything that may go now, the sweep of files included, without pauses.

        Raises MetaUnavailable, OSError (the directories can't be walked), CollectorFault.
        """
        report = CollectorReport()
        await self._round(report)
        await self.sweep(report, older_than_seconds=self._grace_seconds)
        return report

    def removable_before_ms(self) -> int:
        """A blob that went before this can have no reader: ms since the epoch."""
        before = int((self._now() - self._grace_seconds) * 1000)
        oldest = self._oldest_read_ms()
        return min(before, oldest) if oldest else before

    async def reap_parts(self, report: CollectorReport) -> None:
        """Drop the references of lists of parts that nothing uses any more."""
        while True:
            result = await self._meta.submit(ReapParts(PARTS_SLICE))
            if not isinstance(result, Reaped):
                raise CollectorFault(f"ReapParts answered {result}")
            report.parts += result.parts
            if not result.more:
                return
            await asyncio.sleep(0)

    async def remove_going(self, report: CollectorReport, before_ms: int) -> None:
        """File first, row after: a row without its file is harmless, a file without a row waits
        for the next sweep. Ends when a slice could not be moved forward."""
        while going := await self._meta.going_blobs(before_ms, BLOBS_SLICE):
            gone: list[int] = []
            for blob, directory in going:
                if await self._remove(report, BlobAddress(directory, blob.sha256, blob.n)):
                    gone.append(blob.id)
                    report.blob_bytes += blob.size
            if not gone:
                return
            await self._forget(ForgetBlobs(gone))
            report.blobs += len(gone)

    async def remove_directories(self, report: CollectorReport) -> None:
        """Directories of deleted buckets whose last going blob was removed."""
        while directories := await self._meta.deleted_bucket_directories(DIRECTORIES_SLICE):
            gone: list[str] = []
            for directory in directories:
                try:
                    await self._blobs.remove_bucket(directory)
                except OSError as error:
                    report.failed += 1
                    _log.warning("directory %s can't be removed: %s", directory, error)
                else:
                    gone.append(directory)
            if not gone:
                return
            await self._forget(ForgetDirectories(gone))
            report.directories += len(gone)

    async def sweep(
        self, report: CollectorReport, *, older_than_seconds: float, rest_seconds: float = 0.0
    ) -> None:
        """Remove published files that are older and have no row, and stale files in tmp/."""
        async for address, size in self._blobs.sweep(older_than_seconds):
            report.files_swept += 1
            if not await self._meta.has_blob(*address) and await self._remove(report, address):
                report.files_removed += 1
                report.file_bytes += size
            if rest_seconds and report.files_swept % SWEEP_SLICE_FILES == 0:
                await asyncio.sleep(rest_seconds)

    async def _round(self, report: CollectorReport) -> None:
        await self.reap_parts(report)
        await self.remove_going(report, self.removable_before_ms())
        await self.remove_directories(report)

    async def _collect(self) -> None:
        report = CollectorReport()
        try:
            await self._round(report)
        finally:
            _tell(report)

    async def _sweep(self) -> None:
        report = CollectorReport()
        try:
            await self.sweep(
                report, older_than_seconds=self._grace_seconds, rest_seconds=SWEEP_REST_SECONDS
            )
        finally:
            _tell(report)

    async def _remove(self, report: CollectorReport, address: BlobAddress) -> bool:
        try:
            await self._blobs.remove(address)
        except OSError as error:
            report.failed += 1
            _log.warning("file of %s in %s can't be removed: %s",
                         address.sha256.hex(), address.bucket_dir, error)  # fmt: skip
            return False
        return True

    async def _forget(self, command: Command) -> None:
        result = await self._meta.submit(command)
        if not isinstance(result, Done):
            raise CollectorFault(f"{type(command).__name__} answered {result}")
        await asyncio.sleep(0)


def _tell(report: CollectorReport) -> None:
    if report.changed or report.failed:
        _log.info("collected: %s", report)
