"""Listings by the index: a run of plain keys is one statement, so is a run of common prefixes.

Rule: a position is the smallest key that may still come, so every seek is `key >= position`. Behind
a common prefix the position is the first key that does not begin with it. A few rows are stepped
over before seeking, because small folders are common and a step is cheaper than a seek. Where common
prefixes follow one another, SQLite itself seeks from one to the next, up to the next plain key.
Versions come out of two tables that SQLite merges row by row as they are read, each in the order of
its key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import ne
from typing import Any, NamedTuple

from holdfast.meta.records import ListEntry, ListPage, UploadPage, VersionEntry, VersionPage
from holdfast.meta.sqlite.rows import (
    ENTRY_COLUMNS,
    LIST_COLUMNS,
    UPLOAD_COLUMNS,
    unpack_upload,
)

#: rows of one common prefix: from the next on, a seek is cheaper
STEPS_MAX = 2

KEY_BYTES_MAX = 1_024
#: behind every key
_END = b"\xff" * (KEY_BYTES_MAX + 1)
#: behind every seq
_SEQ_END = (1 << 63) - 1
NULL_VERSION = -1

# Each row begins with its key; the values are the bucket, the first key, the key behind and a limit.
_RANGE = "bucket_id = ?1 AND key >= ?2 AND key < ?3"
_OBJECTS_ROWS = f"SELECT {LIST_COLUMNS} FROM objects WHERE {_RANGE} ORDER BY key LIMIT ?4"
_VERSIONS_ROWS = (
    f"SELECT {ENTRY_COLUMNS} FROM objects WHERE {_RANGE}"
    f" UNION ALL SELECT {ENTRY_COLUMNS} FROM versions WHERE {_RANGE}"
    " ORDER BY key, seq DESC LIMIT ?4"
)
_UPLOADS_ROWS = (
    f"SELECT key, {UPLOAD_COLUMNS} FROM uploads WHERE {_RANGE} ORDER BY key, id LIMIT ?4"
)


def _first_key(table: str, position: str) -> str:
    return (
        f"(SELECT key FROM {table} WHERE bucket_id = ?1 AND key >= {position} AND key < ?3"
        " ORDER BY key LIMIT 1)"
    )


def _first_of_both(position: str) -> str:
    found = (f"ifnull({_first_key(table, position)}, ?3)" for table in ("objects", "versions"))
    return f"nullif(min({', '.join(found)}), ?3)"


def _skipping(first_key: Callable[[str], str]) -> str:
    """The first key of each common prefix in the range, up to and with the first plain key.

    ?4: a limit, ?5: the length of the prefix, ?6: the delimiter, ?7: what is behind the delimiter.
    instr, substr and || go by the byte, as all of them are blobs; only || makes a text of them.
    """
    at = "instr(substr(walk.key, ?5 + 1), ?6)"
    behind = f"CAST(substr(walk.key, 1, ?5 + {at} - 1) || ?7 AS BLOB)"
    return (
        f"WITH RECURSIVE walk(key) AS (SELECT {first_key('?2')}"
        f" UNION ALL SELECT {first_key(behind)} FROM walk WHERE {at} > 0)"
        " SELECT key FROM walk WHERE key IS NOT NULL LIMIT ?4"
    )


class _Source(NamedTuple):
    """The statement of the rows, and the one that skips from one common prefix to the next."""

    rows: str
    skipping: str


_OBJECTS = _Source(_OBJECTS_ROWS, _skipping(partial(_first_key, "objects")))
_VERSIONS = _Source(_VERSIONS_ROWS, _skipping(_first_of_both))
_UPLOADS = _Source(_UPLOADS_ROWS, _skipping(partial(_first_key, "uploads")))

# The rest of one key: the bucket, the key, the seq or id that was last, a limit.
_OLDER_ = "bucket_id = ?1 AND key = ?2 AND seq < ?3"
_OLDER = (
    f"SELECT {ENTRY_COLUMNS} FROM objects WHERE {_OLDER_}"
    f" UNION ALL SELECT {ENTRY_COLUMNS} FROM versions WHERE {_OLDER_}"
    " ORDER BY seq DESC LIMIT ?4"
)
_LATER = (
    f"SELECT key, {UPLOAD_COLUMNS} FROM uploads WHERE bucket_id = ?1 AND key = ?2 AND id > ?3"
    " ORDER BY id LIMIT ?4"
)
_KEY = "bucket_id = ?1 AND key = ?2"
_NULL_SEQ = (
    f"SELECT seq FROM objects WHERE {_KEY} AND is_null = 1"
    f" UNION ALL SELECT seq FROM versions WHERE {_KEY} AND is_null = 1"
)
_NEWEST_SEQ = (
    f"SELECT max((SELECT ifnull(max(seq), 0) FROM objects WHERE {_KEY}),"
    f" (SELECT ifnull(max(seq), 0) FROM versions WHERE {_KEY}))"
)

Row = tuple[Any, ...]
Run = Callable[[str, tuple[Any, ...]], Any]


class _Page(NamedTuple):
    """`last`: the last key or common prefix when truncated."""

    rows: list[Row]
    prefixes: list[bytes]
    truncated: bool
    last: bytes


_NOTHING = _Page([], [], False, b"")


def behind(prefix: bytes) -> bytes | None:
    """The first key that is behind every key with this prefix; None when there is no such key."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def behind_text(prefix: str) -> str | None:
    """The same for text, which SQLite orders by its UTF-8 bytes: by code point."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    after = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if after == 0xD800 else after)  # no surrogates in UTF-8


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
    page = _walk(run, _OBJECTS, bucket_id, prefix, delimiter, after, limit)
    entries = [
        ListEntry(
            key,
            size,
            etag.hex() if type(etag) is bytes else etag,
            modified_ms,
            row_owner or owner,
            storage_class or "STANDARD",
            algorithm or "",
            kind or "",
        )
        for key, size, etag, modified_ms, row_owner, storage_class, algorithm, kind in page.rows
    ]
    return ListPage(entries, page.prefixes, page.truncated, page.last)


def list_versions(
    run: Run,
    bucket_id: int,
    owner: str,
    prefix: bytes,
    delimiter: bytes,
    after_key: bytes,
    after_seq: int | None,
    limit: int,
) -> VersionPage:
    """See MetaReader.list_versions. The caller holds a read transaction open."""
    if limit <= 0:
        return VersionPage([], [], False, b"", 0)
    head: list[Row] = []
    newest = 0
    if after_seq is not None and _is_listed(after_key, prefix, delimiter):
        if after_seq == NULL_VERSION:
            null = run(_NULL_SEQ, (bucket_id, after_key)).fetchall()
            after_seq = null[0][0] if null else _SEQ_END
        head = run(_OLDER, (bucket_id, after_key, after_seq, limit + 1)).fetchall()
        newest = run(_NEWEST_SEQ, (bucket_id, after_key)).fetchall()[0][0]
    page = _continue(run, _VERSIONS, head, bucket_id, prefix, delimiter, after_key, limit)
    keys = [row[0] for row in page.rows]
    latest = list(map(ne, keys, [b"", *keys]))  # the first of its key, but in the midst of one:
    latest[: len(head)] = [row[8] == newest for row in page.rows[: len(head)]]
    entries = _version_entries(page.rows, latest, owner)
    next_seq = entries[-1].seq if page.truncated and entries and entries[-1].key == page.last else 0
    return VersionPage(entries, page.prefixes, page.truncated, page.last, next_seq)


def list_uploads(
    run: Run,
    bucket_id: int,
    prefix: bytes,
    delimiter: bytes,
    after_key: bytes,
    after_upload_id: int | None,
    limit: int,
) -> UploadPage:
    """See MetaReader.list_uploads. The caller holds a read transaction open."""
    if limit <= 0:
        return UploadPage([], [], False, b"", 0)
    head: list[Row] = []
    if after_upload_id is not None and _is_listed(after_key, prefix, delimiter):
        head = run(_LATER, (bucket_id, after_key, after_upload_id, limit + 1)).fetchall()
    page = _continue(run, _UPLOADS, head, bucket_id, prefix, delimiter, after_key, limit)
    uploads = [unpack_upload(row[1:]) for row in page.rows]
    next_id = uploads[-1].id if page.truncated and uploads and uploads[-1].key == page.last else 0
    return UploadPage(uploads, page.prefixes, page.truncated, page.last, next_id)


def _version_entries(rows: list[Row], latest: list[bool], owner: str) -> list[VersionEntry]:
    return [
        VersionEntry(
            key,
            seq,
            is_null == 1,
            is_latest,
            delete_marker == 1,
            size,
            etag.hex() if type(etag) is bytes else etag,
            modified_ms,
            row_owner or owner,
            storage_class or "STANDARD",
            algorithm or "",
            kind or "",
        )
        for (
            (
                key,
                size,
                etag,
                modified_ms,
                row_owner,
                storage_class,
                algorithm,
                kind,
                seq,
                is_null,
                delete_marker,
            ),
            is_latest,
        ) in zip(rows, latest, strict=True)
    ]


def _is_listed(key: bytes, prefix: bytes, delimiter: bytes) -> bool:
    """Whether `key` stands in the listing by itself."""
    return key.startswith(prefix) and _rolled_up(key, prefix, delimiter) is None


def _continue(
    run: Run,
    source: _Source,
    head: list[Row],
    bucket_id: int,
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    limit: int,
) -> _Page:
    """`head`, the rest of the key `after`, then what follows it."""
    if len(head) > limit:
        return _Page(head[:limit], [], True, after)
    page = _walk(run, source, bucket_id, prefix, delimiter, after, limit - len(head))
    last = page.last or (after if page.truncated else b"")
    return _Page(head + page.rows, page.prefixes, page.truncated, last)


def _walk(
    run: Run,
    source: _Source,
    bucket_id: int,
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    limit: int,
) -> _Page:
    """The rows with key > `after` and what is rolled up of them. limit 0: only `truncated`."""
    end = behind(prefix) or _END
    start = max(prefix, after + b"\0") if after else prefix
    if start >= end:
        return _NOTHING
    if delimiter:
        return _walk_rolled_up(run, source, bucket_id, prefix, delimiter, after, start, end, limit)
    rows = run(source.rows, (bucket_id, start, end, limit + 1)).fetchall()
    truncated = len(rows) > limit
    if truncated:
        rows.pop()
    return _Page(rows, [], truncated, rows[-1][0] if truncated and rows else b"")


def _walk_rolled_up(
    run: Run,
    source: _Source,
    bucket_id: int,
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    start: bytes,
    end: bytes,
    limit: int,
) -> _Page:
    entries: list[Row] = []
    prefixes: list[bytes] = []
    rolled = _rolled_up(after, prefix, delimiter) if after.startswith(prefix) else None
    position: bytes | None = start if rolled is None else behind(rolled)
    behind_delimiter = behind(delimiter)
    left, skipped = limit, len(prefix)
    in_a_row = 0  # common prefixes without a plain key between
    last = b""
    while position is not None and position < end:
        rows = run(source.rows, (bucket_id, position, end, -1))
        position = None  # the rows end, unless common prefixes are to be skipped by seeks
        rolled, steps = None, 0
        for row in rows:
            key = row[0]
            if rolled is not None and key.startswith(rolled):
                steps += 1
                if steps < STEPS_MAX:
                    continue
                position = behind(rolled)
                break
            if left == 0:
                return _Page(entries, prefixes, True, last)
            left -= 1
            at = key.find(delimiter, skipped)
            if at < 0:
                rolled, last = None, key
                in_a_row = 0
                entries.append(row)
            else:
                rolled = last = key[: at + len(delimiter)]
                steps = 0
                in_a_row += 1
                prefixes.append(rolled)
        if position is None or in_a_row < 2 or behind_delimiter is None:
            continue  # nothing is behind a delimiter of 0xFF bytes alone
        found = run(
            source.skipping,
            (bucket_id, position, end, left + 1, skipped, delimiter, behind_delimiter),
        ).fetchall()
        position = None
        for (key,) in found:
            at = key.find(delimiter, skipped)
            if at < 0:
                position = key
                break
            if left == 0:
                return _Page(entries, prefixes, True, last)
            left -= 1
            last = key[: at + len(delimiter)]
            prefixes.append(last)
    return _Page(entries, prefixes, False, b"")


def _rolled_up(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix that hides `key`, or None."""
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if at < 0 else key[: at + len(delimiter)]
