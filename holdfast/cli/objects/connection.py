"""Which server a command talks to, and its options for that.

Rule: flags, then the named profile, then the environment, then the profile "default", then ~/.aws. Keys
come as a whole from one of them. HOLDFAST_* keys without an endpoint mean a Holdfast on this machine.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from holdfast.cli.failure import Command
from holdfast.cli.objects.output import Output

if TYPE_CHECKING:
    from holdfast.client.asynchronous import AsyncObjectStore
    from holdfast.client.config import RetryConfig
    from holdfast.client.store import ObjectStore

DEFAULT_ENDPOINT = "http://127.0.0.1:9000"
#: of single requests: who waits wants to know soon
ATTEMPTS = 3
#: of transfers: over 30 s at the mean, so that a server may be restarted meanwhile
TRANSFER_ATTEMPTS = 12
WAIT_SECONDS_MAX = 10.0
_ENDPOINTS = ("HOLDFAST_ENDPOINT", "HOLDFAST_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
_HOLDFAST_KEYS = ("HOLDFAST_ACCESS_KEY", "HOLDFAST_SECRET_KEY")
_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class Connection(NamedTuple):
    """What the options say."""

    endpoint: str | None = None
    profile: str | None = None
    region: str | None = None
    anonymous: bool = False
    ca_file: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Of ObjectStore.connect. Raises Failure."""
        environ = os.environ
        name = self.profile or environ.get("HOLDFAST_PROFILE")
        kept = _kept_profile(name, environ)
        ca_file = self.ca_file or kept.get("ca_file") or environ.get("AWS_CA_BUNDLE")
        found: dict[str, Any] = {"verify": ca_file or True, "anonymous": self.anonymous}
        if kept:
            found["url"] = self.endpoint or kept.get("endpoint")
            found["region"] = self.region or kept.get("region")
            if not self.anonymous:
                found["access_key"], found["secret_key"] = kept["access_key"], kept["secret_key"]
            return found
        url = self.endpoint
        if not name:
            url = url or next((environ[n] for n in _ENDPOINTS if environ.get(n)), None)
            if not url and not environ.get("AWS_ENDPOINT_URL") and _has(environ, _HOLDFAST_KEYS):
                url = DEFAULT_ENDPOINT
        return found | {"url": url, "region": self.region, "profile": self.profile}

    def origin(self) -> str:
        """Where the keys are from, for messages."""
        name = self.profile or os.environ.get("HOLDFAST_PROFILE")
        if name:
            return f"profile {name!r}"
        for names in (_HOLDFAST_KEYS, _AWS_KEYS):
            if _has(os.environ, names):
                return f"{names[0]} and {names[1]} of the environment"
        return "profile 'default'"

    def store(self, attempts: int = ATTEMPTS) -> ObjectStore:
        from holdfast.client.store import ObjectStore

        return ObjectStore.connect(**self.arguments(), retry=_retry(attempts))

    def store_async(self) -> AsyncObjectStore:
        from holdfast.client.store import ObjectStore

        return ObjectStore.connect_async(**self.arguments(), retry=_retry(TRANSFER_ATTEMPTS))


def _retry(attempts: int) -> RetryConfig:
    from holdfast.client.config import RetryConfig

    return RetryConfig(attempts=attempts, cap=WAIT_SECONDS_MAX)


def _has(environ: Mapping[str, str], names: tuple[str, ...]) -> bool:
    return all(environ.get(name) for name in names)


def _kept_profile(name: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The profile to use out of `holdfast profile`, {} where another source comes first."""
    if not name and (_has(environ, _HOLDFAST_KEYS) or _has(environ, _AWS_KEYS)):
        return {}
    from holdfast.cli.objects.profiles import load_profiles, profiles_path

    if not profiles_path().exists():
        return {}
    return load_profiles().get(name or "default", {})


_OPTIONS = (
    click.option("--endpoint", metavar="URL", help="The server, e.g. http://127.0.0.1:9000."),
    click.option("--profile", metavar="NAME", help="Of `holdfast profile list`, or of ~/.aws."),
    click.option("--region", metavar="NAME", help="Default: us-east-1."),
    click.option("--anonymous", is_flag=True, help="Sign nothing, for what is public."),
    click.option(
        "--ca-file", type=click.Path(), help="Certificates to trust instead of the system's."
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON object per line."),
    click.option("--no-color", is_flag=True, help="No colours; NO_COLOR=1 does the same."),
)


def object_options(command: Callable[..., None]) -> Command:
    """The options that all these commands have, as arguments `connection` and `output`; what goes
    wrong becomes one line."""

    @functools.wraps(command)
    def run(
        endpoint: str | None,
        profile: str | None,
        region: str | None,
        anonymous: bool,
        ca_file: str | None,
        as_json: bool,
        no_color: bool,
        **rest: object,
    ) -> None:
        connection = Connection(endpoint, profile, region, anonymous, ca_file)
        from holdfast.cli.objects.failures import failing_in_one_line

        with failing_in_one_line(connection):
            command(connection=connection, output=Output(json=as_json, color=not no_color), **rest)

    decorated: Command = run
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
