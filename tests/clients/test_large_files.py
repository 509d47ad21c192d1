"""A file above 1 GiB goes up and comes back byte for byte: in parts, by curl in a single PUT."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import boto3
import pytest

from ..serving import ServeProcess
from .conftest import BIG_BYTES, program, run, same_bytes, use_environment
from .settings import block, environment
from .test_trees import curl_options


def test_aws_cli(holdfast: ServeProcess, scratch: Path, big_file: Path) -> None:
    aws, env = program("aws"), environment("aws-cli", holdfast.endpoint)
    run(aws, "s3", "mb", "s3://large", env=env)
    run(aws, "s3", "cp", "--only-show-errors", str(big_file), "s3://large/dir/k", env=env)
    run(aws, "s3", "cp", "--only-show-errors", "s3://large/dir/k", str(scratch / "back"), env=env)
    assert same_bytes(big_file, scratch / "back")


def test_boto3(
    holdfast: ServeProcess, scratch: Path, big_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_environment(monkeypatch, environment("aws-cli", holdfast.endpoint))
    with closing(boto3.client("s3")) as s3:
        s3.create_bucket(Bucket="large")
        s3.upload_file(str(big_file), "large", "k")
        head = s3.head_object(Bucket="large", Key="k")
        assert head["ContentLength"] == BIG_BYTES
        assert head["ETag"].endswith(f'-{-(-BIG_BYTES // (8 * 1024**2))}"')
        s3.download_file("large", "k", str(scratch / "back"))
    assert same_bytes(big_file, scratch / "back")


def test_rclone(holdfast: ServeProcess, scratch: Path, big_file: Path) -> None:
    rclone, env = program("rclone"), environment("rclone", holdfast.endpoint)
    run(rclone, "mkdir", "holdfast:large", env=env)
    run(rclone, "copy", str(big_file), "holdfast:large/dir", env=env)
    run(rclone, "check", str(big_file), "holdfast:large/dir", env=env)
    run(rclone, "copy", f"holdfast:large/dir/{big_file.name}", str(scratch / "back"), env=env)
    assert same_bytes(big_file, scratch / "back" / big_file.name)


def test_s3cmd(holdfast: ServeProcess, scratch: Path, big_file: Path) -> None:
    config = scratch / "s3cfg"
    config.write_text(block("s3cmd", "ini", holdfast.endpoint))
    env = environment("aws-cli", holdfast.endpoint)
    s3cmd = (program("s3cmd"), "--config", str(config), "--no-progress")
    run(*s3cmd, "mb", "s3://large", env=env)
    run(*s3cmd, "put", str(big_file), "s3://large/k", env=env)
    run(*s3cmd, "get", "s3://large/k", str(scratch / "back"), env=env)
    assert same_bytes(big_file, scratch / "back")


def test_curl(holdfast: ServeProcess, scratch: Path, big_file: Path) -> None:
    curl, env = program("curl"), environment("aws-cli", holdfast.endpoint)
    signed, url = curl_options(holdfast.endpoint), f"{holdfast.endpoint}/large"
    run(curl, *signed, "-X", "PUT", url, env=env)
    run(curl, *signed, "-T", str(big_file), f"{url}/k", env=env)
    run(curl, *signed, "-o", str(scratch / "back"), f"{url}/k", env=env)
    assert same_bytes(big_file, scratch / "back")
    (scratch / "back").unlink()
    # a download that was cut off goes on where it stopped
    with (scratch / "back").open("wb") as file, big_file.open("rb") as source:
        file.write(source.read(1024**3))
    run(curl, *signed, "-C", "-", "-o", str(scratch / "back"), f"{url}/k", env=env)
    assert same_bytes(big_file, scratch / "back")
