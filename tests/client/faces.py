"""Both faces of the client behind one: tests are written once, and run for each.

A face has the synchronous store's methods; the asynchronous store is driven on a loop of its own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from holdfast.client import ObjectStore

FACES = ("sync", "asyncio", "uvloop")


class AsyncFace:
    def __init__(self, runner: asyncio.Runner, inner: Any) -> None:
        self._runner, self._inner = runner, inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._wrapped(found) if callable(found) else found

    def _wrapped(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = method(*arguments, **named)
            if inspect.isawaitable(result):
                result = self.run(_value(result))
            elif hasattr(result, "__aiter__"):
                result = self.run(_collected(result))
            return AsyncFace(self._runner, result) if hasattr(result, "iter_chunks") else result

        return call

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def __iter__(self) -> Any:
        return iter(self.run(_collected(self._inner)))

    def __enter__(self) -> AsyncFace:
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._inner.close())


async def _value(awaitable: Any) -> Any:
    return await awaitable


async def _collected(iterable: Any) -> list[Any]:
    return [item async for item in iterable]


def connect(face: str, runner: asyncio.Runner, *arguments: Any, **named: Any) -> Any:
    if face == "sync":
        return ObjectStore.connect(*arguments, **named)
    return AsyncFace(runner, ObjectStore.connect_async(*arguments, **named))
