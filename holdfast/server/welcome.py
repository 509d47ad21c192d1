"""The first screen: where it listens, the keys when they are new, and what to type next.

Colour only on a terminal. With the json log it is one JSON line, without the secret, since such
lines are collected and kept; the keys are in DATA then.
"""

from __future__ import annotations

import json
import os
import sys

from holdfast import __version__
from holdfast.config import Settings
from holdfast.server.data import KEYS_FILE, DataDirectory, RootKeys
from holdfast.server.listeners import Address

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def endpoint(address: Address, secure: bool) -> str:
    """The URL that a client on this machine can use; unix:PATH for a Unix socket."""
    if address.path:
        return str(address)
    reachable = address._replace(host=WILDCARDS.get(address.host, address.host))
    return f"{'https' if secure else 'http'}://{reachable}"


def show(settings: Settings, data: DataDirectory, keys: RootKeys, addresses: list[Address]) -> None:
    """Write the first screen to standard output."""
    endpoints = [endpoint(address, bool(settings.tls_cert)) for address in addresses]
    if settings.log_format == "json":
        line = {
            "event": "ready", "version": __version__, "pid": os.getpid(), "endpoints": endpoints,
            "region": settings.region, "data": str(data.path), "access_key": keys.access_key,
            "keys_generated": keys.generated, "durability": settings.durability,
        }  # fmt: skip
        print(json.dumps(line), flush=True)
        return
    text = screen(settings, data, keys, endpoints)
    if sys.stdout.isatty():
        from rich.console import Console  # slow to import, and only a terminal shows colour
        from rich.text import Text

        styled = Text(text)
        styled.highlight_regex(r"(?m)^Holdfast.*$", "bold")
        styled.highlight_regex(r"(?m)^  (endpoint|region|access key|secret key|keys)\b", "dim")
        styled.highlight_regex(r"(https?://|unix:)[^\s\"]+", "cyan")
        Console().print(styled, soft_wrap=True)
    else:
        print(text, flush=True)


def screen(settings: Settings, data: DataDirectory, keys: RootKeys, endpoints: list[str]) -> str:
    """The first screen as plain text."""
    lines = [f"Holdfast {__version__} serves {data.path}", ""]
    lines += [f"  endpoint    {url}" for url in endpoints]
    lines += [f"  region      {settings.region}", f"  access key  {keys.access_key}"]
    if keys.generated:
        lines.append(f"  secret key  {keys.secret_key}")
        lines.append(f"  keys        new, shown only now; kept in {data.path / KEYS_FILE}")
        secret = keys.secret_key
    else:
        where = "the settings" if settings.access_key else str(data.path / KEYS_FILE)
        lines.append(f"  secret key  as in {where}")
        secret = "SECRET_KEY"
    url = next((url for url in endpoints if not url.startswith("unix:")), "")
    at = url or "http://localhost"
    unix = "" if url else f"--unix-socket {endpoints[0].removeprefix('unix:')} "
    lines += [
        "",
        "What to type next:",
        "",
        f"  export AWS_ACCESS_KEY_ID={keys.access_key} AWS_SECRET_ACCESS_KEY={secret} "
        f"AWS_DEFAULT_REGION={settings.region}",
    ]
    if url:
        lines.append(f"  aws --endpoint-url {url} s3 mb s3://my-bucket")
    lines += [
        f'  curl {unix}--aws-sigv4 "aws:amz:{settings.region}:s3" '
        '--user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" '
        f'-H "x-amz-content-sha256: UNSIGNED-PAYLOAD" {at}/',
    ]
    if url:
        lines += [
            "",
            "  import boto3",
            f'  s3 = boto3.client("s3", endpoint_url="{url}")',
            "  print(s3.list_buckets())",
        ]
    return "\n".join([*lines, ""])
