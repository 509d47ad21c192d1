"""Several users on one server, each a signing client; and nobody, who does not sign."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from holdfast.server.accounts import administration
from holdfast.testing.server import Server

from .raw import Answer, Raw, Site

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"


class User(Raw):
    """A client with an account of its own: `id`, and `name` as the display name."""

    def __init__(self, server: Server, name: str, account_id: str, email: str = "") -> None:
        async def add() -> dict[str, Any]:
            async with administration(server.settings) as admin:
                return await admin.add_user(name, account_id, email, "", "", 1)

        made = asyncio.run(add())
        super().__init__(
            Site(server.endpoint, server.region, made["access_key"], made["secret_key"])
        )
        self.id: str = made["id"]
        self.name = name


class Nobody(Raw):
    """An anonymous client."""

    def __call__(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        payload: str | None = None,
    ) -> Answer:
        sent = {"host": self.host, **(headers or {})}
        if body or method in ("PUT", "POST"):
            sent["content-length"] = str(len(body))
        return self.send(method, path, query, sent, body)


def policy(*statements: Mapping[str, Any]) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()


def allow(action: str | list[str], resource: str, **more: Any) -> dict[str, Any]:
    """A statement; `resource` is what follows arn:aws:s3:::."""
    one: dict[str, Any] = {"Effect": "Allow", "Principal": "*", "Action": action,
                           "Resource": f"arn:aws:s3:::{resource}"}  # fmt: skip
    return {**one, **more}


def deny(action: str | list[str], resource: str, **more: Any) -> dict[str, Any]:
    return allow(action, resource, **{"Effect": "Deny", **more})


def open_up(owner: Raw, bucket: str, ownership: str = "BucketOwnerEnforced") -> None:
    """No public access block, and that object ownership."""
    assert owner("DELETE", f"/{bucket}", "publicAccessBlock").status == 204
    document = f"<OwnershipControls><Rule><ObjectOwnership>{ownership}</ObjectOwnership></Rule></OwnershipControls>"  # noqa: E501
    answer = owner("PUT", f"/{bucket}", "ownershipControls", body=document.encode())
    assert answer.status == 200
