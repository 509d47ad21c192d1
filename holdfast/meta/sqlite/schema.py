"""The database file: how it is made, opened for writing, and brought to the current format.

Rule: a format number is `PRAGMA user_version`; migration N leads from format N to N + 1, each in
one transaction. A file of a newer format, or of another program, is refused and left as it is. Page
size and auto-vacuum can't change later; docs/measurements/metadata.md says why.
Only apsw opens this file: another SQLite library in the process would drop its locks on closing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import apsw

APPLICATION_ID = 0x48464D31  # "HFM1"
SQLITE_VERSION_MIN = (3, 51, 3)  # older ones can lose a WAL reset that races with a checkpoint
PAGE_BYTES = 4096
BUSY_MS_MAX = 5_000

# Owner NULL is the bucket's owner, storage class NULL is STANDARD, an ETag of 32 hexadecimal digits
# is kept as 16 bytes, `extra` is what a listing never needs. Empty columns cost one byte each.
_VERSION_COLUMNS = """
    bucket_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    seq INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag ANY NOT NULL,
    modified_ms INTEGER NOT NULL,
    owner TEXT,
    storage_class TEXT,
    checksum_algorithm TEXT,
    checksum_type TEXT,
    checksum TEXT,
    blob_id INTEGER,
    parts_id INTEGER,
    parts_count INTEGER,
    is_null INTEGER NOT NULL,
    delete_marker INTEGER NOT NULL,
    extra BLOB
"""

_FORMAT_1 = f"""
CREATE TABLE buckets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    region TEXT NOT NULL,
    versioning TEXT NOT NULL,
    object_lock INTEGER NOT NULL,
    deleted_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX buckets_by_name ON buckets (name) WHERE deleted_ms IS NULL;
CREATE INDEX buckets_by_owner ON buckets (owner, name) WHERE deleted_ms IS NULL;
CREATE INDEX buckets_deleted ON buckets (id) WHERE deleted_ms IS NOT NULL;

-- current versions that are not delete markers: all that a plain listing walks over
CREATE TABLE objects ({_VERSION_COLUMNS}, PRIMARY KEY (bucket_id, key)) STRICT, WITHOUT ROWID;
-- all other versions and the delete markers, newest first per key
CREATE TABLE versions (
    {_VERSION_COLUMNS}, PRIMARY KEY (bucket_id, key, seq DESC)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX versions_null ON versions (bucket_id, key) WHERE is_null = 1;

-- small content of versions and parts, appended in the order of seq
CREATE TABLE inline (seq INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;

CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    bucket_id INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    n INTEGER NOT NULL,
    size INTEGER NOT NULL,
    refs INTEGER NOT NULL CHECK (refs >= 0),
    gone_ms INTEGER,
    codec TEXT,
    encryption BLOB
) STRICT;
CREATE UNIQUE INDEX blobs_live ON blobs (bucket_id, sha256) WHERE gone_ms IS NULL;
CREATE INDEX blobs_going ON blobs (gone_ms) WHERE gone_ms IS NOT NULL;
CREATE INDEX blobs_going_of ON blobs (bucket_id, sha256) WHERE gone_ms IS NOT NULL;

-- lists of parts: of uploads and of versions; going: nothing uses it, its parts are to be reaped
CREATE TABLE part_lists (
    id INTEGER PRIMARY KEY,
    bucket_id INTEGER NOT NULL,
    going INTEGER NOT NULL
) STRICT;
CREATE INDEX part_lists_going ON part_lists (bucket_id, id) WHERE going = 1;
CREATE TABLE parts (
    parts_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag ANY NOT NULL,
    modified_ms INTEGER NOT NULL,
    blob_id INTEGER,
    checksum_algorithm TEXT,
    checksum TEXT,
    PRIMARY KEY (parts_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE uploads (
    id INTEGER PRIMARY KEY,
    bucket_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    token BLOB NOT NULL,
    owner TEXT NOT NULL,
    initiated_ms INTEGER NOT NULL,
    storage_class TEXT,
    checksum_algorithm TEXT,
    checksum_type TEXT,
    extra BLOB
) STRICT;
CREATE INDEX uploads_by_key ON uploads (bucket_id, key, id);
CREATE INDEX uploads_by_age ON uploads (initiated_ms);

CREATE TABLE documents (
    bucket_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (bucket_id, kind)
) STRICT, WITHOUT ROWID;

-- results that a client may still ask for, one row per session; last_seq: the sequence so far
CREATE TABLE outcomes (
    session BLOB PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    results BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""


class SchemaError(Exception):
    """The file can't be used by this program: the message says why."""


def _create(connection: apsw.Connection) -> None:
    connection.execute(_FORMAT_1)


Migration = Callable[[apsw.Connection], None]
#: migration N leads from format N to format N + 1; an empty file is format 0
MIGRATIONS: tuple[Migration, ...] = (_create,)


def check_library() -> None:
    """Raises SchemaError when the SQLite in use is too old to be trusted with this file."""
    have = tuple(int(part) for part in apsw.sqlite_lib_version().split(".")[:3])
    if have < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        raise SchemaError(
            f"SQLite {apsw.sqlite_lib_version()} is too old: {wanted} or newer is needed"
        )


def open_writer(
    path: Path,
    *,
    durable: bool = True,
    vfs: str | None = None,
    migrations: tuple[Migration, ...] = MIGRATIONS,
) -> apsw.Connection:
    """The writing connection, with the file made or migrated first. Raises SchemaError.

    durable: every commit is synced before it returns; else only checkpoints are.
    """
    check_library()
    connection = apsw.Connection(str(path), vfs=vfs)
    try:
        settle(connection)
        _check_format(connection, len(migrations))
        if not os.path.getsize(path):
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        keep_wal(connection)
        _migrate(connection, migrations)
        sync_directory(path.parent)
    except BaseException:
        connection.close()
        raise
    return connection


def settle(connection: apsw.Connection) -> None:
    """What every connection that runs queries needs."""
    connection.set_busy_timeout(BUSY_MS_MAX)
    # Else SQLite looks at bound values when it plans (for the partial indexes), and so prepares a
    # statement anew for every new value: five times the cost of running it.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def keep_wal(connection: apsw.Connection) -> None:
    """Leave the WAL in place on closing, so that no directory entry changes from then on."""
    connection.pragma("wal_autocheckpoint", 0)
    flag = bytearray((1).to_bytes(4, "little"))
    _file_control_int(connection, apsw.SQLITE_FCNTL_PERSIST_WAL, flag)


def _file_control_int(connection: apsw.Connection, op: int, value: bytearray) -> None:
    import ctypes

    pointed = ctypes.c_int.from_buffer(value)
    connection.file_control("main", op, ctypes.addressof(pointed))


def _format(connection: apsw.Connection) -> int:
    value = connection.pragma("user_version")
    assert isinstance(value, int)
    return value


def _check_format(connection: apsw.Connection, newest: int) -> None:
    application = connection.pragma("application_id")
    found = _format(connection)
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0]
    if application != APPLICATION_ID and (application or found or tables):
        raise SchemaError("the file is not Holdfast's metadata")
    if found > newest:
        raise SchemaError(
            f"the metadata has format {found}, this program knows {newest}: use a newer Holdfast"
        )


def _migrate(connection: apsw.Connection, migrations: tuple[Migration, ...]) -> None:
    for number in range(_format(connection), len(migrations)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrations[number](connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
