"""A real tree goes up and comes back byte for byte, with the programs that people use."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import boto3
import pytest

from ..serving import ServeProcess
from .conftest import FILES_MIN, assert_same_trees, program, run, use_environment
from .settings import block, environment

THREADS = 10


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
    use_environment(monkeypatch, environment("aws-cli", holdfast.endpoint))
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


def test_s3cmd(holdfast: ServeProcess, scratch: Path, tree: Path) -> None:
    config = scratch / "s3cfg"
    config.write_text(block("s3cmd", "ini", holdfast.endpoint))
    env = environment("aws-cli", holdfast.endpoint)
    s3cmd = (program("s3cmd"), "--config", str(config), "--no-progress")
    back = scratch / "back"
    back.mkdir()
    run(*s3cmd, "mb", "s3://tree", env=env)
    run(*s3cmd, "sync", f"{tree}/", "s3://tree/dir/", env=env)
    again = run(*s3cmd, "sync", "--dry-run", f"{tree}/", "s3://tree/dir/", env=env)
    assert "upload:" not in again
    run(*s3cmd, "sync", "s3://tree/dir/", f"{back}/", env=env)
    assert assert_same_trees(tree, back) >= FILES_MIN
    run(*s3cmd, "rb", "--recursive", "--force", "s3://tree", env=env)


def link_part(files: Iterator[Path], tree: Path, part: Path) -> None:
    for path in files:
        copy = part / path.relative_to(tree)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def test_curl(holdfast: ServeProcess, scratch: Path, tree: Path) -> None:
    """One curl process each way, by a config file with the options of the page for each file."""
    curl, env = program("curl"), environment("aws-cli", holdfast.endpoint)
    signed, bucket = curl_options(holdfast.endpoint), f"{holdfast.endpoint}/tree"
    run(curl, *signed, "-X", "PUT", bucket, env=env)
    names = [path.relative_to(tree) for path in tree.rglob("*") if path.is_file()]
    options = "globoff\n" + "".join(f'{name} = "{value}"\n' for name, value in config_of(signed))
    up, down, back = scratch / "up", scratch / "down", scratch / "back"
    for config, transfer in (
        (up, 'upload-file = "{tree}/{name}"'),
        (down, 'create-dirs\noutput = "{back}/{name}"'),
    ):
        config.write_text(
            "next\n".join(
                f"{options}{transfer.format(tree=tree, back=back, name=name)}\n"
                f'url = "{bucket}/{quote(str(name), safe="/-_.~")}"\n'
                for name in names
            )
        )
        run(curl, "--parallel", "--parallel-max", str(THREADS), "--config", str(config), env=env)
    assert assert_same_trees(tree, back) >= FILES_MIN


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
