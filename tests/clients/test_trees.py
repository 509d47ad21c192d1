"""A real tree goes up and comes back byte for byte, with the programs that people use."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import boto3
import pytest

from ..serving import ServeProcess
from .conftest import FILES_MIN, assert_same_trees, program, run, same_bytes
from .settings import block, environment

THREADS = 10
S3CMD_FILES = 1000
CURL_FILES = 200

Some = Callable[[int], Iterator[Path]]


def test_rclone(holdfast: ServeProcess, scratch: Path, tree: Path) -> None:
    rclone, env = program("rclone"), environment("rclone", holdfast.endpoint)
    fast = ("--transfers", "16", "--checkers", "16")
    run(rclone, "mkdir", "holdfast:tree", env=env)
    run(rclone, "sync", str(tree), "holdfast:tree/dir", *fast, env=env)
    run(rclone, "check", str(tree), "holdfast:tree/dir", *fast, env=env)
    again = run(rclone, "sync", "-v", str(tree), "holdfast:tree/dir", *fast, env=env)
    assert "There was nothing to transfer" in again
    run(rclone, "sync", "holdfast:tree/dir", str(scratch / "back"), *fast, env=env)
    assert assert_same_trees(tree, scratch / "back") >= FILES_MIN
    run(rclone, "purge", "holdfast:tree", env=env)
    assert "tree" not in run(rclone, "lsd", "--quiet", "holdfast:", env=env)


def test_aws_cli(holdfast: ServeProcess, scratch: Path, tree: Path) -> None:
    aws, env = program("aws"), environment("aws-cli", holdfast.endpoint)
    quiet = ("--only-show-errors",)
    run(aws, "s3", "mb", "s3://tree", env=env)
    run(aws, "s3", "sync", *quiet, str(tree), "s3://tree/dir", env=env)
    assert run(aws, "s3", "sync", "--dryrun", str(tree), "s3://tree/dir", env=env).strip() == ""
    run(aws, "s3", "sync", *quiet, "s3://tree/dir", str(scratch / "back"), env=env)
    assert assert_same_trees(tree, scratch / "back") >= FILES_MIN
    run(aws, "s3", "cp", *quiet, "s3://tree/dir/odd names/empty", "s3://tree/copy", env=env)
    run(aws, "s3", "rm", *quiet, "--recursive", "s3://tree/dir/odd names", env=env)
    listed = run(aws, "s3", "ls", "s3://tree/dir/", env=env)
    assert "odd names" not in listed


def test_boto3(
    holdfast: ServeProcess, scratch: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client of the page: everything from the environment, in threads as it is meant to be."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment("aws-cli", holdfast.endpoint).items():
        monkeypatch.setenv(name, value)
    files = [path for path in tree.rglob("*") if path.is_file()]
    back = scratch / "back"
    with closing(boto3.client("s3")) as s3, ThreadPoolExecutor(THREADS) as pool:
        s3.create_bucket(Bucket="tree")

        def up(path: Path) -> None:
            with path.open("rb") as body:
                s3.put_object(Bucket="tree", Key=str(path.relative_to(tree)), Body=body)

        def down(key: str) -> None:
            target = back / key
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(s3.get_object(Bucket="tree", Key=key)["Body"].read())

        list(pool.map(up, files))
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="tree")
        keys = [entry["Key"] for page in pages for entry in page["Contents"]]
        assert keys == sorted(keys, key=str.encode)
        list(pool.map(down, keys))
        assert assert_same_trees(tree, back) >= FILES_MIN
        for start in range(0, len(keys), 1000):
            entries = [{"Key": key} for key in keys[start : start + 1000]]
            done = s3.delete_objects(Bucket="tree", Delete={"Objects": entries})
            assert "Errors" not in done
        s3.delete_bucket(Bucket="tree")


def test_s3cmd(holdfast: ServeProcess, scratch: Path, tree: Path, some: Some) -> None:
    """1,000 files of the tree: s3cmd sends one after the other."""
    config = scratch / "s3cfg"
    config.write_text(block("s3cmd", "ini", holdfast.endpoint))
    env = environment("aws-cli", holdfast.endpoint)
    s3cmd = (program("s3cmd"), "--config", str(config), "--no-progress")
    part, back = scratch / "part", scratch / "back"
    link_part(some(S3CMD_FILES), tree, part)
    back.mkdir()
    run(*s3cmd, "mb", "s3://tree", env=env)
    run(*s3cmd, "sync", f"{part}/", "s3://tree/dir/", env=env)
    again = run(*s3cmd, "sync", "--dry-run", f"{part}/", "s3://tree/dir/", env=env)
    assert "upload:" not in again
    run(*s3cmd, "sync", "s3://tree/dir/", f"{back}/", env=env)
    assert assert_same_trees(part, back) >= S3CMD_FILES
    run(*s3cmd, "rb", "--recursive", "--force", "s3://tree", env=env)


def link_part(files: Iterator[Path], tree: Path, part: Path) -> None:
    for path in files:
        copy = part / path.relative_to(tree)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def test_curl(holdfast: ServeProcess, scratch: Path, tree: Path, some: Some) -> None:
    """200 files in one curl process, by a config file with the options of the page."""
    curl, env = program("curl"), environment("aws-cli", holdfast.endpoint)
    example = block("curl", "sh", holdfast.endpoint)
    assert "--aws-sigv4" in example
    signed = curl_options(holdfast.endpoint)
    run(curl, *signed, "-X", "PUT", f"{holdfast.endpoint}/tree", env=env)
    files = [path for path in some(CURL_FILES) if "odd names" not in path.parts]
    back = scratch / "back"
    up, down = scratch / "up", scratch / "down"
    options = "".join(f'{name} = "{value}"\n' for name, value in config_of(signed))
    names = [f"{number:04}" for number in range(len(files))]
    up.write_text(
        "next\n".join(
            f'{options}upload-file = "{path}"\nurl = "{holdfast.endpoint}/tree/{name}"\n'
            for name, path in zip(names, files, strict=True)
        )
    )
    down.write_text(
        "next\n".join(
            f'{options}create-dirs\noutput = "{back}/{name}"\n'
            f'url = "{holdfast.endpoint}/tree/{name}"\n'
            for name in names
        )
    )
    run(curl, "--config", str(up), env=env)
    run(curl, "--config", str(down), env=env)
    for name, path in zip(names, files, strict=True):
        assert same_bytes(path, back / name)


def curl_options(endpoint: str) -> list[str]:
    """Out of the page's command: how to sign, and the header that curl leaves out."""
    words = shlex.split(block("curl", "sh", endpoint).replace("\\\n", " "))
    return ["--fail-with-body", "--silent", "--show-error", *words[1 : words.index("-T")]]


def config_of(options: list[str]) -> Iterator[tuple[str, str]]:
    """Command-line options as they stand in a curl config file."""
    words = iter(options)
    for word in words:
        name = {"-H": "header"}.get(word, word.removeprefix("--"))
        yield name, "" if name in ("fail-with-body", "silent", "show-error") else next(words)
