"""How the file is made, refused and migrated."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from holdfast.meta.sqlite import schema
from holdfast.meta.sqlite.committer import Committer, CommitterRunning
from holdfast.meta.sqlite.schema import APPLICATION_ID, MIGRATIONS, SchemaError, open_writer
from tests.meta.running import Running


def test_a_new_file(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "holdfast.db")
    expected = {
        "application_id": APPLICATION_ID,
        "user_version": 1,
        "page_size": schema.PAGE_BYTES,
        "auto_vacuum": 2,
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": 0,
    }
    assert {name: connection.pragma(name) for name in expected} == expected
    assert connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, -1) == 1
    connection.close()
    relaxed = open_writer(tmp_path / "holdfast.db", durable=False)
    assert relaxed.pragma("synchronous") == 1
    relaxed.close()


def test_the_wal_stays_when_the_last_connection_closes(tmp_path: Path) -> None:
    open_writer(tmp_path / "holdfast.db").close()
    assert (tmp_path / "holdfast.db-wal").exists()


def add_column(connection: apsw.Connection) -> None:
    connection.execute("ALTER TABLE buckets ADD COLUMN later TEXT")


def fail(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE half_done (x)")
    raise RuntimeError("it broke")


def test_migrations_run_once_in_order(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    open_writer(path).close()
    for _ in range(2):
        connection = open_writer(path, migrations=(*MIGRATIONS, add_column))
        assert connection.pragma("user_version") == 2
        connection.execute("SELECT later FROM buckets")
        connection.close()
    with pytest.raises(SchemaError, match="format 2, this program knows 1"):
        open_writer(path)


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    with pytest.raises(RuntimeError):
        open_writer(path, migrations=(*MIGRATIONS, fail))
    connection = open_writer(path)
    assert connection.pragma("user_version") == 1
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE name = 'half_done'")
    assert tables.fetchall() == []
    connection.close()


def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="not Holdfast's"):
        open_writer(path)
    assert path.read_bytes() == before


def test_an_old_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(SchemaError, match=r"3\.51\.3"):
        open_writer(tmp_path / "holdfast.db")
    assert not (tmp_path / "holdfast.db").exists()


def test_a_second_committer_is_refused(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        second = Committer(running.path, running.listener, running.counters)
        with pytest.raises(CommitterRunning):
            second.run()
        running.create()
