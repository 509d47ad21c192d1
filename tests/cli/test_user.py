"""`holdfast user`, without a server and beside one: what is shown, what is kept, who can read it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from holdfast.cli.main import main
from holdfast.testing.server import Server


def run(data: Path, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["user", *arguments, str(data)], input=stdin)


def run_json(data: Path, *arguments: str) -> Any:
    result = run(data, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """DATA of a server that has been stopped."""
    with Server(str(tmp_path / "data")):
        pass
    return tmp_path / "data"


@pytest.fixture(params=["alone", "beside a server"])
def either(request: pytest.FixtureRequest, data: Path) -> Iterator[Path]:
    if request.param == "alone":
        yield data
    else:
        with Server(str(data)):
            yield data


def test_add_list_remove(either: Path) -> None:
    made = run_json(either, "add", "alice", "--email", "a@x.org")
    assert len(made["id"]) == 64
    assert made["access_key"] and made["secret_key"]  # noqa: PT018
    assert run_json(either, "list") == [{"name": "alice", "id": made["id"], "email": "a@x.org"}]
    another = run_json(either, "key", "add", "alice")
    keys = {key["access_key"] for key in run_json(either, "key", "list", "alice")}
    assert keys == {made["access_key"], another["access_key"]}
    assert run(either, "key", "remove", made["access_key"]).exit_code == 0
    assert len(run_json(either, "key", "list", "alice")) == 1
    assert run(either, "remove", "alice").exit_code == 0
    assert run_json(either, "list") == []


def test_secrets_are_shown_once_and_for_the_owner_alone(either: Path) -> None:
    made = run(either, "add", "alice", "--id", "alice-id")
    secret = made.output.split("secret key")[1].strip()
    for arguments in (("list",), ("key", "list", "alice")):
        for form in ((), ("--json",)):
            assert secret not in run(either, *arguments, *form).output
    for path in (either / "meta").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE((either / "meta").stat().st_mode) == 0o700


def test_files_that_others_could_read_are_closed(data: Path) -> None:
    database = data / "meta" / "holdfast.db"
    database.chmod(0o644)
    assert run(data, "list").exit_code == 0
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_keys_are_imported(either: Path) -> None:
    result = run(either, "add", "alice", "--access-key", "OLDKEY", "--secret-key", "old-secret")
    assert result.exit_code == 0
    assert "OLDKEY" in result.output
    assert "old-secret" not in result.output
    result = run(either, "key", "add", "alice", "--access-key", "STDIN", "--secret-key", "-",
                 stdin="from-stdin\n")  # fmt: skip
    assert result.exit_code == 0
    assert "from-stdin" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "alice"), "already"),
        (("add", "bob", "--id", "alice-id"), "already"),
        (("add", "bob", "--access-key", "KEY", "--secret-key", "12345678"), "in use"),
        (("add", "bob", "--access-key", "NEW"), "together"),
        (("add", "root"), "server's own"),
        (("remove", "bob"), "no user bob"),
        (("key", "add", "bob"), "no user bob"),
        (("key", "list", "bob"), "no user bob"),
        (("key", "remove", "NEW"), "no access key NEW"),
    ],
    ids=str,
)
def test_one_line_says_what_is_wrong(
    one_user: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run(one_user, *arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1
    assert [user["name"] for user in run_json(one_user, "list")] == ["alice"]


@pytest.fixture(scope="module")
def one_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    data = tmp_path_factory.mktemp("one") / "data"
    with Server(str(data)):
        key = ("--access-key", "KEY", "--secret-key", "12345678")
        assert run(data, "add", "alice", "--id", "alice-id", *key).exit_code == 0
        yield data


def test_no_data(tmp_path: Path) -> None:
    result = run(tmp_path / "missing", "list")
    assert result.exit_code == 1
    assert "holds no Holdfast data" in result.output
    assert not (tmp_path / "missing").exists()


def test_what_was_added_alone_serves_and_lasts(data: Path) -> None:
    made = run_json(data, "add", "alice")
    for _ in range(2):
        with Server(str(data)) as server:
            arguments = {
                **server.client_arguments(),
                "aws_access_key_id": made["access_key"],
                "aws_secret_access_key": made["secret_key"],
            }
            with closing(boto3.client("s3", **arguments)) as s3:
                assert s3.list_buckets()["Owner"]["DisplayName"] == "alice"
    assert run(data, "key", "remove", made["access_key"]).exit_code == 0
    with Server(str(data)) as server:
        arguments["endpoint_url"] = server.endpoint
        with (
            closing(boto3.client("s3", **arguments)) as s3,
            pytest.raises(ClientError, match="InvalidAccessKeyId"),
        ):
            s3.list_buckets()


def test_two_administrators_at_once_make_one_user(data: Path) -> None:
    with Server(str(data)), ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: _add_in_thread(data), range(4)))
        assert sorted(made) == [False, False, False, True]
        assert len(run_json(data, "list")) == 1


def _add_in_thread(data: Path) -> bool:
    """Not by the runner, which takes the process's own standard output."""
    import asyncio

    from holdfast.config import load
    from holdfast.server.accounts import AccountError, administration

    async def add() -> None:
        settings = load({"data": str(data)}, environ={}).settings
        async with administration(settings) as admin:
            await admin.add_user("alice", "", "", "", "", 1)

    try:
        asyncio.run(add())
    except AccountError:
        return False
    return True
