"""Checks a store: the metadata by itself, the files against it, on demand every byte.

What is found is of two kinds. Damage: metadata that contradicts itself, content that is missing,
has the wrong size or the wrong bytes. Garbage: what a crash may leave behind and nothing refers to:
files without a row, blobs on their way out, lists of parts nobody uses, directories of deleted
buckets. Garbage is no fault, and goes with `reclaim`; beside damage it stays, as it may be what a
repair needs. An unfinished multipart upload is neither.
Only a stopped store may be checked: files of uploads under way would look like garbage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.blobs.contract import BlobAddress, BlobMissing, BlobStore
from holdfast.maintenance.collector import Collector, CollectorReport
from holdfast.meta.contract import DAMAGED, MetaStore, Problem
from holdfast.meta.records import Blob

BLOBS_SLICE = 500
#: findings of one kind that are kept word for word; the rest is counted
FINDINGS_MAX = 1000
GOING_COUNTED_MAX = 1_000_000
#: "went before this": every blob that went
END_OF_TIME_MS = 1 << 62
#: "published longer ago than this": every file. Nobody writes to a stopped store, and the age of a
#: hard link starts anew whenever another link to the same bytes is removed
ANY_AGE_SECONDS = -math.inf

#: called with (blobs checked, bytes read) now and then
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class FsckReport:
    """What a check found. `exit_code`: 0 clean, or nothing but garbage; 1 damage."""

    content: bool
    blobs: int = 0
    blob_bytes: int = 0
    damage: list[str] = field(default_factory=list)
    damage_count: int = 0
    #: the database is damaged, so that nothing it says was followed
    unreadable: bool = False
    garbage_files: int = 0
    garbage_bytes: int = 0
    going_blobs: int = 0
    going_bytes: int = 0
    #: None: not asked for, or there is damage
    reclaimed: CollectorReport | None = None
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        return 1 if self.damage_count else 0

    @property
    def clean(self) -> bool:
        """Neither damage nor garbage."""
        return not (self.damage_count or self.garbage_files or self.going_blobs)

    def add_damage(self, text: str) -> None:
        self.damage_count += 1
        if len(self.damage) < FINDINGS_MAX:
            self.damage.append(text)

    def add_problem(self, problem: Problem) -> None:
        self.add_damage(f"metadata: {problem.kind}: {problem.detail}")
        self.unreadable = self.unreadable or problem.kind == DAMAGED

    def lines(self) -> list[str]:
        """For people."""
        checked = "every byte read" if self.content else "sizes only; --content reads every byte"
        lines = [f"{self.blobs} blobs, {self.blob_bytes} bytes ({checked}), {self.seconds:.1f} s"]
        if self.unreadable:
            lines = ["the metadata is damaged: restore it from a copy; content was not checked"]
        lines += [f"DAMAGE {text}" for text in self.damage]
        if self.damage_count > len(self.damage):
            lines.append(f"DAMAGE and {self.damage_count - len(self.damage)} more")
        if self.garbage_files:
            lines.append(f"garbage: {self.garbage_files} files without a row, "
                         f"{self.garbage_bytes} bytes")  # fmt: skip
        if self.going_blobs:
            lines.append(f"garbage: {self.going_blobs} blobs on their way out, "
                         f"{self.going_bytes} bytes")  # fmt: skip
        if self.reclaimed is not None:
            lines.append(f"reclaimed: {self.reclaimed}")
        elif self.damage_count:
            lines.append("nothing is reclaimed beside damage: a repair may need it")
        elif self.garbage_files or self.going_blobs:
            lines.append("the server removes garbage by itself; --reclaim does it now")
        verdict = "clean" if self.clean else "no damage"
        lines.append(f"{self.damage_count} damaged" if self.damage_count else verdict)
        return lines

    def as_dict(self) -> dict[str, object]:
        """For programs: plain JSON types."""
        reclaimed = self.reclaimed
        return {
            "content": self.content,
            "blobs": self.blobs,
            "blob_bytes": self.blob_bytes,
            "damage": self.damage,
            "damage_count": self.damage_count,
            "metadata_unreadable": self.unreadable,
            "garbage_files": self.garbage_files,
            "garbage_bytes": self.garbage_bytes,
            "going_blobs": self.going_blobs,
            "going_bytes": self.going_bytes,
            "reclaimed_files": reclaimed and reclaimed.files_removed + reclaimed.blobs,
            "reclaimed_bytes": reclaimed and reclaimed.file_bytes + reclaimed.blob_bytes,
            "seconds": round(self.seconds, 3),
            "exit_code": self.exit_code,
        }


async def fsck(
    meta: MetaStore,
    blobs: BlobStore,
    *,
    content: bool = False,
    reclaim: bool = False,
    progress: Progress | None = None,
) -> FsckReport:
    """Check a store that nobody else uses. Raises OSError when a directory can't be read, and
    MetaUnavailable; damage is in the report."""
    started = time.monotonic()
    report = FsckReport(content)
    for problem in await meta.check():
        report.add_problem(problem)
    if not report.unreadable:
        await _check_blobs(meta, blobs, report, progress)
        await _count_garbage(meta, blobs, report)
    if reclaim and not report.damage_count:
        report.reclaimed = await _reclaim(meta, blobs)
    report.seconds = time.monotonic() - started
    return report


async def _check_blobs(
    meta: MetaStore, blobs: BlobStore, report: FsckReport, progress: Progress | None
) -> None:
    """Each live blob's file is there, has its size and, with `content`, its bytes."""
    last = 0
    while page := await meta.blobs_after(last, BLOBS_SLICE):
        for blob, directory, _ in page:
            damage = await _damage_of(blobs, blob, directory, report.content)
            if damage:
                report.add_damage(f"{directory}/{blob.sha256.hex()}-{blob.n}: {damage}")
            report.blobs += 1
            report.blob_bytes += blob.size
            if report.content and progress is not None:
                progress(report.blobs, report.blob_bytes)
        last = page[-1][0].id
        if progress is not None:
            progress(report.blobs, report.blob_bytes)


async def _damage_of(blobs: BlobStore, blob: Blob, directory: str, content: bool) -> str:
    """What is wrong with a blob's file; "" is nothing."""
    address = BlobAddress(directory, blob.sha256, blob.n)
    try:
        file = await blobs.open(address)
        size = file.size
        file.close()
        if size != blob.size:
            return f"the file has {size} bytes, not {blob.size}"
        if content and not await blobs.verify(address):
            return "the bytes are not those that were stored"
    except BlobMissing:
        return "the file is missing"
    except OSError as error:
        return f"the file can't be read: {error.strerror or error}"
    return ""


async def _count_garbage(meta: MetaStore, blobs: BlobStore, report: FsckReport) -> None:
    async for address, size in blobs.sweep(ANY_AGE_SECONDS):
        if not await meta.has_blob(*address):
            report.garbage_files += 1
            report.garbage_bytes += size
    for blob, _ in await meta.going_blobs(END_OF_TIME_MS, GOING_COUNTED_MAX):
        report.going_blobs += 1
        report.going_bytes += blob.size


async def _reclaim(meta: MetaStore, blobs: BlobStore) -> CollectorReport:
    """Nobody reads and nobody writes, so nothing has to wait for its grace time."""
    collector = Collector(meta, blobs)
    reclaimed = CollectorReport()
    await collector.reap_parts(reclaimed)
    await collector.remove_going(reclaimed, END_OF_TIME_MS)
    await collector.remove_directories(reclaimed)
    await collector.sweep(reclaimed, older_than_seconds=ANY_AGE_SECONDS)
    return reclaimed
