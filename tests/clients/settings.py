"""What docs/clients.md tells users to type, for a server that runs here.

Rule: the tests have no settings of their own, so that the page can't go stale.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ..serving import ACCESS_KEY, ROOT, SECRET_KEY

PAGE = (ROOT / "docs" / "clients.md").read_text()
#: would change what a client does, whatever the page says
_FOREIGN = ("AWS_", "RCLONE_", "RESTIC_", "HOLDFAST_", "PYICEBERG_")


def _section(client: str) -> str:
    found = re.search(rf"^## {re.escape(client)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"docs/clients.md has no section {client}"
    return found[1]


def fill_in(text: str, endpoint: str) -> str:
    """The page's example server replaced by the one at `endpoint`."""
    host = endpoint.partition("://")[2]
    for example, value in (
        ("127.0.0.1:9000", host),
        ("my-access-key", ACCESS_KEY),
        ("a-long-secret", SECRET_KEY),
    ):
        text = text.replace(example, value)
    return text


def environment(client: str, endpoint: str) -> dict[str, str]:
    """This process's environment, and the section's `export NAME=value` lines."""
    exported = re.findall(r"^export (\w+)=(\S+)$", _section(client), re.M)
    assert exported, client
    return clean_environment() | {name: fill_in(value, endpoint) for name, value in exported}


def clean_environment() -> dict[str, str]:
    """This process's environment without what tells a client of a server."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith(_FOREIGN)}
    # no file of the user's, either
    files = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "RCLONE_CONFIG")
    return clean | dict.fromkeys(files, "/nonexistent/config")


def block(client: str, language: str, endpoint: str) -> str:
    """The section's first code block in `language`."""
    found = re.search(rf"^```{language}\n(.*?)^```", _section(client), re.M | re.S)
    assert found, f"docs/clients.md: {client} has no block in {language}"
    return fill_in(found[1], endpoint)


def namespace(client: str, endpoint: str) -> dict[str, Any]:
    """What the section's first Python block defines, having run it."""
    names: dict[str, Any] = {}
    exec(compile(block(client, "python", endpoint), f"docs/clients.md: {client}", "exec"), names)
    return names
