"""The state that decisions look at, read inside the committer's transaction."""

from __future__ import annotations

from typing import Any

import apsw

from holdfast.meta.effects import PartRow
from holdfast.meta.records import Blob, Bucket, ObjectVersion, Upload
from holdfast.meta.sqlite.rows import (
    BLOB_COLUMNS,
    BUCKET_COLUMNS,
    PART_COLUMNS,
    STATE_COLUMNS,
    UPLOAD_COLUMNS,
    VERSION_COLUMNS,
    VERSION_COLUMNS_COUNT,
    unpack_blob,
    unpack_bucket,
    unpack_part_row,
    unpack_state,
    unpack_upload,
    unpack_version,
)
from holdfast.meta.state import VersionState

BUCKETS_CACHED_MAX = 10_000


class SqliteState:
    """Implements `holdfast.meta.state.State`. Every query is read to its end at once.

    `buckets` caches rows by id: the committer is the only writer, and forgets them whenever a
    bucket changes or a transaction is rolled back.
    """

    __slots__ = ("_run", "buckets")

    def __init__(self, connection: apsw.Connection) -> None:
        self._run = connection.cursor().execute
        self.buckets: dict[int, Bucket] = {}

    def _one(self, sql: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        rows = self._run(sql, values).fetchall()
        return rows[0] if rows else None

    def bucket(self, bucket_id: int) -> Bucket | None:
        bucket = self.buckets.get(bucket_id)
        if bucket is None:
            row = self._one(
                f"SELECT {BUCKET_COLUMNS} FROM buckets WHERE id = ? AND deleted_ms IS NULL",
                (bucket_id,),
            )
            if row is None:
                return None
            if len(self.buckets) >= BUCKETS_CACHED_MAX:
                self.buckets.clear()
            bucket = self.buckets[bucket_id] = unpack_bucket(row)
        return bucket

    def bucket_named(self, name: str) -> Bucket | None:
        row = self._one(
            f"SELECT {BUCKET_COLUMNS} FROM buckets WHERE name = ? AND deleted_ms IS NULL", (name,)
        )
        return None if row is None else unpack_bucket(row)

    def buckets_owned(self, owner: str) -> int:
        row = self._one(
            "SELECT count(*) FROM buckets WHERE owner = ? AND deleted_ms IS NULL", (owner,)
        )
        return 0 if row is None else int(row[0])

    def next_bucket_id(self) -> int:
        row = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'buckets'", ())
        return 1 if row is None else int(row[0]) + 1

    def bucket_is_empty(self, bucket_id: int) -> bool:
        row = self._one(
            "SELECT EXISTS (SELECT 1 FROM objects WHERE bucket_id = ?1)"
            " OR EXISTS (SELECT 1 FROM versions WHERE bucket_id = ?1)"
            " OR EXISTS (SELECT 1 FROM uploads WHERE bucket_id = ?1)",
            (bucket_id,),
        )
        return row == (0,)

    def deleted_bucket(self, directory: str) -> int | None:
        name, _, number = directory.rpartition("-")
        if not number.isdecimal() or len(number) > 18:
            return None
        row = self._one(
            "SELECT k.id FROM buckets k WHERE k.id = ? AND k.name = ? AND k.deleted_ms IS NOT NULL"
            f" AND {DIRECTORY_IS_EMPTY}",
            (int(number), name),
        )
        return None if row is None else int(row[0])

    def current(self, bucket_id: int, key: bytes) -> VersionState | None:
        row = self._one(
            f"SELECT {STATE_COLUMNS} FROM objects WHERE bucket_id = ? AND key = ?",
            (bucket_id, key),
        )
        return None if row is None else unpack_state(row)

    def others(self, bucket_id: int, key: bytes, limit: int) -> list[VersionState]:
        rows = self._run(
            f"SELECT {STATE_COLUMNS} FROM versions WHERE bucket_id = ? AND key = ?"
            " ORDER BY seq DESC LIMIT ?",
            (bucket_id, key, limit),
        ).fetchall()
        return [unpack_state(row) for row in rows]

    def other(self, bucket_id: int, key: bytes, seq: int) -> VersionState | None:
        row = self._one(
            f"SELECT {STATE_COLUMNS} FROM versions WHERE bucket_id = ? AND key = ? AND seq = ?",
            (bucket_id, key, seq),
        )
        return None if row is None else unpack_state(row)

    def other_null(self, bucket_id: int, key: bytes) -> VersionState | None:
        row = self._one(
            f"SELECT {STATE_COLUMNS} FROM versions WHERE bucket_id = ? AND key = ? AND is_null = 1",
            (bucket_id, key),
        )
        return None if row is None else unpack_state(row)

    def version(self, bucket_id: int, key: bytes, seq: int) -> ObjectVersion | None:
        bucket = self.bucket(bucket_id)
        if bucket is None:
            return None
        for table in ("objects", "versions"):
            row = self._one(
                f"SELECT {VERSION_COLUMNS}, {BLOB_COLUMNS} FROM {table} v"
                " LEFT JOIN blobs b ON b.id = v.blob_id"
                " WHERE v.bucket_id = ? AND v.key = ? AND v.seq = ?",
                (bucket_id, key, seq),
            )
            if row is not None:
                packed = row[VERSION_COLUMNS_COUNT:]
                blob = unpack_blob(packed) if packed[0] is not None else None
                return unpack_version(bucket_id, row, blob, bucket.owner)
        return None

    def live_blob(self, bucket_id: int, sha256: bytes) -> Blob | None:
        row = self._one(
            f"SELECT {BLOB_COLUMNS} FROM blobs b"
            " WHERE b.bucket_id = ? AND b.sha256 = ? AND b.gone_ms IS NULL",
            (bucket_id, sha256),
        )
        return None if row is None else unpack_blob(row)

    def live_blob_by_id(self, bucket_id: int, blob_id: int) -> Blob | None:
        row = self._one(
            f"SELECT {BLOB_COLUMNS} FROM blobs b"
            " WHERE b.id = ? AND b.bucket_id = ? AND b.gone_ms IS NULL",
            (blob_id, bucket_id),
        )
        return None if row is None else unpack_blob(row)

    def blob_is_going(self, blob_id: int) -> bool:
        sql = "SELECT 1 FROM blobs WHERE id = ? AND gone_ms IS NOT NULL"
        return self._one(sql, (blob_id,)) is not None

    def part_list(self, parts_id: int) -> int | None:
        row = self._one("SELECT bucket_id FROM part_lists WHERE id = ? AND going = 0", (parts_id,))
        return None if row is None else int(row[0])

    def going_part_list(self) -> int | None:
        row = self._one("SELECT id FROM part_lists WHERE going = 1 LIMIT 1", ())
        return None if row is None else int(row[0])

    def parts(self, parts_id: int, limit: int) -> list[PartRow]:
        rows = self._run(
            f"SELECT {PART_COLUMNS} FROM parts WHERE parts_id = ? ORDER BY number LIMIT ?",
            (parts_id, limit),
        ).fetchall()
        return [unpack_part_row(row) for row in rows]

    def part_seqs(self, parts_id: int, limit: int) -> list[tuple[int, int]]:
        sql = "SELECT number, seq FROM parts WHERE parts_id = ? ORDER BY number LIMIT ?"
        rows: list[Any] = self._run(sql, (parts_id, limit)).fetchall()
        return rows

    def newest_part_ms(self, parts_id: int) -> int:
        row = self._one("SELECT max(modified_ms) FROM parts WHERE parts_id = ?", (parts_id,))
        return 0 if row is None or row[0] is None else int(row[0])

    def part(self, parts_id: int, number: int) -> PartRow | None:
        row = self._one(
            f"SELECT {PART_COLUMNS} FROM parts WHERE parts_id = ? AND number = ?",
            (parts_id, number),
        )
        return None if row is None else unpack_part_row(row)

    def upload(self, bucket_id: int, upload_id: int) -> Upload | None:
        row = self._one(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE id = ? AND bucket_id = ?",
            (upload_id, bucket_id),
        )
        return None if row is None else unpack_upload(row)


#: of a row `k` of buckets: nothing in the metadata refers to its directory any more
DIRECTORY_IS_EMPTY = (
    "NOT EXISTS (SELECT 1 FROM blobs WHERE bucket_id = k.id AND gone_ms IS NULL)"
    " AND NOT EXISTS (SELECT 1 FROM blobs WHERE bucket_id = k.id AND gone_ms IS NOT NULL)"
    " AND NOT EXISTS (SELECT 1 FROM part_lists WHERE bucket_id = k.id AND going = 1)"
)
