"""The serving part of a worker, on its loop: sockets, HTTP, S3. The same in every kind of process.

Rule: what is made before a fork comes in by `Site`; what belongs to one loop is made here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from holdfast.auth.identity import Credential
from holdfast.blobs.contract import BlobStore
from holdfast.config import Settings
from holdfast.http.limits import Limits
from holdfast.http.message import Handler
from holdfast.http.server import HttpServer
from holdfast.iam.directory import Directory
from holdfast.s3.call import Services
from holdfast.s3.leases import ReadLeases
from holdfast.s3.ownership import Defaults
from holdfast.s3.pipeline import make_handler
from holdfast.s3.render import protocol_error_response
from holdfast.s3.server_log import ServerLog
from holdfast.server import tls
from holdfast.server.data import DataDirectory
from holdfast.server.health import Health, with_health
from holdfast.server.leases import OldestReads
from holdfast.server.listeners import BACKLOG, Listener
from holdfast.server.logs import AccessLog
from holdfast.server.metadata import Metadata, WorkerStore

_log = logging.getLogger("holdfast.worker")


@dataclass(slots=True)
class Site:
    """What all processes share; made before the first fork."""

    settings: Settings
    data: DataDirectory
    root: Credential
    blobs: BlobStore
    metadata: Metadata
    listeners: list[Listener]
    certificate: tls.Certificate | None
    leases: OldestReads
    #: seconds since the epoch; tests move it
    clock: Callable[[], float]
    #: tests put their own in front, to see requests and to inject faults
    make_handler: Callable[[Services, ServerLog], Handler] = make_handler


def run_on_loop(main: Coroutine[Any, Any, None], loop_name: str) -> None:
    """asyncio.run on the loop that the setting names."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop_name != "asyncio":
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:
            if loop_name == "uvloop":
                raise
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


class Gateway:
    """One worker's servers. `start`, then `drain`; both on the same loop."""

    def __init__(self, site: Site, worker: int) -> None:
        self._site = site
        self._worker = worker
        self._servers: list[asyncio.AbstractServer] = []
        self._covering: list[asyncio.AbstractServer] = []
        self._cover_change: asyncio.Task[None] | None = None
        self._covers = False
        self._poll: asyncio.Task[None] | None = None
        self._access_log: AccessLog | None = None
        self._store: WorkerStore | None = None
        self._http: HttpServer | None = None
        self._server_log: ServerLog | None = None

    async def start(self) -> None:
        """Serve this worker's sockets. Raises OSError."""
        site, settings = self._site, self._site.settings
        loop = asyncio.get_running_loop()
        self._store = store = await site.metadata.open_store()
        services = Services(
            meta=store.meta,
            blobs=site.blobs,
            directory=Directory(store.meta, site.root),
            now=site.clock,
            region=settings.region,
            domains=settings.domain,
            website_domains=settings.website_domain,
            inline_bytes_max=settings.inline_bytes_max,
            new_buckets=Defaults(
                settings.default_object_ownership, settings.default_public_access_block
            ),
            leases=ReadLeases(partial(site.leases.publish, self._worker)),
        )
        if settings.access_log:
            self._access_log = AccessLog(settings.access_log, settings.log_format == "json", loop)
        self._server_log = ServerLog(services, settings.server_log_seconds)
        health = Health(site.data.path, store.ping)
        self._http = HttpServer(
            with_health(site.make_handler(services, self._server_log), health),
            Limits(
                connections_max=settings.connections_max,
                idle_seconds=settings.idle_seconds,
                head_seconds=settings.head_seconds,
                body_seconds=settings.body_seconds,
                write_seconds=settings.write_seconds,
                write_rate_grace_seconds=settings.write_seconds,
            ),
            log=self._access_log.add if self._access_log else None,
            loop=loop,
            error_response=protocol_error_response,
        )
        for listener in site.listeners:
            own = listener.socket_for(self._worker)
            self._servers.append(await self._serve(self._http, listener, own))
        if site.certificate is not None:
            self._poll = loop.create_task(_follow(site.certificate))

    async def _serve(
        self, http: HttpServer, listener: Listener, sock: socket.socket
    ) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        if listener.address.path:
            kwargs: dict[str, Any] = {}
            if sys.version_info >= (3, 13) and not type(loop).__module__.startswith("uvloop"):
                kwargs["cleanup_socket"] = False  # the path is the supervisor's to remove
            return await loop.create_unix_server(
                lambda: http.protocol(False), sock=sock, backlog=BACKLOG, **kwargs
            )
        certificate = self._site.certificate
        if certificate is None:
            return await loop.create_server(
                lambda: http.protocol(False), sock=sock, backlog=BACKLOG
            )
        return await loop.create_server(
            lambda: http.protocol(True),
            sock=sock,
            backlog=BACKLOG,
            ssl=certificate.context,
            ssl_handshake_timeout=self._site.settings.head_seconds,
        )

    def cover(self, others: bool) -> None:
        """Whether to accept on the sockets of the other workers too: the kernel goes on giving
        connections to the socket of a worker that can't be started, where they would wait."""
        self._covers = others
        if self._http is None:
            return  # it starts; once it is ready it is told again
        if self._cover_change is None or self._cover_change.done():
            self._cover_change = asyncio.get_running_loop().create_task(self._change_cover())

    async def _change_cover(self) -> None:
        while self._covers != bool(self._covering):
            if not self._covers:
                self._stop_covering()
                return
            try:
                await self._start_covering()
            except OSError as error:  # no descriptor left; the next death of the other tries again
                _log.error("can't accept for a worker that is missing: %s", error.strerror)
                return
            if not self._covering:
                return  # the workers share all sockets

    async def _start_covering(self) -> None:
        assert self._http is not None
        for listener in self._site.listeners:
            for sock in listener.sockets_of_others(self._worker):
                # a server closes its socket, and this one may be wanted again
                self._covering.append(await self._serve(self._http, listener, sock.dup()))

    def _stop_covering(self) -> None:
        for server in self._covering:
            server.close()
        self._covering.clear()

    def reload(self) -> None:
        """SIGHUP: the certificate and the access log, anew."""
        if self._site.certificate is not None:
            self._site.certificate.reload()
        if self._access_log is not None:
            self._access_log.reopen()

    async def drain(self, grace_seconds: float) -> None:
        """Accept no more, let what is under way finish within the grace time, close everything."""
        self._covers = False
        if self._cover_change is not None:
            await self._cover_change
        self._stop_covering()
        for server in self._servers:
            server.close()
        for listener in self._site.listeners:
            for sock in listener.sockets_of_others(self._worker):
                sock.close()  # else connections would still come, and wait for nobody
        if self._poll is not None:
            self._poll.cancel()
        if self._http is not None:
            await self._http.drain(grace_seconds)
        if self._server_log is not None:
            await self._server_log.close()
        if self._access_log is not None:
            await self._access_log.close()
        if self._store is not None:
            await self._store.close()


async def _follow(certificate: tls.Certificate) -> None:
    while True:
        await asyncio.sleep(tls.POLL_SECONDS)
        certificate.reload_if_changed()
