"""`import --verify`: both sides read again and compared; nothing is written.

Rule: keys, the order of their versions, delete markers, sizes, ETags, which ids are "null", and the
buckets' documents, out of the listings; with --content also every byte, header and tag of both sides.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

from holdfast.cli.importing import documents
from holdfast.cli.importing.engine import of_source
from holdfast.cli.importing.history import History, Version, histories, side_by_side
from holdfast.cli.importing.version import READ_BYTES, Pair, SourceFailed, head_of
from holdfast.cli.objects.output import Output, count, human, printable
from holdfast.cli.objects.places import Filters
from holdfast.client.asynchronous import AsyncObjectStore
from holdfast.client.errors import NoSuchBucket, S3Error

_Two = tuple[str, Version, Version]


class Verification:
    """Of one bucket."""

    def __init__(
        self,
        pair: Pair,
        output: Output,
        filters: Filters,
        *,
        content: bool,
        parallel: int,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._pair, self._output, self._filters = pair, output, filters
        self._content, self._parallel = content, parallel
        self._is_stopping = is_stopping
        self._versions = self._keys = self._bytes = self._differences = 0

    async def run(self) -> int:
        """The number of differences, each of which is told. Raises S3Error, SourceFailed."""
        pair = self._pair
        if not await pair.target.bucket_exists(pair.bucket):
            raise NoSuchBucket(message="the destination has no such bucket", resource=pair.bucket)
        queue: asyncio.Queue[_Two | None] = asyncio.Queue(self._parallel * 2)
        workers = self._parallel if self._content else 0
        tasks = [asyncio.ensure_future(self._work(queue)) for _ in range(workers)]
        feeder = asyncio.ensure_future(self._listings(queue, workers))
        try:
            await asyncio.gather(feeder, *tasks)
        finally:
            for task in (feeder, *tasks):
                task.cancel()
            await asyncio.gather(feeder, *tasks, return_exceptions=True)
        await self._configuration()
        self._sum_up()
        return self._differences

    async def _listings(self, queue: asyncio.Queue[_Two | None], workers: int) -> None:
        pair, directory = self._pair, self._pair.journal.path.parent
        source = of_source(histories(pair.source, pair.bucket, directory))
        target = histories(pair.target, pair.bucket, directory)
        async for key, ours, theirs in side_by_side(source, target):
            if self._is_stopping():
                raise asyncio.CancelledError
            if not self._filters(key):
                continue
            self._keys += 1
            for two in self._compare(key, ours, theirs):
                if workers:
                    await queue.put(two)
        for _ in range(workers):
            await queue.put(None)

    def _compare(self, key: str, ours: History | None, theirs: History | None) -> Iterator[_Two]:
        """The versions whose content can be compared."""
        if ours is None:
            self._differ(key, "extra", "only the destination has it")
            return
        is_same = self._pair.journal.comparer(key)
        left = self._pair.journal.wanted(key, ours)
        right = theirs.oldest_first() if theirs is not None else iter(())
        for number, (one, other) in enumerate(zip_longest(left, right), 1):
            if one is not None:
                self._versions += 1
                self._bytes += one.size
            if one is None or other is None:
                side = "destination" if one is None else "source"
                kind = "extra" if one is None else "missing"
                self._differ(key, kind, f"only the {side} has version {number} of it")
                return
            if not is_same(one, other):
                what, text = _difference(one, other)
                self._differ(key, what, f"version {number}, from the oldest: {text}")
                return
            if one.version_id and one.is_null != other.is_null:
                self._differ(
                    key, "null", f"version {number}: {one.version_id!r} became {other.version_id!r}"
                )
            if not one.is_marker:
                yield key, one, other

    def _differ(self, key: str, what: str, text: str) -> None:
        self._differences += 1
        fields: dict[str, Any] = {
            "action": "verify",
            "type": "difference",
            "bucket": self._pair.bucket,
            "key": key,
            "what": what,
            "text": text,
        }
        place = f"s3://{self._pair.bucket}/{key}" if key else self._pair.bucket
        self._output.record(fields, printable(f"{place}: {text}"))

    async def _work(self, queue: asyncio.Queue[_Two | None]) -> None:
        while (two := await queue.get()) is not None:
            key, one, other = two
            pair = self._pair
            try:
                left = await self._read(pair, pair.source, key, one)
            except S3Error as error:
                raise SourceFailed(error) from error
            backwards = Pair(
                pair.bucket,
                pair.target,
                pair.source,
                pair.journal,
                pair.room,
                pair.note,
                reads_acls=pair.reads_acls,
            )
            right = await self._read(backwards, pair.target, key, other)
            for name in sorted(left.keys() | right.keys()):
                if left.get(name) != right.get(name):
                    text = f"{name} is {right.get(name)!r}, not {left.get(name)!r}"
                    self._differ(key, "content" if name == "MD5" else "metadata", text)

    async def _read(
        self, pair: Pair, store: AsyncObjectStore, key: str, version: Version
    ) -> dict[str, str]:
        """Headers as they would be written, and the MD5 of the content."""
        stream = await store.open_object(pair.bucket, key, version_id=pair.id_of(version))
        try:
            head = await head_of(pair, key, version, stream.info)
            md5 = hashlib.md5(usedforsecurity=False)
            buffer = memoryview(bytearray(READ_BYTES))
            while size := await stream.readinto(buffer):
                await asyncio.to_thread(md5.update, buffer[:size])
        finally:
            await stream.finish()
        return head.headers | {"MD5": md5.hexdigest()}

    async def _configuration(self) -> None:
        pair = self._pair
        kinds = (documents.Kind("versioning", "versioning"), *documents.KINDS)
        for kind in kinds:
            try:
                ours = await documents.get(pair.source, pair.bucket, kind.query)
                said = documents.found_in(kind, ours)
            except S3Error as error:
                raise SourceFailed(error) from error
            if said is None:
                continue
            theirs = await documents.get(pair.target, pair.bucket, kind.query)
            if theirs is None or ours is None or not documents.is_equal(kind, ours, theirs):
                text = f"{kind.name}: the destination has {'none' if not theirs else 'another'}"
                self._differ("", "configuration", text)

    def _sum_up(self) -> None:
        fields = {
            "action": "verify",
            "type": "bucket",
            "bucket": self._pair.bucket,
            "keys": self._keys,
            "versions": self._versions,
            "bytes": self._bytes,
            "differences": self._differences,
            "content": self._content,
        }
        text = (
            f"{self._pair.bucket}: {count(self._keys, 'key')}, {count(self._versions, 'version')}, "
            f"{human(self._bytes)} compared; {count(self._differences, 'difference')}"
        )
        self._output.record(fields, printable(text))


def _difference(one: Version, other: Version) -> tuple[str, str]:
    if one.is_marker != other.is_marker:
        kinds = ("a delete marker", "a version")
        return "order", f"the source has {kinds[not one.is_marker]}, not so the destination"
    if one.size != other.size:
        return "size", f"{other.size:,} bytes at the destination, {one.size:,} at the source"
    return "etag", f"ETag {other.etag} at the destination, {one.etag} at the source"
