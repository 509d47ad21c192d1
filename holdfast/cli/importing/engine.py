"""One bucket: made, filled pass by pass, then configured.

Rule: a key belongs to one worker, which writes its versions in order; keys go in parallel, listed a
bounded number ahead. S3 gives the id "null" to what is written while versioning is off or suspended,
other ids while it is enabled. So a pass has one mode, each key is brought on until its next version
needs the other, and passes alternate until nothing is left. Most buckets need one pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.importing import documents
from holdfast.cli.importing.history import (
    History,
    Version,
    histories,
    history_of,
    side_by_side,
    standing,
)
from holdfast.cli.importing.journal import token_of
from holdfast.cli.importing.parts import bring_in_parts, goes_in_parts
from holdfast.cli.importing.version import (
    Brought,
    Gone,
    Pair,
    SourceFailed,
    Uncertain,
    Unconfirmed,
    Unreadable,
    bring_marker,
    bring_whole,
)
from holdfast.cli.objects.failures import FATAL, brief
from holdfast.client.errors import S3Error

if TYPE_CHECKING:
    from holdfast.cli.importing.meter import ImportMeter
    from holdfast.cli.importing.report import Report, Tally
    from holdfast.cli.objects.places import Filters

#: keys listed ahead, for each worker
KEYS_AHEAD = 4
#: of a key, of writes whose answer was lost
UNCERTAIN_MAX = 5
UNCERTAIN_WAIT_SECONDS = 0.5
PASSES_MAX = 8
#: keys of which a failure is told but once, though each pass meets it
TOLD_MAX = 10_000
ANY, NULLS, NUMBERED = "any", "nulls", "numbered"


class Stopped(Exception):
    """The user wants an end."""


@dataclass(slots=True)
class Settings:
    """What the flags say."""

    parallel: int
    dry_run: bool
    skip_broken: bool
    filters: Filters
    directory: Path
    is_stopping: Callable[[], bool]


@dataclass(slots=True)
class _Key:
    key: str
    source: History
    target: History | None
    #: the place in the source's history that was being written
    reached: int = 0


class BucketRun:
    def __init__(
        self, pair: Pair, tally: Tally, report: Report, meter: ImportMeter, settings: Settings
    ) -> None:
        self._pair, self._tally, self._report = pair, tally, report
        self._meter, self._settings = meter, settings
        self._mode = ANY
        self._deferred = 0
        self._is_first = True
        self._told: set[str] = set()

    async def run(self, versioning: str, *, is_new: bool) -> None:
        """`versioning`: the source's. Raises Stopped, S3Error, OSError."""
        modes = [ANY]
        if versioning:
            modes = [NUMBERED, NULLS] if versioning == "Enabled" else [NULLS, NUMBERED]
        for number in range(PASSES_MAX):
            self._mode = modes[number % len(modes)]
            self._pair.writes_nulls = False
            self._deferred = self._tally.failed = 0  # a pass sees all of it again
            if not self._settings.dry_run:
                await self._set_mode()
            else:
                self._mode = ANY
            await self._pass(is_empty=is_new and number == 0)
            self._is_first = False
            if not self._deferred:
                break
        else:
            raise S3Error("TooManyPasses", "the bucket changes faster than it can be brought over")
        if versioning and not self._settings.dry_run:
            await self._end_versioning(versioning)

    async def _set_mode(self) -> None:
        """Raises S3Error where the destination keeps no versions."""
        if self._mode == ANY:
            return
        store, bucket = self._pair.target, self._pair.bucket
        wanted = "Enabled" if self._mode == NUMBERED else "Suspended"
        self._pair.writes_nulls = self._mode == NULLS
        if await store.get_versioning(bucket) == wanted:
            return
        try:
            await store.set_versioning(bucket, self._mode == NUMBERED)
        except S3Error as error:
            if self._mode == NUMBERED or error.code != "InvalidBucketState":
                raise
            # object lock: what is null at the source becomes a version like others
            self._pair.note("null versions, which object lock forbids here: they have ids now")
            self._mode = ANY
            self._pair.writes_nulls = False

    async def _end_versioning(self, versioning: str) -> None:
        if await self._pair.target.get_versioning(self._pair.bucket) != versioning:
            await self._pair.target.set_versioning(self._pair.bucket, versioning == "Enabled")

    async def _pass(self, *, is_empty: bool) -> None:
        settings = self._settings
        queue: asyncio.Queue[_Key | None] = asyncio.Queue(settings.parallel * KEYS_AHEAD)
        tasks = [asyncio.ensure_future(self._work(queue)) for _ in range(settings.parallel)]
        feeder = asyncio.ensure_future(self._feed(queue, is_empty=is_empty))
        try:
            await asyncio.gather(feeder, *tasks)
        finally:
            for task in (feeder, *tasks):
                task.cancel()
            await asyncio.gather(feeder, *tasks, return_exceptions=True)
        if settings.is_stopping():
            raise Stopped

    async def _feed(self, queue: asyncio.Queue[_Key | None], *, is_empty: bool) -> None:
        pair, directory = self._pair, self._settings.directory
        source = of_source(histories(pair.source, pair.bucket, directory))
        target = None if is_empty else histories(pair.target, pair.bucket, directory)
        async for key, ours, theirs in side_by_side(source, target):
            if self._settings.is_stopping():
                break
            if ours is not None and self._settings.filters(key):
                await queue.put(_Key(key, ours, theirs))
        for _ in range(self._settings.parallel):
            await queue.put(None)

    async def _work(self, queue: asyncio.Queue[_Key | None]) -> None:
        while (job := await queue.get()) is not None:
            if not self._settings.is_stopping():
                await self._bring_key(job)

    async def _bring_key(self, job: _Key) -> None:
        for attempt in range(UNCERTAIN_MAX + 1):
            try:
                await self._bring_versions(job, is_again=attempt > 0)
                return
            except Uncertain as failure:
                is_silent = isinstance(failure, Unconfirmed)
                if attempt == UNCERTAIN_MAX or (is_silent and attempt):
                    if not failure.error.status:
                        raise failure.error from None
                    self._tally.failed += job.source.count - job.reached
                    name = f"s3://{self._pair.bucket}/{job.key}"
                    self._meter.error(f"{name}: writing: {brief(failure.error)}")
                    return
                if not is_silent:
                    await asyncio.sleep(UNCERTAIN_WAIT_SECONDS * 2**attempt)
                job.target = await history_of(
                    self._pair.target, self._pair.bucket, job.key, self._settings.directory
                )

    async def _bring_versions(self, job: _Key, *, is_again: bool) -> None:
        """`is_again`: an answer was lost, so what was being written may be there."""
        key, journal = job.key, self._pair.journal
        if journal.skipped and self._is_first and not is_again:
            self._tally.left_out += journal.count_skipped(key, job.source)
        is_same = journal.comparer(key)
        begin, tail = standing(journal.wanted(key, job.source), job.target, is_same)
        for index, version in enumerate(journal.wanted(key, job.source)):
            if index < begin:
                self._is_there(job, index, version, is_again=is_again)
                continue
            left = job.source.count - index
            if tail is not None and self._is_foreign(key, tail, version):
                self._failed(key, version, _conflict(version), left)
                return
            tail = None
            if not self._allows(version):
                self._deferred += 1
                return
            job.reached = index
            if self._settings.is_stopping() or not await self._bring_one(key, version, left):
                return

    def _is_foreign(self, key: str, tail: Version, version: Version) -> bool:
        """Whether the destination's newest version is somebody's that was not meant to be covered. By
        time; by the journal where clocks differ, or an object was overwritten in the same second."""
        if version.modified > tail.modified:
            return False
        return not self._pair.journal.has_written(key, tail)

    def _is_there(self, job: _Key, index: int, version: Version, *, is_again: bool) -> None:
        if is_again and index >= job.reached:
            self._pair.journal.brought(job.key, version, "", version.etag)
            self._report.version(self._tally, job.key, version)
        elif self._is_first and not is_again:
            self._tally.same += 1
            self._meter.same(1, version.size)

    def _allows(self, version: Version) -> bool:
        return self._mode == ANY or version.is_null == (self._mode == NULLS)

    async def _bring_one(self, key: str, version: Version, left: int) -> bool:
        """Whether the next one may follow."""
        item = self._meter.begin(key, version.size)
        if self._settings.dry_run:
            self._meter.finish(item)
            self._report.version(self._tally, key, version)
            return True
        sent = 0

        def progress(count: int) -> None:
            nonlocal sent
            sent += count
            item(sent, version.size)

        try:
            brought = await self._write(key, version, progress)
        except Unreadable as failure:
            self._meter.finish(item, failed=True)
            return await self._unreadable(key, version, failure, left)
        except S3Error as error:
            self._meter.finish(item, failed=True)
            if not error.status or isinstance(error, FATAL):
                raise
            self._failed(key, version, f"writing: {brief(error)}", left)
            return False
        except BaseException:
            self._meter.finish(item, failed=True)
            raise
        self._meter.finish(item)
        self._report.version(self._tally, key, version, target_id=brought.version_id)
        return True

    async def _write(self, key: str, version: Version, progress: Callable[[int], None]) -> Brought:
        if version.is_marker:
            return await bring_marker(self._pair, key, version)
        if goes_in_parts(version):
            return await bring_in_parts(self._pair, key, version, progress)
        return await bring_whole(self._pair, key, version, progress)

    async def _unreadable(self, key: str, version: Version, failure: Unreadable, left: int) -> bool:
        """Whether the next one may follow."""
        if isinstance(failure, Gone) and not await self._is_listed(key, version):
            self._pair.note("gone from the source since they were listed")
            return True
        if self._settings.skip_broken:
            self._left_out(key, version, failure.error)
            return True
        self._failed(key, version, f"reading: {brief(failure.error)}", left)
        return False

    async def _is_listed(self, key: str, version: Version) -> bool:
        """Still."""
        pair = self._pair
        try:
            now = await history_of(pair.source, pair.bucket, key, self._settings.directory)
        except S3Error as error:
            raise SourceFailed(error) from error
        return now is not None and any(
            found.version_id == version.version_id for found in now.oldest_first()
        )

    def _left_out(self, key: str, version: Version, error: S3Error) -> None:
        self._pair.journal.note(skipped=token_of(key, version), name=key)
        self._tally.left_out += 1
        self._meter.error(
            f"left out s3://{self._pair.bucket}/{key} {version.version_id}: {brief(error)}"
        )

    def _failed(self, key: str, version: Version, text: str, left: int) -> None:
        self._tally.failed += left
        if key in self._told:
            return  # by an earlier pass
        if len(self._told) < TOLD_MAX:
            self._told.add(key)
        self._report.version(self._tally, key, version, error=text)
        waiting = f"; {left - 1:,} newer of it wait" if left > 1 else ""
        name = f" {version.version_id}" if version.version_id else ""
        self._meter.error(f"s3://{self._pair.bucket}/{key}{name}: {text}{waiting}")


def _conflict(version: Version) -> str:
    kind = "delete marker" if version.is_marker else "version"
    return (
        f"the destination has a version of its own that is newer than this {kind}; remove it there "
        "or leave the key out with --exclude"
    )


async def prepare(
    pair: Pair, *, has_lock: bool, may_exist: bool, dry_run: bool
) -> tuple[bool, str]:
    """Make the bucket. (whether it is new, why it can't be used). Raises S3Error."""
    store, bucket = pair.target, pair.bucket
    if not await store.bucket_exists(bucket):
        if not dry_run:
            await store.create_bucket(bucket, object_lock=has_lock, exist_ok=True)
            pair.journal.note(begun="made")
        return True, ""
    if not (pair.journal.is_begun or may_exist) and await _holds_something(pair):
        return False, (
            "the destination has such a bucket, and things are in it; to import into it all the "
            "same: --merge"
        )
    if dry_run:
        return False, ""
    if not pair.journal.is_begun:
        pair.journal.note(begun="merged")
    if has_lock and await documents.get(store, bucket, "object-lock") is None:
        await store.set_versioning(bucket, True)
        if reason := await documents.enable_lock(store, bucket):
            return False, f"object lock can't be turned on: {reason}"
    return False, ""


async def of_source(
    listing: AsyncIterator[tuple[str, History]],
) -> AsyncIterator[tuple[str, History]]:
    """Raises SourceFailed."""
    try:
        async for entry in listing:
            yield entry
    except S3Error as error:
        raise SourceFailed(error) from error


async def _holds_something(pair: Pair) -> bool:
    listing: AsyncIterator[object] = pair.target.list_versions(pair.bucket, limit=1)
    try:
        return await anext(listing, None) is not None
    except S3Error:
        return await anext(pair.target.list_objects(pair.bucket, limit=1), None) is not None
