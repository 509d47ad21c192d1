"""Accounts across processes: what an administrator changes counts in every worker at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from holdfast.config import load
from holdfast.server.accounts import Administration, administration
from tests.s3.raw import Raw, Site
from tests.serving import ServeProcess

Factory = Callable[..., ServeProcess]
#: enough fresh connections to reach both workers, whatever the kernel's hash does
CONNECTIONS = 24
ROUNDS = 5


def administer(data: Path, work: Callable[[Administration], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        settings = load({"data": str(data)}, environ={}).settings
        async with administration(settings) as admin:
            return await work(admin)

    return asyncio.run(run())


def test_a_key_ends_in_all_workers_at_once(serve_process: Factory) -> None:
    server = serve_process("--workers", "2", "--durability", "relaxed")
    data = server.data
    administer(data, lambda admin: admin.add_user("alice", "alice-id", "", "", "", 1))
    for _ in range(ROUNDS):
        key = administer(data, lambda admin: admin.add_key("alice", "", "", 1))
        site = Site(server.endpoint, "us-east-1", key["access_key"], key["secret_key"])
        clients = [Raw(site) for _ in range(CONNECTIONS)]
        try:
            assert {client("GET", "/").status for client in clients} == {200}
            access_key = site.access_key
            administer(data, lambda admin, gone=access_key: admin.remove_key(gone))  # type: ignore[misc]
            assert {client("GET", "/").code for client in clients} == {"InvalidAccessKeyId"}
        finally:
            for client in clients:
                client.close()
