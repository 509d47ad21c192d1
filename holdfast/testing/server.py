"""A whole server inside this process, for tests: the parts of `holdfast serve`, in one thread.

with Server() as server:
    boto3.client("s3", **server.client_arguments())
    server.clock.advance(3600)
    server.faults.fail("PutObject", "SlowDown")
    server.requests.assert_called("PutObject", times=2)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import tempfile
import threading
import weakref
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from holdfast.config import Settings, load
from holdfast.server.gateway import Site, run_on_loop
from holdfast.server.roles import SingleProcess
from holdfast.server.serve import opened_site
from holdfast.server.welcome import endpoint
from holdfast.testing import buckets
from holdfast.testing.clock import Clock
from holdfast.testing.front import Front

T = TypeVar("T")

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 60.0
WORK_SECONDS_MAX = 60.0


#: those between enter and exit
_running: weakref.WeakSet[Server] = weakref.WeakSet()


def _stop_all() -> None:
    """At the end of the interpreter, for servers that nobody stopped. It waits for all threads, and
    only then calls what atexit knows: too late to end one of them."""
    for server in tuple(_running):
        server.__exit__(None, None, None)


threading._register_atexit(_stop_all)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_running.clear)  # they are the parent's


class Server:
    """A context manager; the server runs between enter and exit.

    `data`: a directory to use and keep, else a temporary one. Any setting can be given by its name;
    the environment and files are not looked at.
    """

    def __init__(
        self, data: str | None = None, *, durability: str = "relaxed", **settings: object
    ) -> None:
        """Raises ConfigError."""
        self._data = data
        #: the server's time, to be stopped or moved on
        self.clock = Clock()
        self._front = Front()
        #: the requests that it answered
        self.requests = self._front.requests
        #: what goes wrong on purpose
        self.faults = self._front.faults
        chosen: dict[str, object] = {
            "listen": "127.0.0.1:0",
            # BUCKET.localhost is this machine to curl and to all that resolve as RFC 6761 says
            "domain": ("localhost",),
            "durability": durability,
            "reserve_bytes": 0,
            "grace_seconds": 5,
            **settings,
        }
        self._settings = chosen
        self._stack = contextlib.ExitStack()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.settings: Settings
        #: URLs of all listeners; `endpoint` is the first
        self.endpoints: list[str] = []
        self.access_key = ""
        self.secret_key = ""

    @property
    def endpoint(self) -> str:
        return self.endpoints[0]

    @property
    def region(self) -> str:
        return self.settings.region

    def client_arguments(self) -> dict[str, Any]:
        """What boto3.client("s3", …) needs."""
        return {
            "endpoint_url": self.endpoint,
            "region_name": self.region,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
        }

    def create_bucket(self, name: str = "", *, object_lock: bool = False) -> str:
        """A bucket of root's, by default of a name that no other has; its name. Raises S3Error."""
        name = name or f"test-{secrets.token_hex(8)}"
        self._do(buckets.create_bucket(self._front.services, name, object_lock=object_lock))
        return name

    def remove_bucket(self, name: str) -> None:
        """With all that is in it: versions, delete markers and uploads, whatever locks they have.
        One that is not there is no error."""
        self._do(buckets.remove_bucket(self._front.services, self.clock, name))

    def reset(self) -> None:
        """As at the start: no buckets, no faults, no requests seen, the machine's time."""
        self.faults.clear()
        self.clock.reset()
        self._do(buckets.remove_all_buckets(self._front.services, self.clock))
        self.requests.clear()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the server's loop. Raises TimeoutError."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WORK_SECONDS_MAX)

    def __enter__(self) -> Server:
        with self._stack as stack:
            data = self._data or stack.enter_context(
                tempfile.TemporaryDirectory(prefix="holdfast-", ignore_cleanup_errors=True)
            )
            self.settings = load({**self._settings, "data": data}, environ={}).settings
            site, keys = stack.enter_context(opened_site(self.settings, 1, self.clock))
            site.make_handler = self._front.make_handler
            self.access_key, self.secret_key = keys.access_key, keys.secret_key
            secure = bool(self.settings.tls_cert)
            self.endpoints = [endpoint(listener.address, secure) for listener in site.listeners]
            thread = threading.Thread(target=self._run, args=(site,), name="holdfast")
            thread.start()
            stack.callback(self._end, thread)
            if not self._started.wait(START_SECONDS_MAX):
                raise TimeoutError("the server does not start")
            if self._failure is not None:
                raise self._failure
            self._stack = stack.pop_all()
        _running.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _running.discard(self)
        self._stack.close()
        if self._failure is not None:
            raise self._failure

    def _end(self, thread: threading.Thread) -> None:
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)
        thread.join(STOP_SECONDS_MAX)

    def _run(self, site: Site) -> None:
        try:
            run_on_loop(self._main(site), self.settings.loop)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._failure = error
        finally:
            self._started.set()

    async def _main(self, site: Site) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        process = SingleProcess(site)
        await process.start()
        self._started.set()
        await self._stop.wait()
        await process.stop(self.settings.grace_seconds)
