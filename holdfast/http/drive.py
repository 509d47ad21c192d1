"""Runs a coroutine without a Task: at once, as far as it gets, then step by step as futures end.

Most requests never wait, so they cost neither a Task nor a turn of the loop. The price: inside,
`asyncio.current_task()` is None, so whatever needs it (timeout, TaskGroup) can't be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

#: called exactly once with (result, None) or (None, exception)
OnEnd = Callable[[Any, BaseException | None], None]


class Driver:
    """Steps one coroutine, whenever the future that it waits for is done."""

    __slots__ = ("_coroutine", "_loop", "_on_end")

    def __init__(
        self, coroutine: Generator[Any, Any, Any], loop: asyncio.AbstractEventLoop, on_end: OnEnd
    ) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._on_end = on_end

    def step(self, _done: object = None) -> None:
        try:
            yielded = self._coroutine.send(None)
        except StopIteration as stop:
            self._on_end(stop.value, None)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - handed to on_end
            self._on_end(None, error)
        else:
            self.wait(yielded)

    def wait(self, yielded: Any) -> None:
        """Go on when `yielded` is done; None is the bare yield of `asyncio.sleep(0)`."""
        if yielded is None:
            self._loop.call_soon(self.step)
        elif getattr(yielded, "_asyncio_future_blocking", None):
            # the protocol between Task and Future: the flag says that `await` was used
            yielded._asyncio_future_blocking = False
            yielded.add_done_callback(self.step)
        else:
            self._refuse(yielded)

    def _refuse(self, yielded: object) -> None:
        error = RuntimeError(f"a handler awaited {type(yielded).__name__}, which is no future")
        try:
            self._coroutine.close()
        except RuntimeError:  # it caught GeneratorExit and yielded again; nothing more can be done
            pass
        self._on_end(None, error)


def drive(awaitable: Awaitable[Any], loop: asyncio.AbstractEventLoop, on_end: OnEnd) -> None:
    """Run `awaitable` as far as it gets without waiting; `on_end` is called once, maybe at once."""
    coroutine = awaitable.__await__()
    try:
        yielded = coroutine.send(None)
    except StopIteration as stop:
        on_end(stop.value, None)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - handed to on_end
        on_end(None, error)
    else:
        Driver(coroutine, loop, on_end).wait(yielded)
