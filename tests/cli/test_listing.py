"""`ls`, `find`, `du`, `tree`, `cat`, `stat`, `tag`, `presign`: what is shown, as text and as JSON."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.fixture
def filled(cli: Cli) -> Cli:
    for key, size in (("a/1.gz", 10), ("a/b/2.gz", 2000), ("a/b/3.txt", 5), ("top", 4096)):
        cli.put(key, bytes(size))
    return cli


def test_buckets_and_levels(filled: Cli) -> None:
    assert filled.url().rstrip("/") in filled("ls").stdout
    assert [entry["key"] for entry in filled.json("ls", filled.url())] == ["a/", "top"]
    assert [entry["key"] for entry in filled.json("ls", filled.url("a"))] == ["a/1.gz", "a/b/"]
    assert [e["key"] for e in filled.json("ls", "-r", filled.url("a/b"))] == [
        "a/b/2.gz",
        "a/b/3.txt",
    ]
    assert [e["key"] for e in filled.json("ls", filled.url("a/*"))] == ["a/1.gz", "a/b/"]
    assert [e["key"] for e in filled.json("ls", filled.url("**.gz"))] == ["a/1.gz", "a/b/2.gz"]
    (line,) = filled("ls", filled.url("top")).stdout.splitlines()
    assert line.split()[2:] == ["4.0", "KiB", "top"]
    assert " 4096  top" in filled("ls", "--bytes", filled.url("top")).stdout


def test_json_of_an_object_has_stable_names(filled: Cli) -> None:
    (entry,) = filled.json("ls", filled.url("top"))
    assert set(entry) == {
        "type", "url", "bucket", "key", "size", "last_modified", "etag", "storage_class",
    }  # fmt: skip
    assert (entry["type"], entry["url"], entry["size"]) == ("object", filled.url("top"), 4096)


def test_control_characters_of_a_key_do_not_reach_the_terminal(cli: Cli) -> None:
    cli.put("evil\x1b[31m\n")
    assert cli("ls", cli.url()).stdout.rstrip("\n").endswith("evil\\x1b[31m\\x0a")


def test_what_is_not_there(filled: Cli) -> None:
    assert "Near it: top" in filled("ls", filled.url("topp"), status=1).stderr
    assert f"s3://{filled.bucket}" in filled("ls", filled.bucket, status=1).stderr


def test_local_places(cli: Cli, tree: Path) -> None:
    assert {e["type"] for e in cli.json("ls", str(tree))} == {"file", "directory"}
    assert len(cli.json("find", str(tree), "--name", "*.txt")) == 4
    assert cli.json("du", str(tree))[0]["files"] == 6
    assert "── d.bin" in cli("tree", str(tree)).stdout


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (("--name", "*.gz"), ["a/1.gz", "a/b/2.gz"]),
        (("--path", "a/*"), ["a/1.gz"]),
        (("--larger", "1K"), ["a/b/2.gz", "top"]),
        (("--smaller", "10"), ["a/b/3.txt"]),
        (("--larger", "1K", "--name", "t*"), ["top"]),
        (("--older", "1h"), []),
        (("--newer", "1h", "--name", "top"), ["top"]),
    ],
)
def test_find(filled: Cli, options: tuple[str, ...], keys: list[str]) -> None:
    assert [e["key"] for e in filled.json("find", filled.url(), *options)] == keys


def test_find_for_xargs(filled: Cli) -> None:
    out = filled("find", filled.url("a"), "--name", "*.gz", "-0").stdout
    assert out == f"{filled.url('a/1.gz')}\0{filled.url('a/b/2.gz')}\0"
    assert "10M" in filled("find", filled.url(), "--larger", "x", status=2).stderr


def test_sums(filled: Cli) -> None:
    (whole,) = filled.json("du", filled.url())
    assert (whole["size"], whole["files"]) == (6111, 4)
    by_depth = {e["url"]: e["size"] for e in filled.json("du", filled.url(), "-d", "2")}
    assert by_depth == {
        filled.url("a/b/"): 2005,
        filled.url("a/"): 2015,
        filled.url(): 6111,
    }


def test_tree(filled: Cli) -> None:
    assert filled("tree", filled.url()).stdout.splitlines() == [
        filled.url(),
        "├── a/",
        "│   ├── 1.gz  10 B",
        "│   └── b/",
        "│       ├── 2.gz  2.0 KiB",
        "│       └── 3.txt  5 B",
        "└── top  4.0 KiB",
        "",
        "2 prefixes, 4 files, 6.0 KiB",
    ]
    assert "b/" not in filled("tree", filled.url(), "-L", "1").stdout


def test_cat(filled: Cli) -> None:
    filled.put("one", b"0123456789")
    filled.put("two", b"abc")
    assert filled("cat", filled.url("one"), filled.url("two")).stdout == "0123456789abc"
    assert filled("cat", filled.url("o*"), "--range", "2-4").stdout == "234"
    assert filled("cat", filled.url("one"), "--range", "-3").stdout == "789"
    assert "FIRST-LAST" in filled("cat", filled.url("one"), "--range", "x", status=2).stderr


def test_stat(filled: Cli) -> None:
    (entry,) = filled.json("stat", filled.url("top"))
    assert (entry["size"], entry["type"]) == (4096, "object")
    assert entry["checksums"]
    assert "4096 (4.0 KiB)" in filled("stat", filled.url("top")).stdout
    (bucket,) = filled.json("stat", filled.url())
    assert (bucket["versioning"], bucket["region"]) == ("Unversioned", "us-east-1")


def test_tags(filled: Cli) -> None:
    url = filled.url("top")
    assert filled("tag", url, "a=1", "b=2").stdout == "a=1\nb=2\n"
    assert filled("tag", url, "--remove", "a", "c=x=y").stdout == "b=2\nc=x=y\n"
    assert filled.json("tag", url) == [{"url": url, "tags": {"b": "2", "c": "x=y"}}]
    assert filled("tag", url, "--clear").stdout == ""


def test_presigned_urls(filled: Cli) -> None:
    url = filled("presign", filled.url("top"), "--expires", "10m").stdout.strip()
    assert urllib.request.urlopen(url, timeout=10).read() == bytes(4096)
    put = filled("presign", filled.url("new"), "--method", "put").stdout.strip()
    request = urllib.request.Request(put, data=b"by put", method="PUT")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    assert filled.get("new") == b"by put"
    (form,) = filled.json("presign", filled.url("${filename}"), "--method", "post")
    assert form["fields"]["key"] == "${filename}"
    assert "7d" in filled("presign", filled.url("x"), "--expires", "8d", status=2).stderr


def test_colour_only_on_a_terminal(filled: Cli) -> None:
    assert "\x1b" not in filled("ls", filled.url()).stdout
    pid, terminal = os.forkpty()
    if pid == 0:
        command = filled.command("ls", filled.url())
        os.execve(command[0], command, filled.process_environ())
    shown = _all(terminal)
    os.waitpid(pid, 0)
    assert b"\x1b[34ma/\x1b[0m" in shown


def _all(descriptor: int) -> bytes:
    out = b""
    while True:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # what Linux says at the end of a terminal
            data = b""
        if not data:
            os.close(descriptor)
            return out
        out += data
