"""What must hold between the tables, looked up row by row against each other.

Every query lets SQLite sort and group (it spills to temporary files), so memory stays bounded
however large the store is; so does the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw

from holdfast.meta.contract import DAMAGED, Problem

PROBLEMS_MAX = 1_000

Run = Callable[[str], Any]

_REFERENCES = """
    SELECT blob_id, count(*) AS counted FROM (
        SELECT blob_id FROM objects WHERE blob_id IS NOT NULL
        UNION ALL SELECT blob_id FROM versions WHERE blob_id IS NOT NULL
        UNION ALL SELECT blob_id FROM parts WHERE blob_id IS NOT NULL
    ) GROUP BY blob_id
"""
_INLINE_OWNERS = """
    SELECT seq, size FROM objects WHERE blob_id IS NULL AND parts_id IS NULL AND size > 0
    UNION ALL
    SELECT seq, size FROM versions WHERE blob_id IS NULL AND parts_id IS NULL AND size > 0
    UNION ALL SELECT seq, size FROM parts WHERE blob_id IS NULL AND size > 0
"""
_LIST_OWNERS = """
    SELECT parts_id, bucket_id FROM objects WHERE parts_id IS NOT NULL
    UNION ALL SELECT parts_id, bucket_id FROM versions WHERE parts_id IS NOT NULL
    UNION ALL SELECT id, bucket_id FROM uploads
"""

#: (kind, repairable, a query whose rows are the details)
_QUERIES: tuple[tuple[str, bool, str], ...] = (
    (
        "wrong reference count",
        True,
        f"""SELECT 'blob ' || b.id || ' has ' || b.refs || ' references, counted '
            || ifnull(r.counted, 0)
            FROM blobs b LEFT JOIN ({_REFERENCES}) r ON r.blob_id = b.id
            WHERE b.refs <> ifnull(r.counted, 0)""",
    ),
    (
        "blob neither live nor going",
        True,
        "SELECT 'blob ' || id FROM blobs WHERE (refs = 0) <> (gone_ms IS NOT NULL)",
    ),
    (
        "missing blob",
        False,
        f"""SELECT 'blob ' || r.blob_id || ' is used ' || r.counted || ' times'
            FROM ({_REFERENCES}) r LEFT JOIN blobs b ON b.id = r.blob_id WHERE b.id IS NULL""",
    ),
    (
        "content of another bucket",
        False,
        """SELECT 'blob ' || b.id || ' in bucket ' || u.bucket_id FROM (
            SELECT bucket_id, blob_id FROM objects WHERE blob_id IS NOT NULL
            UNION ALL SELECT bucket_id, blob_id FROM versions WHERE blob_id IS NOT NULL
            UNION ALL SELECT l.bucket_id, p.blob_id FROM parts p
                JOIN part_lists l ON l.id = p.parts_id WHERE p.blob_id IS NOT NULL
            ) u JOIN blobs b ON b.id = u.blob_id WHERE b.bucket_id <> u.bucket_id""",
    ),
    (
        "missing inline data",
        False,
        f"""SELECT 'seq ' || o.seq FROM ({_INLINE_OWNERS}) o LEFT JOIN inline i ON i.seq = o.seq
            WHERE i.seq IS NULL OR length(i.data) <> o.size""",
    ),
    (
        "inline data without owner",
        True,
        f"""SELECT 'seq ' || i.seq FROM inline i
            LEFT JOIN (SELECT seq FROM ({_INLINE_OWNERS}) GROUP BY seq) o ON o.seq = i.seq
            WHERE o.seq IS NULL""",
    ),
    (
        "inline data with several owners",
        False,
        f"SELECT 'seq ' || seq FROM ({_INLINE_OWNERS}) GROUP BY seq HAVING count(*) > 1",
    ),
    (
        "missing list of parts",
        False,
        f"""SELECT 'list ' || o.parts_id FROM ({_LIST_OWNERS}) o
            LEFT JOIN part_lists l ON l.id = o.parts_id
            WHERE l.id IS NULL OR l.going = 1 OR l.bucket_id <> o.bucket_id""",
    ),
    (
        "list of parts without owner",
        True,
        f"""SELECT 'list ' || l.id FROM part_lists l
            LEFT JOIN ({_LIST_OWNERS}) o ON o.parts_id = l.id
            WHERE l.going = 0 AND o.parts_id IS NULL""",
    ),
    (
        "list of parts with several owners",
        False,
        f"SELECT 'list ' || parts_id FROM ({_LIST_OWNERS}) GROUP BY parts_id HAVING count(*) > 1",
    ),
    (
        "parts without list",
        True,
        """SELECT 'list ' || p.parts_id || ' part ' || p.number FROM parts p
            LEFT JOIN part_lists l ON l.id = p.parts_id WHERE l.id IS NULL""",
    ),
    (
        "wrong number of parts",
        False,
        """SELECT 'list ' || v.parts_id FROM (
            SELECT parts_id, parts_count FROM objects WHERE parts_id IS NOT NULL
            UNION ALL SELECT parts_id, parts_count FROM versions WHERE parts_id IS NOT NULL
            ) v WHERE v.parts_count <>
            (SELECT count(*) FROM parts p WHERE p.parts_id = v.parts_id)""",
    ),
    (
        "row of no bucket",
        False,
        """SELECT u.what || ' of bucket ' || u.bucket_id FROM (
            SELECT DISTINCT 'object' AS what, bucket_id, 0 AS dead FROM objects
            UNION ALL SELECT DISTINCT 'version', bucket_id, 0 FROM versions
            UNION ALL SELECT DISTINCT 'upload', bucket_id, 0 FROM uploads
            UNION ALL SELECT DISTINCT 'document', bucket_id, 0 FROM documents WHERE bucket_id <> 0
            UNION ALL SELECT DISTINCT 'blob', bucket_id, 1 FROM blobs
            UNION ALL SELECT DISTINCT 'list', bucket_id, 1 FROM part_lists
            ) u LEFT JOIN buckets k ON k.id = u.bucket_id
            WHERE k.id IS NULL OR (k.deleted_ms IS NOT NULL AND NOT u.dead)""",
    ),
    (
        "delete marker as current version",
        False,
        "SELECT 'seq ' || seq FROM objects WHERE delete_marker = 1",
    ),
    (
        "current version that is not the newest",
        False,
        """SELECT 'seq ' || o.seq FROM objects o JOIN versions v
            ON v.bucket_id = o.bucket_id AND v.key = o.key WHERE v.seq > o.seq""",
    ),
    (
        "hidden version without delete marker",
        False,
        """SELECT 'seq ' || seq FROM (
            SELECT bucket_id, key, max(seq) AS seq, delete_marker FROM versions
            GROUP BY bucket_id, key
            ) v WHERE v.delete_marker = 0 AND NOT EXISTS (SELECT 1 FROM objects o
            WHERE o.bucket_id = v.bucket_id AND o.key = v.key)""",
    ),
    (
        "two null versions",
        False,
        """SELECT 'seq ' || o.seq FROM objects o JOIN versions v
            ON v.bucket_id = o.bucket_id AND v.key = o.key
            WHERE o.is_null = 1 AND v.is_null = 1""",
    ),
)


def damage_of(error: BaseException | None) -> Problem | None:
    """The problem when it is the file that is damaged or can't be read, else None."""
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.IOError):
        return Problem(DAMAGED, str(error), False)
    return None


def check(run: Run) -> list[Problem]:
    """At most PROBLEMS_MAX problems. The caller holds a read transaction open. What stands on
    damaged pages raises apsw.Error; the other findings of such a file mean little."""
    problems: list[Problem] = []
    for (detail,) in run(f"PRAGMA integrity_check({PROBLEMS_MAX})").fetchall():
        if detail != "ok":
            problems.append(Problem(DAMAGED, detail, False))
    if problems:
        return problems  # the tables can't be trusted against each other
    for kind, repairable, query in _QUERIES:
        room = PROBLEMS_MAX - len(problems)
        if room <= 0:
            break
        rows = run(f"{query} LIMIT {room}").fetchall()
        problems += [Problem(kind, str(detail), repairable) for (detail,) in rows]
    return problems
