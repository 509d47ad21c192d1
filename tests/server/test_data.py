"""DATA: one holder, a known format, keys that only the owner reads."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from holdfast.config import Settings
from holdfast.server.data import DataDirectory, DataError, DataLocked


def test_made_with_format_and_keys_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "data"
    data = DataDirectory.open(str(path))
    keys = data.root_keys(Settings())
    data.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "keys.json").stat().st_mode) == 0o600
    assert keys.generated
    assert len(keys.access_key) == 20
    assert len(keys.secret_key) == 40
    again = DataDirectory.open(str(path))
    assert again.store_id == data.store_id
    assert again.root_keys(Settings()) == keys._replace(generated=False)
    assert not [name for name in os.listdir(path) if name.startswith(".")]
    again.close()


def test_keys_that_are_set_win_and_keep_the_account(tmp_path: Path) -> None:
    data = DataDirectory.open(str(tmp_path))
    generated = data.root_credential(data.root_keys(Settings()))
    chosen = data.root_credential(data.root_keys(Settings(access_key="abc", secret_key="12345678")))
    data.close()
    assert chosen.access_key == "abc"
    assert chosen.account_id == generated.account_id
    assert len(chosen.account_id) == 64


def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    data = DataDirectory.open(str(tmp_path))
    data.root_keys(Settings())
    (tmp_path / "keys.json").chmod(0o644)
    with pytest.raises(DataError, match="can be read by others"):
        data.root_keys(Settings())
    data.close()


def test_second_holder_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    data = DataDirectory.open(str(tmp_path))
    with pytest.raises(DataLocked, match=f"in use by process {os.getpid()};"):
        DataDirectory.open(str(tmp_path))
    data.close()
    DataDirectory.open(str(tmp_path)).close()


def test_waits_for_the_children_of_a_dead_holder(tmp_path: Path) -> None:
    data = DataDirectory.open(str(tmp_path))
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if not child:  # holds the inherited lock until the pipe closes
        os.close(write_fd)
        os.read(read_fd, 1)
        os._exit(0)
    data.close()
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    (tmp_path / "lock").write_text(f"{gone}\n")  # as if the holder had been killed
    releaser = os.fork()
    if not releaser:
        os.close(read_fd)
        import time

        time.sleep(0.2)
        os._exit(0)
    os.close(write_fd)
    DataDirectory.open(str(tmp_path)).close()
    os.close(read_fd)
    for pid in (child, releaser):
        os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": 2, "store_id": "x"}', "has format 2, this Holdfast reads 1"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 1}', "has no store_id"),
    ],
)
def test_unknown_format_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "format.json").write_text(content)
    with pytest.raises(DataError, match=message):
        DataDirectory.open(str(tmp_path))
    assert (tmp_path / "format.json").read_text() == content


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"it holds thesis\.txt"):
        DataDirectory.open(str(tmp_path))
    assert not (tmp_path / "format.json").exists()


def test_not_made_when_it_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no Holdfast data"):
        DataDirectory.open(str(tmp_path / "none"), create=False)
    assert not (tmp_path / "none").exists()


def test_settings_file_may_come_first(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("")
    DataDirectory.open(str(tmp_path)).close()
    assert json.loads((tmp_path / "format.json").read_text())["format"] == 1
