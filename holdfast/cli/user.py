"""`holdfast user`: accounts and their access keys, while a server runs or not.

Rule: a secret is shown once, when it is made; what is listed never holds one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from holdfast.cli.failure import Failure
from holdfast.cli.options import load_settings, settings_options

if TYPE_CHECKING:
    from holdfast.server.accounts import Administration

T = TypeVar("T")

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ACCESS_KEY = click.option(
    "--access-key", default="", help="The access key to import; without it one is generated."
)
_SECRET_KEY = click.option(
    "--secret-key", default="", help="Its secret key; - reads a line from standard input."
)


@click.group()
def user() -> None:
    """Users with buckets and access keys of their own.

    On the server's machine, whether it runs or not; DATA is the directory that it serves.

    \b
    Examples:
      holdfast user add alice /srv/holdfast
      holdfast user key add alice /srv/holdfast
      holdfast user list /srv/holdfast
    """


@user.group()
def key() -> None:
    """The access keys of a user."""


def _run(
    config_file: str | None,
    flags: dict[str, object],
    work: Callable[[Administration], Awaitable[T]],
) -> T:
    settings = load_settings(config_file, flags).settings
    import asyncio

    from holdfast.server.accounts import AccountError, administration
    from holdfast.server.data import DataError

    async def run() -> T:
        async with administration(settings) as admin:
            return await work(admin)

    try:
        return asyncio.run(run())
    except (AccountError, DataError, OSError) as error:
        raise Failure(str(error)) from None


def _now_ms() -> int:
    return int(time.time() * 1000)


def _secret(text: str) -> str:
    return sys.stdin.readline().rstrip("\r\n") if text == "-" else text


def _print(as_json: bool, fields: dict[str, Any]) -> None:
    if as_json:
        click.echo(json.dumps(fields, indent=1))
        return
    for name, value in fields.items():
        if value:
            click.echo(f"{name.replace('_', ' '):12} {value}")


@user.command("add")
@click.argument("name")
@click.option("--email", default="", help="Email address, for ACLs that grant by it.")
@click.option("--id", "account_id", default="", help="Canonical user id. Default: a new one.")
@_ACCESS_KEY
@_SECRET_KEY
@_JSON
@settings_options(frozenset())
def add(
    name: str,
    email: str,
    account_id: str,
    access_key: str,
    secret_key: str,
    as_json: bool,
    config_file: str | None,
    **flags: object,
) -> None:
    """Add a user with an access key, whose secret is shown this once.

    \b
    Examples:
      holdfast user add alice /srv/holdfast
      echo "$SECRET" | holdfast user add ci /srv/holdfast --access-key ci --secret-key -
    """
    secret = _secret(secret_key)

    async def work(admin: Administration) -> dict[str, Any]:
        return await admin.add_user(name, account_id, email, access_key, secret, _now_ms())

    fields = _run(config_file, flags, work)
    if secret:
        del fields["secret_key"]
    _print(as_json, fields)


@user.command("list")
@_JSON
@settings_options(frozenset())
def list_(as_json: bool, config_file: str | None, **flags: object) -> None:
    """List the users."""

    async def work(admin: Administration) -> list[dict[str, Any]]:
        return await admin.users()

    users = _run(config_file, flags, work)
    if as_json:
        click.echo(json.dumps(users, indent=1))
        return
    for one in users:
        click.echo(f"{one['name']}  {one['id']}  {one['email']}".rstrip())


@user.command("remove")
@click.argument("name")
@settings_options(frozenset())
def remove(name: str, config_file: str | None, **flags: object) -> None:
    """Remove a user that owns no bucket. Its access keys are worthless at once."""

    async def work(admin: Administration) -> None:
        await admin.remove_user(name)

    _run(config_file, flags, work)


@key.command("add")
@click.argument("name")
@_ACCESS_KEY
@_SECRET_KEY
@_JSON
@settings_options(frozenset())
def key_add(
    name: str,
    access_key: str,
    secret_key: str,
    as_json: bool,
    config_file: str | None,
    **flags: object,
) -> None:
    """Give a user another access key, whose secret is shown this once."""
    secret = _secret(secret_key)

    async def work(admin: Administration) -> dict[str, Any]:
        return await admin.add_key(name, access_key, secret, _now_ms())

    fields = _run(config_file, flags, work)
    if secret:
        del fields["secret_key"]
    _print(as_json, fields)


@key.command("remove")
@click.argument("access_key")
@settings_options(frozenset())
def key_remove(access_key: str, config_file: str | None, **flags: object) -> None:
    """Remove an access key; it is worthless at once."""

    async def work(admin: Administration) -> None:
        await admin.remove_key(access_key)

    _run(config_file, flags, work)


@key.command("list")
@click.argument("name")
@_JSON
@settings_options(frozenset())
def key_list(name: str, as_json: bool, config_file: str | None, **flags: object) -> None:
    """List a user's access keys."""

    async def work(admin: Administration) -> list[dict[str, Any]]:
        return await admin.keys(name)

    keys = _run(config_file, flags, work)
    if as_json:
        click.echo(json.dumps(keys, indent=1))
        return
    for one in keys:
        click.echo(one["access_key"])
