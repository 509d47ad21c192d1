"""`cp` and `mv`: names, streams, filters, times, failures, resuming."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from pathlib import Path

import pytest

from holdfast.cli.objects import crew
from holdfast.client import UploadEntry
from tests.cli.conftest import Cli, contents
from tests.serving import runs, wait_for

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("target", "key"), [("", "f.txt"), ("dir/", "dir/f.txt"), ("other.txt", "other.txt")]
)
def test_a_file_goes_into_a_prefix_or_by_its_new_name(
    cli: Cli, tmp_path: Path, target: str, key: str
) -> None:
    (tmp_path / "f.txt").write_bytes(b"content")
    assert cli("cp", str(tmp_path / "f.txt"), cli.url(target)).output == ""
    assert cli.get(key) == b"content"
    assert cli.store.head_object(cli.bucket, key).content_type == "text/plain"


def test_an_object_comes_into_a_directory_or_by_its_new_name(cli: Cli, tmp_path: Path) -> None:
    cli.put("d/f.txt", b"content")
    cli("cp", cli.url("d/f.txt"), str(tmp_path))
    cli("cp", cli.url("d/f.txt"), str(tmp_path / "g"))
    cli("cp", cli.url("d/f.txt"), f"{tmp_path}/new/")
    for name in ("f.txt", "g", "new/f.txt"):
        assert (tmp_path / name).read_bytes() == b"content"


def test_trees_up_and_down_with_their_times(cli: Cli, tree: Path, tmp_path: Path) -> None:
    cli("cp", "-r", str(tree), cli.url("up"))
    assert cli.listed() == sorted((f"up/{name}" for name in contents(tree)), key=str.encode)
    info = cli.store.head_object(cli.bucket, "up/a.txt")
    assert info.metadata == {"mtime": "1600000000.123456789"}  # as rclone writes it
    cli("cp", "-r", cli.url("up"), str(tmp_path / "down"))
    assert contents(tmp_path / "down") == contents(tree)
    assert (tmp_path / "down/a.txt").stat().st_mtime_ns == 1_600_000_000_123_456_789


def test_of_several_directories_each_keeps_its_name(cli: Cli, tree: Path) -> None:
    cli("cp", "-r", str(tree / "a"), str(tree / "z"), cli.url("x"))
    assert cli.listed() == ["x/a/b.txt", "x/a/c/d.bin", "x/z/e.log"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("logs/*.gz", ["1.gz", "2.gz"]),
        ("logs/**/*.gz", ["1.gz", "2.gz", "old/3.gz"]),
        ("logs/[!1].g?", ["2.gz"]),
        ("logs/**", ["1.gz", "2.gz", "a.txt", "old/3.gz"]),
    ],
)
def test_patterns(cli: Cli, tmp_path: Path, pattern: str, names: list[str]) -> None:
    for name in ("1.gz", "2.gz", "a.txt", "old/3.gz"):
        cli.put(f"logs/{name}")
    cli("cp", cli.url(pattern), str(tmp_path / "out"))
    assert sorted(contents(tmp_path / "out")) == names
    assert "matches nothing" in cli("cp", cli.url("x*"), str(tmp_path), status=1).stderr


def test_local_patterns(cli: Cli, tree: Path) -> None:
    cli("cp", f"{tree}/a*.txt", cli.url("p/"))
    assert cli.listed() == ["p/a-1.txt", "p/a.txt"]


def test_include_and_exclude(cli: Cli, tree: Path) -> None:
    cli("cp", "-r", str(tree), cli.url("1"), "--include", "*.txt", "--exclude", "a")
    assert cli.listed() == ["1/a-1.txt", "1/a.txt", "1/space and ü.txt"]
    cli("cp", "-r", str(tree), cli.url("2"), "--exclude", "a/c/", "--exclude", "*.txt")
    assert cli.listed("2") == ["2/z/e.log"]


def test_standard_input_and_output(cli: Cli) -> None:
    cli("cp", "-", cli.url("piped"), stdin=b"through a pipe")
    assert cli("cp", cli.url("piped"), "-").stdout_bytes == b"through a pipe"
    assert "needs a key" in cli("cp", "-", cli.url("d/"), stdin=b"", status=2).stderr


def test_options_of_the_object(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    options = ("--content-type", "text/x", "--metadata", "a=b", "--tag", "t=u")
    cli("cp", str(tmp_path / "f"), cli.url(), *options)
    info = cli.store.head_object(cli.bucket, "f")
    assert (info.content_type, info.metadata["a"]) == ("text/x", "b")
    assert cli.store.get_tags(cli.bucket, "f") == {"t": "u"}
    assert "mtime" in info.metadata


def test_on_the_server(cli: Cli) -> None:
    cli.put("a/1", b"one")
    cli.put("a/2", b"two")
    cli("cp", "-r", cli.url("a"), cli.url("b"))
    cli("mv", cli.url("a/1"), cli.url("c"))
    assert cli.listed() == ["a/2", "b/1", "b/2", "c"]
    assert cli.get("c") == b"one"


def test_moving_both_ways(cli: Cli, tree: Path, tmp_path: Path) -> None:
    before = contents(tree)
    cli("mv", "-r", str(tree), cli.url("t"))
    assert contents(tree) == {}
    cli("mv", "-r", cli.url("t"), str(tmp_path / "back"))
    assert (contents(tmp_path / "back"), cli.listed()) == (before, [])


def test_dry_run_does_nothing(cli: Cli, tree: Path) -> None:
    result = cli("mv", "-n", "-r", str(tree / "a"), cli.url("t"))
    assert result.stdout.splitlines() == [
        f"would move: {tree}/a/b.txt -> {cli.url('t/b.txt')}",
        f"would move: {tree}/a/c/d.bin -> {cli.url('t/c/d.bin')}",
    ]
    assert cli.listed() == []
    assert (tree / "a/b.txt").exists()


@pytest.fixture
def many(cli: Cli, tmp_path: Path) -> Path:
    """So many files that helper processes are made."""
    root = tmp_path / "many"
    for number in range(700):
        path = root / f"{number % 7}" / f"{number:04}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * 50)
    return root


def test_many_files_by_several_processes(
    cli: Cli, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "processes", lambda: 3)
    lines = cli.json("cp", "-r", str(many), cli.url("m"))
    assert len(lines) == 700
    assert {line["status"] for line in lines} == {"done"}
    cli.put("m/a//b")
    lines = cli.json("cp", "-r", cli.url("m"), str(tmp_path / "down"), status=1)
    failed = [line for line in lines if line["status"] == "failed"]
    assert (len(lines), len(failed)) == (701, 1)
    assert contents(tmp_path / "down") == contents(many)
    cli("cp", "-r", str(many), f"s3://{cli.bucket}-none/", status=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_helper_outlives_the_command(cli: Cli, many: Path, number: signal.Signals) -> None:
    if crew.processes() < 2:
        pytest.skip("one processor has no helpers")
    process = subprocess.Popen(
        cli.command("cp", "-r", str(many), cli.url("m")),
        env=cli.process_environ(),
        stderr=subprocess.DEVNULL,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: process.poll() is not None or children.read_text())
    helpers = [] if process.poll() is not None else [int(n) for n in children.read_text().split()]
    process.send_signal(number)
    process.wait()
    wait_for(lambda: not any(runs(pid) for pid in helpers))


def test_json_lines(cli: Cli, tree: Path) -> None:
    (line,) = cli.json("cp", str(tree / "a.txt"), cli.url())
    assert line == {
        "action": "upload", "source": str(tree / "a.txt"), "target": cli.url("a.txt"),
        "size": 5, "status": "done", "change": "new",
    }  # fmt: skip


def test_keys_that_lead_out_of_the_directory_are_refused(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "in" / "target"
    for key in ("t/../../evil", "t/a//b", "t/./c", "t/fine"):
        cli.put(key)
    result = cli("cp", "-r", cli.url("t"), str(target), status=1)
    assert contents(tmp_path / "in") == {"target/fine": b"x"}
    assert result.stderr.count("can't be a local file's name") == 3
    assert "3 failed, 1 done" in result.stderr


def test_a_full_disk_is_said_once(
    cli: Cli, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("cp", "-r", str(tree), cli.url("t"))
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if "down" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    result = cli("cp", "-r", cli.url("t"), str(tmp_path / "down"), status=1)
    assert result.stderr.count("No space left on device; free some") == 1
    assert not [name for name in contents(tmp_path / "down") if name.endswith(".part")]


def test_one_that_fails_stops_no_other(cli: Cli, tree: Path) -> None:
    (tree / "long").mkdir()
    (tree / "long" / ("n" * 250)).write_bytes(b"")
    lines = cli.json("cp", "-r", str(tree), cli.url("p" * 1000), status=1)
    failed = [line for line in lines if line["status"] == "failed"]
    assert {line["code"] for line in failed} == {"KeyTooLongError"}
    assert len([line for line in lines if line["status"] == "done"]) + len(failed) == 7


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("cp", "{tree}", "{url}"), 1, "add -r"),
        (("cp", "{tree}/none", "{url}"), 1, "No such file"),
        (("cp", "a", "b"), 2, "cp(1)"),
        (("cp", "a", "b/c"), 2, "did you mean s3://b/c?"),
        (("cp", "a", "b"), 2, "Example: holdfast cp"),
        (("cp", "s3//b", "{url}"), 1, "did you mean s3://b?"),
        (("--quiet", "cp", "a", "b"), 2, "behind its name"),
        (("cp", "http://x/y", "b"), 2, "s3://bucket/key"),
        (("cp", "s3:///x", "b"), 2, "the bucket is missing"),
        (("cp", "{url}d", "."), 1, "is a prefix"),
        (("cp", "{url}d/nam", "."), 1, "Near it: d/name"),
        (("cp", "{tree}/a.txt", "{url}*"), 2, "no pattern"),
        (("cp", "{tree}/a.txt", "s3://{bucket}x/"), 1, "Near it: {bucket}"),
        (("cp", "{tree}/a.txt", "{url}", "--metadata", "x"), 2, "NAME=VALUE"),
    ],
)
def test_errors_say_what_to_do(
    cli: Cli, tree: Path, arguments: tuple[str, ...], status: int, says: str
) -> None:
    cli.put("d/name")
    names = {"tree": str(tree), "url": cli.url(), "bucket": cli.bucket}
    result = cli(*(text.format(**names) for text in arguments), status=status)
    assert says.format(**names) in result.stderr
    if status == 1:
        assert result.stderr.count("\n") == 1


def test_interrupted_upload_goes_on(cli: Cli, tmp_path: Path) -> None:
    """Ctrl-C leaves the parts, the next run sends the rest."""
    source = tmp_path / "big"
    source.write_bytes(os.urandom(80 * MIB))
    process = subprocess.Popen(
        cli.command("cp", str(source), cli.url("big")),
        env=cli.process_environ(),
        stderr=subprocess.PIPE,
    )

    def uploads() -> list[UploadEntry]:
        return list(cli.store.list_uploads(cli.bucket))

    def has_part() -> bool:
        for upload in uploads():
            query = {"uploadId": upload.upload_id}
            if b"<Part>" in cli.store.request("GET", cli.bucket, "big", query=query).body:
                return True
        return process.poll() is not None

    wait_for(has_part)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    if process.returncode == 0:
        pytest.skip("it was through before it could be interrupted")
    assert process.returncode == 130
    assert b"Traceback" not in errors
    (upload,) = uploads()
    cli("cp", str(source), cli.url("big"))
    assert uploads() == []
    assert cli.store.head_object(cli.bucket, "big").size == 80 * MIB
    assert upload.key == "big"


def test_interrupted_download_leaves_no_file_under_its_name(cli: Cli, tmp_path: Path) -> None:
    content = os.urandom(80 * MIB)
    cli.put("big", content)
    target = tmp_path / "out" / "big"
    process = subprocess.Popen(
        cli.command("cp", cli.url("big"), str(target)),
        env=cli.process_environ(),
        stderr=subprocess.PIPE,
    )
    state = target.with_name("big.part.json")
    wait_for(lambda: state.exists() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    if process.returncode == 0:
        pytest.skip("it was through before it could be interrupted")
    assert process.returncode == 130
    assert not target.exists()
    cli("cp", cli.url("big"), str(target))
    assert target.read_bytes() == content
    assert os.listdir(target.parent) == ["big"]
