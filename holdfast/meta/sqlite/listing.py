"""Listings by the index: a run of plain keys is one statement, a common prefix one seek.

Rule: a position is the smallest key that may still come, so every seek is `key >= position`. Behind
a common prefix the position is the first key that does not begin with it. A few rows are stepped
over before seeking, because small folders are common and a step is cheaper than a seek.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.meta.records import ListEntry, ListPage
from holdfast.meta.sqlite.rows import LIST_COLUMNS

STEPS_MAX = 6

KEY_BYTES_MAX = 1_024
#: behind every key
_END = b"\xff" * (KEY_BYTES_MAX + 1)

_SELECT = (
    f"SELECT {LIST_COLUMNS} FROM objects WHERE bucket_id = ? AND key >= ? AND key < ?"
    " ORDER BY key LIMIT ?"
)

Run = Callable[[str, tuple[Any, ...]], Any]


def behind(prefix: bytes) -> bytes | None:
    """The first key that is behind every key with this prefix; None when there is no such key."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def list_objects(
    run: Run,
    bucket_id: int,
    owner: str,
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    limit: int,
) -> ListPage:
    """See MetaReader.list_objects. `owner` is the bucket's; with a delimiter the caller holds a
    read transaction open."""
    if limit <= 0:
        return ListPage([], [], False, b"")
    end = behind(prefix) or _END
    start = max(prefix, after + b"\0") if after else prefix
    if start >= end:
        return ListPage([], [], False, b"")
    if delimiter:
        return _list_rolled_up(run, bucket_id, owner, prefix, delimiter, after, start, end, limit)
    rows = run(_SELECT, (bucket_id, start, end, limit + 1)).fetchall()
    truncated = len(rows) > limit
    if truncated:
        rows.pop()
    entries = [_entry(row, owner) for row in rows]
    return ListPage(entries, [], truncated, entries[-1].key if truncated else b"")


def _entry(row: tuple[Any, ...], bucket_owner: str) -> ListEntry:
    key, size, etag, modified_ms, owner, storage_class, algorithm, kind = row
    return ListEntry(
        key,
        size,
        etag.hex() if type(etag) is bytes else etag,
        modified_ms,
        owner or bucket_owner,
        storage_class or "STANDARD",
        algorithm or "",
        kind or "",
    )


def _list_rolled_up(
    run: Run,
    bucket_id: int,
    owner: str,
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    start: bytes,
    end: bytes,
    limit: int,
) -> ListPage:
    entries: list[ListEntry] = []
    prefixes: list[bytes] = []
    rolled = _rolled_up(after, prefix, delimiter) if after.startswith(prefix) else None
    position: bytes | None = start if rolled is None else behind(rolled)
    last = b""
    while position is not None and position < end:
        rows = run(_SELECT, (bucket_id, position, end, -1))
        position = None  # the rows end, unless a common prefix is to be skipped by a seek
        rolled, steps = None, 0
        for row in rows:
            key = row[0]
            if rolled is not None and key.startswith(rolled):
                steps += 1
                if steps < STEPS_MAX:
                    continue
                position = behind(rolled)
                break
            if len(entries) + len(prefixes) == limit:
                return ListPage(entries, prefixes, True, last)
            rolled, steps = _rolled_up(key, prefix, delimiter), 0
            if rolled is None:
                entries.append(_entry(row, owner))
                last = key
            else:
                prefixes.append(rolled)
                last = rolled
    return ListPage(entries, prefixes, False, b"")


def _rolled_up(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix that hides `key`, or None."""
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]
