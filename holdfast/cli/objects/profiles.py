"""Profiles: servers and keys under a name, in one file that only its owner can read.

Rule: the file is replaced as a whole, made with mode 0600 from its first byte. A secret is never
printed and never an argument, which other users of the machine could see.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from holdfast.cli.failure import Failure
from holdfast.cli.objects.output import Output, say

PROFILES_BYTES_MAX = 1024 * 1024
_MODE = 0o600


def profiles_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "holdfast" / "profiles.json"


def load_profiles() -> dict[str, dict[str, str]]:
    """Raises Failure."""
    path = profiles_path()
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(PROFILES_BYTES_MAX))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Failure(f"{path} can't be read: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise Failure(f"{path} is not a file of profiles")
    return found


def _save(profiles: dict[str, dict[str, str]]) -> None:
    path = profiles_path()
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
        with open(fd, "w") as file:
            os.fchmod(fd, _MODE)
            file.write(json.dumps(profiles, indent=1) + "\n")
        fresh.replace(path)
    except OSError as error:
        raise Failure(f"{path} can't be written: {error.strerror}") from None


@click.group()
def profile() -> None:
    """Servers and keys, kept under a name.

    The profile called "default" is used where nothing else is said; another one by --profile NAME or
    HOLDFAST_PROFILE=NAME. The file is $XDG_CONFIG_HOME/holdfast/profiles.json, mode 0600. Profiles of
    ~/.aws can be named, too.
    """


@profile.command("add")
@click.argument("name")
@click.option(
    "--endpoint",
    default="http://127.0.0.1:9000",
    show_default=True,
    metavar="URL",
    help="The server.",
)
@click.option("--access-key", metavar="KEY", help="Asked for on a terminal.")
@click.option(
    "--secret-stdin", is_flag=True, help="Read the secret key from standard input, not a terminal."
)
@click.option(
    "--region", default="us-east-1", show_default=True, metavar="NAME", help="Its region."
)
@click.option("--ca-file", type=click.Path(), help="Certificates to trust for this server.")
def add(
    name: str,
    endpoint: str,
    access_key: str | None,
    secret_stdin: bool,
    region: str,
    ca_file: str | None,
) -> None:
    """Keep a server and keys under NAME, in place of what was there.

    \b
    Examples:
      holdfast profile add default --endpoint http://127.0.0.1:9000
      holdfast profile add backup --endpoint https://s3.example.org --access-key AKEXAMPLE
      echo "$SECRET" | holdfast profile add ci --access-key ci --secret-stdin
    """
    from holdfast.client.credentials import resolve
    from holdfast.client.errors import S3Error

    if not access_key:
        if not sys.stdin.isatty():
            raise click.UsageError("give --access-key")
        access_key = click.prompt("Access key")
    if secret_stdin:
        secret = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        secret = click.prompt("Secret key", hide_input=True)
    else:
        raise click.UsageError("the secret key comes from a terminal, or with --secret-stdin")
    if not (access_key and secret):
        raise click.UsageError("both keys are needed")
    try:
        found = resolve(endpoint, access_key=access_key, secret_key=secret, environ={})
    except S3Error as error:
        raise click.UsageError(f"{error.message}. {error.hint}".strip()) from None
    fields = {"endpoint": found.endpoint, "access_key": access_key, "secret_key": secret}
    fields["region"] = region
    if ca_file:
        fields["ca_file"] = os.path.abspath(ca_file)
    _save(load_profiles() | {name: fields})
    if sys.stdout.isatty():
        option = "" if name == "default" else f" --profile {name}"
        say(f"kept as {name!r}; try: holdfast ls{option}")


@profile.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_(as_json: bool) -> None:
    """List the profiles, without their secrets.

    \b
    Examples:
      holdfast profile list
      holdfast profile list --json
    """
    output = Output(json=as_json)
    for name, fields in sorted(load_profiles().items()):
        shown: dict[str, Any] = {"name": name}
        shown |= {field: value for field, value in fields.items() if field != "secret_key"}
        text = "  ".join(
            [f"{name:16}", fields.get("endpoint", ""), fields.get("access_key", "")]
        ).rstrip()
        output.record(shown, text)


@profile.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Forget a profile.

    \b
    Example:
      holdfast profile remove ci
    """
    profiles = load_profiles()
    if profiles.pop(name, None) is None:
        known = ", ".join(sorted(profiles)) or "none"
        raise Failure(f"no profile {name!r}; there are: {known}")
    _save(profiles)
