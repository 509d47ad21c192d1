"""SOURCE and --to: a profile's name or a URL, as something to connect to."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import click

from holdfast.cli.objects.connection import Connection

SOURCE_KEYS = ("HOLDFAST_SOURCE_ACCESS_KEY", "HOLDFAST_SOURCE_SECRET_KEY")


class SourceUrl(Connection):
    """A source that is named by its address: its keys are its own, never those of the destination."""

    def arguments(self) -> dict[str, Any]:
        """Raises click.UsageError where there are no keys."""
        found: dict[str, Any] = {"url": self.endpoint, "region": self.region or "us-east-1"}
        found["verify"] = os.environ.get("AWS_CA_BUNDLE") or True
        if urlsplit(self.endpoint or "").username:
            return found
        keys = [os.environ.get(name) for name in SOURCE_KEYS]
        if not all(keys):
            raise click.UsageError(
                f"no keys for {self.endpoint}: keep them with `holdfast profile add NAME --endpoint "
                f"{self.endpoint}` and import from NAME, or set {SOURCE_KEYS[0]} and {SOURCE_KEYS[1]}"
            )
        found["access_key"], found["secret_key"] = keys
        return found

    def origin(self) -> str:
        if urlsplit(self.endpoint or "").username:
            return "its URL"
        return f"{SOURCE_KEYS[0]} and {SOURCE_KEYS[1]} of the environment"


def is_url(text: str) -> bool:
    return "://" in text


def source_of(text: str) -> Connection:
    return SourceUrl(endpoint=text) if is_url(text) else Connection(profile=text)


def target_of(text: str | None, connection: Connection) -> Connection:
    """Raises click.UsageError where --to and another option name two servers."""
    if text is None:
        return connection
    if connection.endpoint or connection.profile:
        raise click.UsageError("--to names the destination; leave out --endpoint and --profile")
    if is_url(text):
        return connection._replace(endpoint=text)
    return connection._replace(profile=text)
