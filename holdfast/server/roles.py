"""What each process does: a worker, the committer, maintenance; and all of them in one process.

Rule: a process is told to end over its channel, and ends when it has finished what was under way.
Nothing here decides anything: it only runs the parts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial

from holdfast.maintenance.collector import Collector
from holdfast.maintenance.rounds import Round, run_rounds
from holdfast.maintenance.uploads import FIRST_ROUND_SECONDS, ROUND_SECONDS, UploadExpiry
from holdfast.server.committer import CommitterThread
from holdfast.server.control import Control
from holdfast.server.gateway import Gateway, Site, run_on_loop
from holdfast.server.listeners import close_guards, close_listeners


def run_worker(site: Site, worker: int, control: Control) -> None:
    """The child that serves `worker`'s sockets."""
    close_guards(site.listeners)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        gateway = Gateway(site, worker)
        control.watch(
            on_stop=lambda: _on_loop(loop, stop.set),
            on_reload=lambda: _on_loop(loop, gateway.reload),
            on_cover=lambda others: _on_loop(loop, partial(gateway.cover, others)),
        )
        if await _unless_stopped(gateway.start(), stop):
            control.ready()
            await stop.wait()
        await gateway.drain(site.settings.grace_seconds)

    try:
        run_on_loop(main(), site.settings.loop)
    finally:
        site.blobs.release()


def run_committer(site: Site, control: Control) -> None:
    """The child that owns the database: a blocking loop, ended from the channel's thread."""
    close_listeners(site.listeners)
    committer = site.metadata.make_committer()
    control.watch(on_stop=committer.stop)
    site.metadata.when_opened(control.ready)
    committer.run()


def run_maintenance(site: Site, control: Control) -> None:
    """The child that works beside the requests."""
    close_listeners(site.listeners)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        control.watch(on_stop=lambda: _on_loop(loop, stop.set))
        control.ready()
        await maintain(site, stop)

    run_on_loop(main(), site.settings.loop)


async def maintain(site: Site, stop: asyncio.Event) -> None:
    """Checkpoints, garbage collection, expiry of uploads, until `stop`."""
    opening = asyncio.ensure_future(site.metadata.open_store())
    if not await _unless_stopped(opening, stop):
        return
    store = opening.result()
    collector = Collector(
        store.meta,
        site.blobs,
        grace_seconds=site.settings.gc_grace_seconds,
        now=site.clock,
        oldest_read_ms=lambda: site.leases.oldest_ms(int(site.clock() * 1000)),
    )
    rounds = collector.rounds()
    if days := site.settings.multipart_expiry_days:
        expiry = UploadExpiry(store.meta, days=days, now=site.clock)
        rounds += (Round("expiry", expiry.round, FIRST_ROUND_SECONDS, ROUND_SECONDS),)
    checkpoints_end = threading.Event()
    checkpoints = asyncio.create_task(asyncio.to_thread(site.metadata.checkpoint, checkpoints_end))
    rest = asyncio.create_task(run_rounds(rounds, stop))
    try:
        # neither ends before `stop`, unless it failed; then the process is to start anew
        await asyncio.wait({checkpoints, rest}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        checkpoints_end.set()
        await asyncio.gather(checkpoints, rest)
        await store.close()


class SingleProcess:
    """Every role in this process: the gateway and maintenance on the running loop, the committer in
    a thread. For tests, and where fork is missing. `start`, then `stop`, once each."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._gateway = Gateway(site, 0)
        self._stop = asyncio.Event()
        self._maintenance: asyncio.Task[None] | None = None
        self._committer = CommitterThread(site.metadata)

    async def start(self) -> None:
        """Returns when requests are answered. Raises OSError, MetaUnavailable."""
        self._committer.start()
        await self._gateway.start()
        self._maintenance = asyncio.get_running_loop().create_task(maintain(self._site, self._stop))

    def reload(self) -> None:
        self._gateway.reload()

    async def stop(self, grace_seconds: float) -> None:
        """The same order as between processes: requests, maintenance, then the committer."""
        await self._gateway.drain(grace_seconds)
        self._stop.set()
        if self._maintenance is not None:
            await self._maintenance
        await self._committer.stop()


async def _unless_stopped(work: Awaitable[object], stop: asyncio.Event) -> bool:
    """Await `work`, or give it up once `stop` is set. Whether it is done; raises what it raised."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    await task
    return True


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call it on the loop, from another thread; a loop that has ended needs no call."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        pass
