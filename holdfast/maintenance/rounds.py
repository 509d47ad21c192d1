"""Work that comes again and again beside the requests, and must outlive any one fault."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from holdfast.meta.contract import MetaUnavailable

_log = logging.getLogger("holdfast.maintenance")


class Round(NamedTuple):
    """`work`, first after `first_seconds`, then `pause_seconds` after each end of it."""

    name: str
    work: Callable[[], Coroutine[Any, Any, None]]
    first_seconds: float
    pause_seconds: float


async def run_rounds(rounds: tuple[Round, ...], stop: asyncio.Event) -> None:
    """All of them until `stop`; what is under way is cut off, which harms no more than a crash
    would: nothing. Faults are logged, and the work is tried again in its next round."""
    tasks = [asyncio.create_task(_repeat(one)) for one in rounds]
    try:
        await stop.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(one: Round) -> None:
    await asyncio.sleep(one.first_seconds)
    while True:
        try:
            await one.work()
        except (MetaUnavailable, OSError) as error:
            _log.warning("%s was interrupted, and goes on later: %s", one.name, error)
        except Exception:  # noqa: BLE001 - it must outlive any one fault
            _log.exception("%s failed, and is tried again", one.name)
        await asyncio.sleep(one.pause_seconds)
