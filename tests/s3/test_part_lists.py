"""Layouts of multipart objects: few parts are read of many, and what is kept is bounded."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from holdfast.blobs.contract import BlobMissing
from holdfast.meta.records import ObjectVersion, Part
from holdfast.s3 import part_lists
from holdfast.s3.part_lists import PartLayout, PartLayouts, load_parts


class Meta:
    """Lists of parts by id, and how often and how much was read of them."""

    def __init__(self, lists: dict[int, list[tuple[int, int]]]) -> None:
        self.lists = lists
        self.sizes_read = 0
        self.rows_read: list[int] = []

    async def part_sizes(self, parts_id: int) -> list[tuple[int, int]]:
        self.sizes_read += 1
        return self.lists.get(parts_id, [])

    async def parts(self, parts_id: int, after_number: int, limit: int) -> list[Part]:
        rows = [row for row in self.lists.get(parts_id, []) if row[0] > after_number][:limit]
        self.rows_read.append(len(rows))
        return [Part(parts_id, number, number, size, "", 0) for number, size in rows]


def _layouts(lists: dict[int, list[tuple[int, int]]]) -> tuple[PartLayouts, Meta]:
    meta = Meta(lists)
    return PartLayouts(cast(Any, meta)), meta


def _version(meta: Meta, parts_id: int) -> ObjectVersion:
    sizes = [size for _, size in meta.lists[parts_id]]
    return ObjectVersion(
        1, b"k", 1, sum(sizes), "", 0, "", parts_id=parts_id, parts_count=len(sizes)
    )


def test_where_the_parts_lie() -> None:
    layout = PartLayout([(1, 5), (4, 7), (10_000, 0)])
    assert list(layout.ends) == [5, 12, 12]
    assert [(layout.start(i), layout.size(i)) for i in range(3)] == [(0, 5), (5, 7), (12, 0)]
    assert [layout.index_at(n) for n in (0, 4, 5, 11)] == [0, 0, 1, 1]
    assert [layout.index_of(n) for n in (1, 4, 10_000)] == [0, 1, 2]
    assert [layout.index_of(n) for n in (0, 2, 5, 10_001)] == [None] * 4


def test_only_what_is_needed_is_read() -> None:
    layouts, meta = _layouts({7: [(n, 10) for n in range(2, 2002, 2)]})

    async def work() -> None:
        for _ in range(2):
            layout = await layouts.of(_version(meta, 7))
            parts = await layouts.parts(7, layout, 500, 503)
            assert [part.number for part in parts] == [1002, 1004, 1006]
        assert (meta.sizes_read, meta.rows_read) == (1, [3, 3])

    asyncio.run(work())


@pytest.mark.parametrize("left", [[], [(2, 10), (3, 10)], [(1, 10), (2, 10)]])
def test_a_list_on_its_way_is_missing(left: list[tuple[int, int]]) -> None:
    """The rows of what was deleted go bit by bit; what is left must not be read in their place."""
    layouts, meta = _layouts({7: [(1, 10), (2, 10), (3, 10)]})
    version = _version(meta, 7)

    async def work() -> None:
        layout = await layouts.of(version)
        meta.lists[7] = left
        with pytest.raises(BlobMissing):
            await layouts.parts(7, layout, 0, 3)
        anew = PartLayouts(cast(Any, meta))
        with pytest.raises(BlobMissing):
            await anew.of(version)

    asyncio.run(work())


def test_another_part_is_not_taken_for_it() -> None:
    layouts, meta = _layouts({7: [(1, 10), (2, 10), (3, 10)]})

    async def work() -> None:
        layout = await layouts.of(_version(meta, 7))
        del meta.lists[7][0]
        assert len(await layouts.parts(7, layout, 1, 3)) == 2
        with pytest.raises(BlobMissing):
            await layouts.parts(7, layout, 0, 2)

    asyncio.run(work())


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_lists, "PARTS_KEPT_MAX", 6)
    layouts, meta = _layouts({parts_id: [(1, 1), (2, 1)] for parts_id in range(5)})

    async def work() -> None:
        for parts_id in (0, 1, 2, 0, 3):  # the list of 1 goes: it was used longest ago
            await layouts.of(_version(meta, parts_id))
        assert meta.sizes_read == 4
        for parts_id in (0, 2, 3):
            await layouts.of(_version(meta, parts_id))
        assert meta.sizes_read == 4
        await layouts.of(_version(meta, 1))
        assert meta.sizes_read == 5

    asyncio.run(work())


@pytest.mark.parametrize(
    ("count", "rows"), [(10_000, [3, 3, 1]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1])]
)
def test_many_are_read_in_steps(
    monkeypatch: pytest.MonkeyPatch, count: int, rows: list[int]
) -> None:
    monkeypatch.setattr(part_lists, "PARTS_PER_STEP", 3)
    meta = Meta({1: [(n, 1) for n in range(1, 8)]})
    turns: list[int] = []

    async def another() -> None:
        while True:
            turns.append(len(meta.rows_read))
            await asyncio.sleep(0)

    async def work() -> list[Part]:
        task = asyncio.create_task(another())
        try:
            return await load_parts(cast(Any, meta), 1, 0, count)
        finally:
            task.cancel()

    parts = asyncio.run(work())
    assert [part.number for part in parts] == list(range(1, min(count, 7) + 1))
    assert meta.rows_read == rows
    assert turns == list(range(1, len(rows))), "the loop goes on between two steps"
