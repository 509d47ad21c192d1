"""Profiles, where keys come from, what is said when nothing answers, and the help of all commands."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from holdfast.cli.main import COMMANDS, main
from tests.cli.conftest import Cli
from tests.serving import ACCESS_KEY, ROOT, SECRET_KEY, free_port


@pytest.fixture
def bare(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Nothing in the environment."""
    for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY"):
        monkeypatch.delenv(f"HOLDFAST_{name}")
    return cli


def _add(cli: Cli, name: str, secret: str = SECRET_KEY) -> None:
    cli(
        "profile", "add", name, "--endpoint", cli.endpoint, "--access-key", ACCESS_KEY,
        "--secret-stdin", stdin=f"{secret}\n",
    )  # fmt: skip


def test_a_profile_is_kept_for_its_owner_only_and_used(bare: Cli) -> None:
    _add(bare, "default")
    (path,) = Path(bare.environ["XDG_CONFIG_HOME"]).rglob("profiles.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert bare.bucket in bare("ls").stdout
    (shown,) = bare.json("profile", "list")
    assert shown["name"] == "default"
    assert SECRET_KEY not in json.dumps(shown)
    bare("profile", "remove", "default")
    assert "profile add" in bare("ls", status=1).stderr
    assert "there are: none" in bare("profile", "remove", "default", status=1).stderr


def test_a_named_profile_comes_before_the_environment(
    bare: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(bare, "other")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert bare.bucket in bare("ls", "--profile", "other").stdout
    assert "there: other" in bare("ls", "--profile", "othr", status=1).stderr
    monkeypatch.setenv("HOLDFAST_PROFILE", "other")
    assert bare.bucket in bare("ls").stdout


def test_aws_environment(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bare.endpoint)
    assert bare.bucket in bare("ls").stdout


def test_the_server_minds_no_variable_of_the_client(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_PROFILE", "x")
    assert "HOLDFAST_ENDPOINT" not in cli("config", str(tmp_path)).output


def test_a_secret_is_no_argument(bare: Cli) -> None:
    assert "--secret-stdin" in bare("profile", "add", "x", "--access-key", "k", status=2).stderr


def _one_line(cli: Cli, *arguments: str) -> str:
    text = cli(*arguments, status=1).stderr
    assert text.count("\n") == 1
    return text


def test_wrong_keys_name_where_they_are_from(bare: Cli) -> None:
    _add(bare, "default", "not the secret")
    assert "secret key of profile 'default' is wrong" in _one_line(bare, "ls")
    text = _one_line(bare, "cp", str(ROOT / "pyproject.toml"), bare.url())
    assert "profile 'default'" in text


@pytest.mark.parametrize("command", [("ls",), ("cp", "pyproject.toml", "s3://bucket/")])
def test_no_server_names_the_address_and_how_to_start_one(
    cli: Cli, command: tuple[str, ...]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    text = _one_line(cli, *command, "--endpoint", url)
    assert f"no server answers at {url}" in text
    assert "holdfast serve" in text


def test_an_unknown_profile_and_a_wrong_endpoint(cli: Cli) -> None:
    assert "no profile 'none'" in _one_line(cli, "ls", "--profile", "none")
    assert "is not an endpoint" in _one_line(cli, "ls", "--endpoint", "ftp://x")


# the commands as a whole


def _commands() -> list[tuple[str, click.Command]]:
    context = click.Context(main)
    found = []
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group) and name == "profile":
            found += [(f"{name} {inner}", one) for inner, one in command.commands.items()]
    return found


def test_the_table_says_what_the_commands_say() -> None:
    for name, command in _commands():
        if name in COMMANDS:
            assert command.help is not None
            first = " ".join(command.help.split("\n\n")[0].split())
            assert first.startswith(COMMANDS[name].help), name


def test_every_command_has_examples_and_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    for name, command in _commands():
        assert f"holdfast {name}" in text, f"docs/cli.md does not say {name}"
        if not isinstance(command, click.Group) and ".objects." in COMMANDS[name.split()[0]].where:
            help_text = CliRunner().invoke(main, [*name.split(), "--help"]).output
            assert f"holdfast {name}" in help_text.partition("Example")[2], name
            for option in command.params:
                if isinstance(option, click.Option) and not option.hidden:
                    assert option.opts[-1] in text, f"docs/cli.md does not say {option.opts}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, cli: Cli) -> None:
    assert "_HOLDFAST_COMPLETE" in cli("completion", shell).stdout


def test_completion_of_names(cli: Cli) -> None:
    cli.put("some/key")
    result = subprocess.run(
        [sys.executable, "-c", "from holdfast.cli.main import main; main(prog_name='holdfast')"],
        env=cli.process_environ()
        | {
            "_HOLDFAST_COMPLETE": "zsh_complete",
            "COMP_WORDS": f"holdfast ls {cli.url('so')}",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert cli.url("some/") in result.stdout


def test_a_command_imports_neither_the_server_nor_rich() -> None:
    code = (
        "import sys; from holdfast.cli.main import main; import click;"
        "main.get_command(click.Context(main), 'cp');"
        "main.get_command(click.Context(main), 'ls');"
        "import holdfast.client.store;"
        "print([m for m in ('holdfast.server', 'holdfast.s3', 'rich', 'holdfast.config',"
        " 'uvloop', 'boto3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_a_mistyped_command_is_answered_with_the_near_one() -> None:
    result = CliRunner().invoke(main, ["snyc"])
    assert result.exit_code == 2
    assert "Did you mean sync?" in result.stderr
