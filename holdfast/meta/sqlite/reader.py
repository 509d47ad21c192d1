"""Reads, straight from the database through a read-only connection of this process.

Rule: a read never waits for another process, so none of these coroutines ever suspends. A call that
needs more than one statement runs in one read transaction; every statement is read to its end or
reset at once, so that no snapshot outlives its call and holds back the WAL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from holdfast.meta.contract import Found, Problem
from holdfast.meta.records import (
    Blob,
    Bucket,
    ListPage,
    Part,
    Upload,
    UploadPage,
    VersionPage,
)
from holdfast.meta.sqlite.check import check, damage_of
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.listing import (
    NULL_VERSION,
    behind_text,
    list_objects,
    list_uploads,
    list_versions,
)
from holdfast.meta.sqlite.recent import RecentReads
from holdfast.meta.sqlite.rows import (
    BLOB_COLUMNS,
    BUCKET_COLUMNS,
    PART_COLUMNS,
    UPLOAD_COLUMNS,
    VERSION_COLUMNS,
    unpack_blob,
    unpack_bucket,
    unpack_part,
    unpack_upload,
    unpack_version,
)
from holdfast.meta.sqlite.schema import check_library, settle
from holdfast.meta.sqlite.state import DIRECTORY_IS_EMPTY

BUCKETS_CACHED_MAX = 10_000
CACHE_BYTES_MAX = 16 << 20
BUCKET_ID_DIGITS_MAX = 18  # what SQLite's integers can hold

_BLOB_AT = 15  # where the blob's columns begin behind VERSION_COLUMNS
_DATA_AT = _BLOB_AT + 7
_PART_BLOB_AT = 9

_BLOB_JOIN = "LEFT JOIN blobs b ON b.id = v.blob_id"
_DATA_JOIN = "LEFT JOIN inline i ON i.seq = v.seq AND v.blob_id IS NULL AND v.parts_id IS NULL"
_KEY = "WHERE v.bucket_id = ? AND v.key = ?"
# written out once: a statement is looked up by its text, whose hash is kept with it
_PLAIN, _WITH_DATA = (
    {
        table: f"SELECT {VERSION_COLUMNS}, {BLOB_COLUMNS}, {data} FROM {table} v {joins} {_KEY}"
        for table in ("objects", "versions")
    }
    for data, joins in (("NULL", _BLOB_JOIN), ("i.data", f"{_BLOB_JOIN} {_DATA_JOIN}"))
)
_FILE = "SELECT 1 FROM blobs b WHERE b.bucket_id = :bucket_id AND b.sha256 = :sha256 AND b.n = :n"


class SqliteReader:
    """Implements MetaReader. Made after forking, once the committer has opened the database; used
    by one thread at a time."""

    def __init__(self, path: Path, counters: Counters, *, recent_bytes_max: int = 0) -> None:
        """`recent_bytes_max`: of rows and content that are kept; only where `counters` are shared with
        the committer."""
        check_library()
        self._counters = counters
        # No locks: one thread at a time uses a reader, and they cost a page of 1,000 keys a sixth.
        self._connection = apsw.Connection(
            str(path), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOMUTEX
        )
        settle(self._connection)
        self._connection.pragma("cache_size", -(CACHE_BYTES_MAX // 1024))
        self._run = self._connection.cursor().execute
        self._recent = RecentReads(counters.marks, recent_bytes_max)
        self._config = -1
        self._buckets: dict[str, Bucket | None] = {}
        self._owners: dict[int, str] = {}  # a bucket's owner never changes, nor is its id reused

    def close_reader(self) -> None:
        self._connection.close()

    def _rows(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        return self._run(sql, values).fetchall()

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._run("BEGIN")
        try:
            yield
        finally:
            self._run("COMMIT")

    def generation(self) -> int:
        return self._counters.config

    # -- buckets -------------------------------------------------------------------------------

    async def bucket(self, name: str) -> Bucket | None:
        config = self._counters.config  # read before the row: a change in between shows later
        if config != self._config or len(self._buckets) > BUCKETS_CACHED_MAX:
            self._buckets.clear()
            self._config = config
        try:
            return self._buckets[name]
        except KeyError:
            pass
        rows = self._rows(
            f"SELECT {BUCKET_COLUMNS} FROM buckets WHERE name = ? AND deleted_ms IS NULL", (name,)
        )
        found = self._buckets[name] = unpack_bucket(rows[0]) if rows else None
        return found

    async def list_buckets(
        self, owner: str | None, prefix: str = "", after: str = "", limit: int = 10_000
    ) -> list[Bucket]:
        whose = "" if owner is None else "AND owner = :owner "
        rows = self._rows(
            f"SELECT {BUCKET_COLUMNS} FROM buckets WHERE deleted_ms IS NULL {whose}"
            "AND name > :after AND name >= :prefix AND substr(name, 1, length(:prefix)) = :prefix"
            " ORDER BY name LIMIT :limit",
            {"owner": owner, "after": after, "prefix": prefix, "limit": limit},
        )
        return [unpack_bucket(row) for row in rows]

    def _owner(self, bucket_id: int) -> str:
        owner = self._owners.get(bucket_id)
        if owner is None:
            rows = self._rows("SELECT owner FROM buckets WHERE id = ?", (bucket_id,))
            if not rows:
                return ""
            if len(self._owners) >= BUCKETS_CACHED_MAX:
                self._owners.clear()
            owner = self._owners[bucket_id] = rows[0][0]
        return owner

    # -- versions ------------------------------------------------------------------------------

    async def find(
        self, bucket_id: int, key: bytes, seq: int = 0, with_data: bool = False
    ) -> Found | None:
        select = _WITH_DATA if with_data else _PLAIN
        if seq == 0:
            mark = self._recent.get(bucket_id, key, with_data)
            if not isinstance(mark, int):
                return mark
            # Nearly always this one statement is all.
            rows = self._rows(select["objects"], (bucket_id, key))
            if rows:
                found = self._found(bucket_id, rows[0])
                self._recent.keep(bucket_id, key, with_data, mark, found)
                return found
            return self._find_marker(bucket_id, key, select)
        which, values = " AND v.seq = ?", (bucket_id, key, seq)
        if seq == NULL_VERSION:
            which, values = " AND v.is_null = ?", (bucket_id, key, 1)
        with self._snapshot():
            for table in ("objects", "versions"):
                rows = self._rows(select[table] + which, values)
                if rows:
                    return self._found(bucket_id, rows[0])
        return None

    def _find_marker(self, bucket_id: int, key: bytes, select: dict[str, str]) -> Found | None:
        """The key had no current row a moment ago: look at both tables in one snapshot."""
        newest = " ORDER BY v.seq DESC LIMIT 1"
        with self._snapshot():
            rows = self._rows(select["objects"], (bucket_id, key))
            if not rows:
                rows = self._rows(select["versions"] + newest, (bucket_id, key))
            return self._found(bucket_id, rows[0]) if rows else None

    def _found(self, bucket_id: int, row: tuple[Any, ...]) -> Found:
        blob = None
        if row[_BLOB_AT] is not None:
            blob = unpack_blob(row[_BLOB_AT:_DATA_AT])
        owner = "" if row[5] is not None else self._owner(bucket_id)
        return Found(unpack_version(bucket_id, row, blob, owner), row[_DATA_AT])

    async def list_objects(
        self, bucket_id: int, prefix: bytes, delimiter: bytes, after: bytes, limit: int
    ) -> ListPage:
        owner = self._owner(bucket_id)
        if not delimiter:
            return list_objects(self._run, bucket_id, owner, prefix, delimiter, after, limit)
        with self._snapshot():
            return list_objects(self._run, bucket_id, owner, prefix, delimiter, after, limit)

    async def list_versions(
        self,
        bucket_id: int,
        prefix: bytes,
        delimiter: bytes,
        after_key: bytes,
        after_seq: int | None,
        limit: int,
    ) -> VersionPage:
        owner = self._owner(bucket_id)
        with self._snapshot():
            return list_versions(
                self._run, bucket_id, owner, prefix, delimiter, after_key, after_seq, limit
            )

    async def list_uploads(
        self,
        bucket_id: int,
        prefix: bytes,
        delimiter: bytes,
        after_key: bytes,
        after_upload_id: int | None,
        limit: int,
    ) -> UploadPage:
        with self._snapshot():
            return list_uploads(
                self._run, bucket_id, prefix, delimiter, after_key, after_upload_id, limit
            )

    async def inline_data(self, seq: int) -> bytes | None:
        rows = self._rows("SELECT data FROM inline WHERE seq = ?", (seq,))
        return rows[0][0] if rows else None

    # -- parts and uploads ---------------------------------------------------------------------

    async def parts(self, parts_id: int, after_number: int = 0, limit: int = 10_000) -> list[Part]:
        columns = ", ".join(f"p.{column.strip()}" for column in PART_COLUMNS.split(","))
        rows = self._rows(
            f"SELECT {columns}, {BLOB_COLUMNS} FROM parts p"
            " LEFT JOIN blobs b ON b.id = p.blob_id"
            " WHERE p.parts_id = ? AND p.number > ? ORDER BY p.number LIMIT ?",
            (parts_id, after_number, limit),
        )
        return [unpack_part(row, _blob_of(row)) for row in rows]

    async def part_sizes(self, parts_id: int) -> list[tuple[int, int]]:
        return self._rows(
            "SELECT number, size FROM parts WHERE parts_id = ? ORDER BY number", (parts_id,)
        )

    async def upload(self, bucket_id: int, upload_id: int) -> Upload | None:
        rows = self._rows(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE id = ? AND bucket_id = ?",
            (upload_id, bucket_id),
        )
        return unpack_upload(rows[0]) if rows else None

    async def expired_uploads(
        self, before_ms: int, limit: int, after: Upload | None = None
    ) -> list[Upload]:
        last = (-1, -1) if after is None else (after.initiated_ms, after.id)
        rows = self._rows(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE initiated_ms < ?"
            " AND (initiated_ms, id) > (?, ?) ORDER BY initiated_ms, id LIMIT ?",
            (before_ms, *last, limit),
        )
        return [unpack_upload(row) for row in rows]

    async def document(self, bucket_id: int, kind: str) -> bytes | None:
        rows = self._rows(
            "SELECT body FROM documents WHERE bucket_id = ? AND kind = ?", (bucket_id, kind)
        )
        return rows[0][0] if rows else None

    async def documents(
        self, bucket_id: int, kind_prefix: str, after_kind: str = "", limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        end = behind_text(kind_prefix)
        return self._rows(
            "SELECT kind, body FROM documents WHERE bucket_id = :bucket_id AND kind > :after"
            f" AND kind >= :prefix {'' if end is None else 'AND kind < :end'}"
            " ORDER BY kind LIMIT :limit",
            {
                "bucket_id": bucket_id,
                "after": after_kind,
                "prefix": kind_prefix,
                "end": end,
                "limit": limit,
            },
        )

    # -- for the collector ---------------------------------------------------------------------

    async def going_blobs(self, before_ms: int, limit: int) -> list[tuple[Blob, str]]:
        rows = self._rows(
            f"SELECT {BLOB_COLUMNS}, k.name || '-' || k.id FROM blobs b"
            " JOIN buckets k ON k.id = b.bucket_id"
            " WHERE b.gone_ms < ? ORDER BY b.gone_ms LIMIT ?",
            (before_ms, limit),
        )
        return [(unpack_blob(row[:7]), row[7]) for row in rows]

    async def blobs_after(self, blob_id: int, limit: int) -> list[tuple[Blob, str, int]]:
        rows = self._rows(
            f"SELECT {BLOB_COLUMNS}, k.name || '-' || k.id, b.refs FROM blobs b"
            " JOIN buckets k ON k.id = b.bucket_id"
            " WHERE b.id > ? AND b.gone_ms IS NULL ORDER BY b.id LIMIT ?",
            (blob_id, limit),
        )
        return [(unpack_blob(row[:7]), row[7], row[8]) for row in rows]

    async def has_blob(self, bucket_dir: str, sha256: bytes, n: int) -> bool:
        name, _, number = bucket_dir.rpartition("-")
        if not number.isascii() or not number.isdigit() or len(number) > BUCKET_ID_DIGITS_MAX:
            return False
        bucket_id = int(number)
        # Two indexes, one for each half: none covers live and going rows together.
        rows = self._rows(
            f"SELECT 1 FROM ({_FILE} AND b.gone_ms IS NULL UNION ALL"
            f" {_FILE} AND b.gone_ms IS NOT NULL) JOIN buckets k ON k.id = :bucket_id"
            " WHERE k.name = :name LIMIT 1",
            {"bucket_id": bucket_id, "sha256": sha256, "n": n, "name": name},
        )
        return bool(rows)

    async def deleted_bucket_directories(self, limit: int) -> list[str]:
        rows = self._rows(
            "SELECT k.name || '-' || k.id FROM buckets k WHERE k.deleted_ms IS NOT NULL"
            f" AND {DIRECTORY_IS_EMPTY} ORDER BY k.id LIMIT ?",
            (limit,),
        )
        return [row[0] for row in rows]

    async def check(self) -> list[Problem]:
        try:
            with self._snapshot():
                return check(self._run)
        except apsw.Error as error:
            problem = damage_of(error)
            if problem is None:
                raise
            return [problem]


def _blob_of(row: tuple[Any, ...]) -> Blob | None:
    return unpack_blob(row[_PART_BLOB_AT:]) if row[_PART_BLOB_AT] is not None else None
