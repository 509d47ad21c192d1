"""`mb`, `rb`, `rm`, `versions`, `restore`: what goes, what asks first, and what comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_listing import _all


def test_buckets_are_made_and_removed(cli: Cli) -> None:
    name = f"{cli.bucket}-more"
    cli("mb", f"s3://{name}", "--versioning")
    assert cli.store.get_versioning(name) == "Enabled"
    cli("mb", "-p", f"s3://{name}")
    cli.store.put_object(name, "k", b"")
    assert "--force" in cli("rb", f"s3://{name}", status=1).stderr
    cli("rb", "--force", f"s3://{name}")
    assert not cli.store.bucket_exists(name)
    assert "3 to 63" in cli("mb", "s3://X", status=1).stderr
    assert "a bucket alone" in cli("mb", "s3://x/y", status=2).stderr


def test_objects_by_name_prefix_and_pattern(cli: Cli) -> None:
    for key in ("a", "b/1", "b/2", "b1", "c.tmp", "d/e.tmp"):
        cli.put(key)
    cli("rm", cli.url("a"))
    assert "add -r" in cli("rm", cli.url("b/"), status=2).stderr
    assert "is a local file" in cli("rm", __file__, status=2).stderr
    assert "mean s3://bucket/b?" in cli("rm", "bucket/b", status=2).stderr
    cli("rm", "-r", cli.url("b"))
    assert cli.listed() == ["b1", "c.tmp", "d/e.tmp"]
    assert "would remove" in cli("rm", "-n", cli.url("**.tmp")).stdout
    cli("rm", cli.url("*.tmp"))
    assert cli.listed() == ["b1", "d/e.tmp"]
    cli("rm", "-r", cli.url(), "--include", "*.tmp")
    assert cli.listed() == ["b1"]


def test_what_is_not_there_is_an_error_unless_forced(cli: Cli) -> None:
    cli.put("name")
    assert "Near it: name" in cli("rm", cli.url("nam"), status=1).stderr
    cli("rm", "-f", cli.url("nam"))
    cli("rm", "-r", cli.url("none/"), status=1)
    cli("rm", "-r", "-f", cli.url("none/"))


def test_more_than_a_batch(cli: Cli) -> None:
    cli.store.put_many(cli.bucket, ((f"k/{n:05}", b"") for n in range(2100)))
    lines = cli.json("rm", "-r", cli.url("k"))
    assert len(lines) == 2100
    assert {line["status"] for line in lines} == {"done"}
    assert cli.listed() == []


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", ["b/1"]), (b"y\n", [])])
def test_a_recursive_delete_asks_on_a_terminal(cli: Cli, answer: bytes, left: list[str]) -> None:
    cli.put("b/1")
    pid, terminal = os.forkpty()
    if pid == 0:
        command = cli.command("rm", "-r", cli.url("b"))
        os.execve(command[0], command, cli.process_environ())
    os.write(terminal, answer)
    assert b"Remove all" in _all(terminal)
    _, status = os.waitpid(pid, 0)
    assert cli.listed() == left
    assert os.waitstatus_to_exitcode(status) == (1 if left else 0)


@pytest.fixture
def versioned(cli: Cli) -> Cli:
    cli.store.set_versioning(cli.bucket, True)
    for body in (b"one", b"two", b"three"):
        cli.put("doc", body)
    return cli


def test_versions(versioned: Cli) -> None:
    versioned.put("doc2")
    lines = versioned.json("versions", versioned.url("doc"))
    assert [line["size"] for line in lines] == [5, 3, 3]
    assert [line["is_latest"] for line in lines] == [True, False, False]
    assert len(versioned.json("versions", versioned.url())) == 4
    oldest = lines[-1]["version_id"]
    assert versioned("cat", versioned.url("doc"), "--version-id", oldest).stdout == "one"
    versioned("versions", versioned.url("none"), status=1)


def test_restore_the_version_before_or_a_named_one(versioned: Cli) -> None:
    oldest = versioned.json("versions", versioned.url("doc"))[-1]["version_id"]
    assert "restored 1 object" in versioned("restore", versioned.url("doc")).stderr
    assert versioned.get("doc") == b"two"
    versioned("restore", versioned.url("doc"), "--version-id", oldest)
    assert versioned.get("doc") == b"one"
    assert len(versioned.json("versions", versioned.url("doc"))) == 5
    wrong = versioned("restore", versioned.url("doc"), "--version-id", "nope", status=1)
    assert "has no version nope" in wrong.stderr


def test_restore_what_was_deleted(versioned: Cli) -> None:
    versioned.put("alone", b"1")
    versioned("rm", versioned.url("doc"))
    versioned("rm", "-r", versioned.url())
    assert versioned.listed() == []
    planned = versioned.json("restore", "-r", versioned.url(), "-n")
    assert [line["status"] for line in planned] == ["planned", "planned"]
    assert versioned.listed() == []
    versioned("restore", "-r", versioned.url())
    assert (versioned.get("doc"), versioned.get("alone")) == (b"three", b"1")
    assert versioned.json("restore", "-r", versioned.url()) == []


def test_restore_as_it_was(versioned: Cli, tmp_path: Path) -> None:
    lines = versioned.json("restore", versioned.url("doc"), "--at", "1h", status=1)
    assert lines == []  # it did not exist then
    lines = versioned.json("restore", "-r", versioned.url(), "--at", "2999-01-01", "-n")
    assert lines == []  # it is as it will be
    assert (
        "2026-11-20T12:00"
        in versioned("restore", versioned.url("doc"), "--at", "x", status=2).stderr
    )


def test_every_version_can_go(versioned: Cli) -> None:
    versioned("rm", "--all-versions", versioned.url("doc"))
    assert versioned.json("versions", versioned.url()) == []
