"""A run through everything that moves files: upload, copy, overwrite, delete, collection.

Each step is one change, with what is stored after it; so whoever is cut off in a step must find
what was stored before it or after it, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from holdfast.blobs.contract import BlobAddress
from holdfast.maintenance.collector import Collector
from holdfast.maintenance.fsck import fsck
from holdfast.meta.commands import DeleteBucket, DeleteObject
from tests.maintenance.stores import OWNER, Stores

#: contents by name
Stored = dict[tuple[str, bytes], str]


def _content(name: str, size: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size)


#: two that go into segments, one of them of an odd size, and one that is a file of its own
CONTENTS = {
    "small": _content("small", 100_000),
    "other": _content("other", 40_001),
    "large": _content("large", 1_200_000),
}


class Step(NamedTuple):
    name: str
    act: Callable[[Stores], Awaitable[object]]
    after: Stored


def _put(bucket: str, key: bytes, content: str) -> Callable[[Stores], Awaitable[object]]:
    return lambda stores: stores.put(bucket, key, CONTENTS[content])


async def _address(stores: Stores, bucket: str, key: bytes) -> tuple[BlobAddress, int]:
    made = await stores.bucket(bucket)
    found = await stores.meta.find(made.id, key)
    assert found is not None
    assert found.version.blob is not None
    blob = found.version.blob
    return BlobAddress(made.directory, blob.sha256, blob.n), blob.size


def _copy(source: str, key: bytes, target: str) -> Callable[[Stores], Awaitable[object]]:
    async def act(stores: Stores) -> None:
        address, size = await _address(stores, source, key)
        linked = await stores.blobs.link(address, (await stores.bucket(target)).directory)
        await stores.commit(target, key, linked, size)

    return act


def _delete(bucket: str, key: bytes) -> Callable[[Stores], Awaitable[object]]:
    async def act(stores: Stores) -> None:
        await stores.submit(DeleteObject((await stores.bucket(bucket)).id, key, OWNER))

    return act


async def _drop_second(stores: Stores) -> None:
    await stores.submit(DeleteBucket((await stores.bucket("two")).id))


async def _collect(stores: Stores) -> None:
    """A grace time of less than nothing: what went just now has gone long enough."""
    await Collector(stores.meta, stores.blobs, grace_seconds=-60.0).run_once()


def steps() -> list[Step]:
    a, b, c, two = ("one", b"a"), ("one", b"b"), ("one", b"c"), ("two", b"c")
    copied = ("two", b"a")
    return [
        Step("put", _put(*a, "small"), {a: "small"}),
        Step("put the same", _put(*b, "small"), {a: "small", b: "small"}),
        Step("put large", _put(*c, "large"), {a: "small", b: "small", c: "large"}),
        Step(
            "copy",
            _copy("one", b"c", "two"),
            {a: "small", b: "small", c: "large", two: "large"},
        ),
        Step("overwrite", _put(*a, "other"), {a: "other", b: "small", c: "large", two: "large"}),
        Step("delete large", _delete(*c), {a: "other", b: "small", two: "large"}),
        Step("delete small", _delete(*b), {a: "other", two: "large"}),
        Step("put while going", _put(*b, "small"), {a: "other", b: "small", two: "large"}),
        Step(
            "copy other",
            _copy("one", b"a", "two"),
            {a: "other", b: "small", two: "large", copied: "other"},
        ),
        Step("collect", _collect, {a: "other", b: "small", two: "large", copied: "other"}),
        Step("delete other", _delete(*copied), {a: "other", b: "small", two: "large"}),
        Step("put again", _put(*c, "large"), {a: "other", b: "small", c: "large", two: "large"}),
        Step("delete copy", _delete(*two), {a: "other", b: "small", c: "large"}),
        Step("drop bucket", _drop_second, {a: "other", b: "small", c: "large"}),
        Step("collect bucket", _collect, {a: "other", b: "small", c: "large"}),
    ]


def allowed_after(done: int) -> list[Stored]:
    """What may be stored when `done` steps were acknowledged and the next may have begun."""
    states: list[Stored] = [{}, *(step.after for step in steps())]
    return states[done : done + 2]


async def stored_now(stores: Stores) -> Stored:
    """Every object by the name of its content, each byte of it read."""
    found: Stored = {}
    for bucket in await stores.meta.list_buckets(None):
        page = await stores.meta.list_objects(bucket.id, b"", b"", b"", 1000)
        stores.buckets[bucket.name] = bucket
        for entry in page.entries:
            address, _ = await _address(stores, bucket.name, entry.key)
            file = await stores.blobs.open(address)
            try:
                data = os.pread(file.fd, file.size, file.offset)
            finally:
                file.close()
            names = [name for name, content in CONTENTS.items() if content == data]
            found[bucket.name, entry.key] = names[0] if names else f"{len(data)} wrong bytes"
    return found


async def problems_after(stores: Stores, done: int) -> list[str]:
    """Whatever contradicts the invariants after a crash in step `done`; garbage is reclaimed."""
    found = await stored_now(stores)
    problems = []
    if found not in allowed_after(done):
        problems.append(f"stored is {found}, allowed is {allowed_after(done)}")
    for reclaim in (True, False):
        report = await fsck(stores.meta, stores.blobs, content=True, reclaim=reclaim)
        if report.damage_count or not (reclaim or report.clean):
            problems.append(f"fsck: {report.lines()}")
    if await stored_now(stores) != found:
        problems.append("reclaiming garbage changed what is stored")
    return problems
