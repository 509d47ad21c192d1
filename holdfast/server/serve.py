"""`holdfast serve`: prepares everything that all processes share, then runs them.

Order, each step failing closed before the next: lock DATA, its format and keys, the access log, the
certificate, the blob store (which wipes tmp/), the listeners, the processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

from holdfast.blobs.digests import crt
from holdfast.blobs.files import FileBlobStore
from holdfast.config import Settings
from holdfast.server import roles
from holdfast.server.committer import COMMITTER_STOP_SECONDS
from holdfast.server.data import DataDirectory, RootKeys
from holdfast.server.gateway import Site, run_on_loop
from holdfast.server.leases import OldestReads
from holdfast.server.listeners import Address, close_listeners, open_listeners, remove_unix_paths
from holdfast.server.logs import check_access_log
from holdfast.server.metadata import Metadata
from holdfast.server.notify import notify_ready
from holdfast.server.supervisor import SAME_SIGNAL_SECONDS, Role, Supervisor
from holdfast.server.tls import Certificate

#: beyond the grace time, for closing what is left
WORKER_STOP_EXTRA_SECONDS = 5.0
MAINTENANCE_STOP_SECONDS = 5.0
WORKERS, MAINTENANCE, COMMITTER = range(3)  # the order in which they stop

_log = logging.getLogger("holdfast.server")

#: called once when all is up: (data, keys, addresses)
OnReady = Callable[[DataDirectory, RootKeys, list[Address]], None]


def single_process(settings: Settings) -> bool:
    """Whether everything runs in one process: asked for, or fork is missing."""
    return settings.single_process or not hasattr(os, "fork")


@contextlib.contextmanager
def opened_site(
    settings: Settings, workers: int, clock: Callable[[], float] = time.time
) -> Iterator[tuple[Site, RootKeys]]:
    """Everything the processes share. Raises DataError, TlsError, ListenError, OSError."""
    with contextlib.ExitStack() as stack:
        data = DataDirectory.open(settings.data)
        stack.callback(data.close)
        keys = data.root_keys(settings)
        if settings.access_log:
            check_access_log(settings.access_log)
        certificate = None
        if settings.tls_cert:
            certificate = Certificate(settings.tls_cert, settings.tls_key)
        relaxed = settings.durability == "relaxed"
        blobs = FileBlobStore(data.path, durability="relaxed" if relaxed else "full")
        stack.callback(blobs.close)
        blobs.prepare()
        metadata = Metadata(data.path, settings, clock)
        stack.callback(metadata.close)
        listeners = open_listeners(settings.listen, workers)
        stack.callback(close_listeners, listeners)
        stack.callback(remove_unix_paths, listeners)
        site = Site(
            settings=settings,
            data=data,
            root=data.root_credential(keys),
            blobs=blobs,
            metadata=metadata,
            listeners=listeners,
            certificate=certificate,
            leases=OldestReads(workers),
            clock=clock,
        )
        yield site, keys


def serve(settings: Settings, on_ready: OnReady) -> int:
    """Run the server until a signal ends it; the exit status. Raises what `opened_site` raises."""
    alone = single_process(settings)
    workers = 1 if alone else settings.worker_count
    crt()  # now, so that no request waits for it, and the children share it
    with opened_site(settings, workers) as (site, keys):
        addresses = [listener.address for listener in site.listeners]
        _warn(settings, addresses)

        def ready() -> None:
            on_ready(site.data, keys, addresses)
            notify_ready()

        if alone:
            run_on_loop(_run_alone(site, ready), settings.loop)
            return 0
        return _supervise(site, workers, ready)


def _supervise(site: Site, workers: int, ready: Callable[[], None]) -> int:
    stop_seconds = site.settings.grace_seconds + WORKER_STOP_EXTRA_SECONDS
    children = [
        Role("committer", partial(roles.run_committer, site), COMMITTER,
             COMMITTER_STOP_SECONDS),
        *(
            Role(f"worker {n}", partial(roles.run_worker, site, n), WORKERS, stop_seconds,
                 after_death=partial(site.leases.publish, n, 0))
            for n in range(workers)
        ),
        Role("maintenance", partial(roles.run_maintenance, site), MAINTENANCE,
             MAINTENANCE_STOP_SECONDS),
    ]  # fmt: skip
    # from then on only the workers' own copies are open, and close when they stop accepting
    return Supervisor(children, ready, on_stop=partial(close_listeners, site.listeners)).run()


async def _run_alone(site: Site, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    hurried_from = 0.0

    def on_signal() -> None:
        nonlocal hurried_from
        if not stop.is_set():
            hurried_from = loop.time() + SAME_SIGNAL_SECONDS
            stop.set()
        elif loop.time() >= hurried_from:
            _log.warning("second signal: not waiting any longer")
            os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, on_signal)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(on_signal))
    process = roles.SingleProcess(site)
    await process.start()
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, process.reload)
    ready()
    await stop.wait()
    _log.info("stopping")
    await process.stop(site.settings.grace_seconds)


def _warn(settings: Settings, addresses: list[Address]) -> None:
    if settings.durability == "relaxed":
        _log.warning(
            "durability is relaxed: writes are answered before they are on the disk, "
            "and a power cut may lose the last seconds of them"
        )
    for address in addresses:
        if not settings.tls_cert and not address.loopback:
            _log.warning(
                "%s can be reached from other machines and has no TLS: what is sent can be read "
                "on the way; set tls_cert and tls_key, or put a TLS proxy in front", address,
            )  # fmt: skip
