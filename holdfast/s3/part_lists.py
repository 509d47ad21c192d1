"""The parts of a finished multipart object, of which a read needs few: where each lies in the whole.

A list of parts never changes once a version has it, and its id is never used again; so what was read
of it once may be kept.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from itertools import accumulate
from typing import Final

from holdfast.blobs.contract import BlobMissing
from holdfast.meta.contract import MetaStore
from holdfast.meta.records import ObjectVersion, Part

#: of all layouts that a worker keeps: 10 bytes each
PARTS_KEPT_MAX: Final = 200_000
#: rows read before other connections have their turn
PARTS_PER_STEP: Final = 500
_COUNT_MAX: Final = 10_000


class PartLayout:
    """`numbers` of the parts in their order, and where each `ends` in the whole, in bytes."""

    __slots__ = ("ends", "numbers")

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.numbers = array("H", (number for number, _ in sizes))
        self.ends = array("Q", accumulate(size for _, size in sizes))

    def start(self, index: int) -> int:
        return self.ends[index - 1] if index else 0

    def size(self, index: int) -> int:
        return self.ends[index] - self.start(index)

    def index_at(self, offset: int) -> int:
        """Which part has the byte at `offset`, which lies in the whole."""
        return bisect_right(self.ends, offset)

    def index_of(self, number: int) -> int | None:
        """Which part has that number."""
        index = bisect_left(self.numbers, number)
        found = index < len(self.numbers) and self.numbers[index] == number
        return index if found else None


class PartLayouts:
    """The layouts that one worker keeps; the one used last is at the end."""

    __slots__ = ("_count", "_kept", "_meta")

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta
        self._kept: OrderedDict[int, PartLayout] = OrderedDict()
        self._count = 0

    async def of(self, version: ObjectVersion) -> PartLayout:
        """Of a version that has a list. Raises BlobMissing when it is gone, or on its way."""
        parts_id = version.parts_id
        layout = self._kept.get(parts_id)
        if layout is not None:
            self._kept.move_to_end(parts_id)
            return layout
        layout = PartLayout(await self._meta.part_sizes(parts_id))
        count = len(layout.ends)
        if (count, layout.start(count)) != (version.parts_count, version.size):
            raise BlobMissing("the parts are gone")
        if parts_id not in self._kept:
            self._kept[parts_id] = layout
            self._count += len(layout.numbers)
        while self._count > PARTS_KEPT_MAX:
            _, dropped = self._kept.popitem(last=False)
            self._count -= len(dropped.numbers)
        return layout

    async def parts(self, parts_id: int, layout: PartLayout, first: int, end: int) -> list[Part]:
        """The parts from index `first` up to, not including, `end`. Raises BlobMissing."""
        numbers = layout.numbers[first:end]
        parts = await load_parts(self._meta, parts_id, numbers[0] - 1, len(numbers))
        # a list whose version went loses its rows bit by bit
        if [part.number for part in parts] != list(numbers):
            raise BlobMissing("the parts are gone")
        return parts


async def load_parts(
    meta: MetaStore, parts_id: int, after_number: int = 0, count: int = _COUNT_MAX
) -> list[Part]:
    """`count` parts, or as many as there are, in steps: they may change between two of them."""
    parts: list[Part] = []
    while True:
        step = min(PARTS_PER_STEP, count - len(parts))
        some = await meta.parts(parts_id, after_number, step)
        parts += some
        if len(some) < step or len(parts) == count:
            return parts
        after_number = some[-1].number
        await asyncio.sleep(0)
