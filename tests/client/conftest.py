"""A store of each face on a server in this process, with waits too short to notice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast.client import RetryConfig, TransferConfig
from holdfast.testing.server import Server

from .faces import FACES, connect

MIB = 1024 * 1024
PART = 5 * MIB
Connect = Callable[..., Any]
_numbers = itertools.count()


def _loop(face: str) -> asyncio.AbstractEventLoop:
    if face == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return made
    return asyncio.new_event_loop()


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connected(face: str, server: Server) -> Iterator[Connect]:
    """connected(url=…, any argument of connect): a store of this face, closed at the end."""
    stores = []
    with asyncio.Runner(loop_factory=lambda: _loop(face)) as runner:

        def make(url: str | None = None, **options: Any) -> Any:
            chosen = {
                "access_key": server.access_key,
                "secret_key": server.secret_key,
                "transfer": TransferConfig(PART, PART, 3),
                "retry": RetryConfig(4, 0.001, 0.002),
                "timeout": 20.0,
                **options,
            }
            stores.append(connect(face, runner, url or server.endpoint, **chosen))
            return stores[-1]

        yield make
        for store in stores:
            store.close()


@pytest.fixture
def store(connected: Connect) -> Any:
    return connected()


@pytest.fixture
def bucket(store: Any) -> str:
    name = f"client-{next(_numbers)}"
    store.create_bucket(name)
    return name
