"""`sync`, `diff`, `mirror`: what is taken as the same, what is removed, and when nothing is."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, contents
from tests.serving import wait_for


def changes(cli: Cli, *arguments: str) -> list[tuple[str, str]]:
    """(what, name) of each line, in no order: they are told as they are done."""
    lines = cli.json(*arguments)
    return sorted((line["change"], line["target"].rpartition("/")[2]) for line in lines)


def test_again_copies_nothing_both_ways(cli: Cli, tree: Path, tmp_path: Path) -> None:
    up, down = ("sync", str(tree), cli.url("s")), ("sync", cli.url("s"), str(tmp_path / "d"))
    assert len(changes(cli, *up)) == 6
    assert changes(cli, *up) == []
    assert len(changes(cli, *down)) == 6
    assert changes(cli, *down) == []
    assert contents(tmp_path / "d") == contents(tree)


def test_a_changed_file_is_copied(cli: Cli, tree: Path) -> None:
    cli("sync", str(tree), cli.url())
    (tree / "a.txt").write_bytes(b"ALPHA")  # the same size
    (tree / "new").write_bytes(b"")
    assert changes(cli, "diff", str(tree), cli.url()) == [("changed", "a.txt"), ("new", "new")]
    assert changes(cli, "sync", str(tree), cli.url()) == [
        ("changed", "a.txt"),
        ("new", "new"),
    ]
    assert cli.get("a.txt") == b"ALPHA"
    assert changes(cli, "diff", str(tree), cli.url()) == []


def test_by_checksum_a_touched_file_is_the_same_and_a_forged_time_does_not_help(
    cli: Cli, tree: Path
) -> None:
    cli("sync", str(tree), cli.url())
    os.utime(tree / "a.txt")
    time = (tree / "a/b.txt").stat().st_mtime_ns
    (tree / "a/b.txt").write_bytes(b"atad" * 1000)
    os.utime(tree / "a/b.txt", ns=(time, time))
    assert changes(cli, "diff", str(tree), cli.url()) == [("changed", "a.txt")]
    assert changes(cli, "diff", str(tree), cli.url(), "--checksum") == [("changed", "b.txt")]


def test_by_checksum_of_a_multipart_object(cli: Cli, tmp_path: Path) -> None:
    """Whose ETag is no MD5: the whole object's CRC decides."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s/big").write_bytes(os.urandom(40 * 1024 * 1024))
    cli("sync", str(tmp_path / "s"), cli.url())
    assert "-" in cli.store.head_object(cli.bucket, "big").etag
    os.utime(tmp_path / "s/big")
    assert changes(cli, "sync", str(tmp_path / "s"), cli.url(), "--checksum") == []


def test_delete_removes_what_the_source_has_not(cli: Cli, tree: Path, tmp_path: Path) -> None:
    cli.put("s/extra")
    cli.put("s/a/extra.keep")
    cli.put("other")
    target, keep = cli.url("s"), ("--exclude", "*.keep")
    cli("sync", str(tree), target)
    assert "s/extra" in cli.listed()
    assert ("extra", "extra") in changes(cli, "diff", str(tree), target, *keep)
    assert "would remove" in cli("sync", str(tree), target, "--delete", "-n").stdout
    cli("sync", str(tree), target, "--delete", *keep)
    expected = [f"s/{name}" for name in contents(tree)]
    assert sorted(cli.listed()) == sorted([*expected, "other", "s/a/extra.keep"])

    local = tmp_path / "local"
    (local / "gone/deep").mkdir(parents=True)
    (local / "gone/deep/file").write_bytes(b"")
    cli("sync", target, str(local), "--delete", *keep)
    assert contents(local) == contents(tree)
    assert not (local / "gone").exists()


def test_delete_is_refused_for_an_empty_source(cli: Cli, tmp_path: Path) -> None:
    cli.put("kept")
    (tmp_path / "empty").mkdir()
    arguments = ("sync", str(tmp_path / "empty"), cli.url(), "--delete")
    assert "--allow-empty" in cli(*arguments, status=1).stderr
    assert cli.listed() == ["kept"]
    cli(*arguments, "--allow-empty")
    assert cli.listed() == []
    assert "no such directory" in cli("sync", "/nowhere", cli.url(), status=1).stderr


def test_nothing_is_removed_when_something_failed(cli: Cli, tmp_path: Path) -> None:
    cli.put("s/ok")
    cli.put("s/../up")
    local = tmp_path / "local"
    local.mkdir()
    (local / "extra").write_bytes(b"")
    result = cli("sync", cli.url("s"), str(local), "--delete", status=1)
    assert "nothing was removed" in result.stderr
    assert sorted(contents(local)) == ["extra", "ok"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_directory_is_said_and_nothing_removed(cli: Cli, tree: Path) -> None:
    cli.put("extra")
    (tree / "a").chmod(0)
    try:
        cli("sync", str(tree), cli.url(), "--delete", status=1)
    finally:
        (tree / "a").chmod(0o755)
    assert "extra" in cli.listed()


def test_between_prefixes(cli: Cli) -> None:
    cli.put("a/1", b"one")
    cli.put("a/2", b"two")
    cli("sync", cli.url("a"), cli.url("b"))
    assert changes(cli, "sync", cli.url("a"), cli.url("b")) == []
    assert cli.get("b/2") == b"two"
    assert "within each other" in cli("sync", cli.url("a"), cli.url("a/b"), status=2).stderr


def test_a_wrong_target_is_said(cli: Cli, tree: Path) -> None:
    assert "not a directory" in cli("sync", cli.url(), str(tree / "a.txt"), status=1).stderr
    assert "rsync(1)" in cli("sync", str(tree), "x", status=2).stderr
    assert "local directory" in cli("mirror", cli.url(), "x", "--watch", status=2).stderr


def test_what_a_broken_download_left_is_not_sent(cli: Cli, tmp_path: Path) -> None:
    for name in ("big.part", "big.part.json", "own.part"):
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / name).write_bytes(b"{}")
    cli("sync", str(tmp_path / "s"), cli.url())
    assert cli.listed() == ["own.part"]


def test_watch_follows_until_interrupted(cli: Cli, tree: Path) -> None:
    process = subprocess.Popen(
        cli.command(
            "mirror", str(tree), cli.url(), "--watch", "--interval", "0.1s", "--delete", "--json"
        ),
        env=cli.process_environ(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # a suite that was started in the background has it ignored, and so would the child
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for(lambda: len(cli.listed()) == 6)
        (tree / "new").write_bytes(b"1")
        (tree / "z/e.log").unlink()
        wait_for(lambda: cli.listed()[-1] == "space and ü.txt" and "new" in cli.listed())
        (tree / "new").write_bytes(b"22")
        wait_for(lambda: cli.get("new") == b"22")
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
