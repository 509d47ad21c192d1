"""What a worker answers with: the S3 handler, behind it nothing, before it health and access log.

`/_holdfast/` can't clash with a bucket: names never begin with an underscore. Health needs no
signature, so it tells no more than yes or no, and its cost is bounded: however often it is asked,
the committer and the disk are asked once in READY_CACHE_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from holdfast.http.message import FileBody, Handler, Request, Response
from holdfast.server.logs import AccessLog, masked_target

HEALTH_PREFIX = "/_holdfast/"
READY_CACHE_SECONDS = 1.0
READY_WAIT_SECONDS = 2.0
#: less free space than this is a full disk
DISK_FREE_BYTES_MIN = 1 << 20
#: the status that a log line has when the client went away before its answer
STATUS_CLIENT_GONE = 499

_log = logging.getLogger("holdfast.health")


class Health:
    """live: this worker answers. ready: it also reaches the committer, and the disk has room."""

    def __init__(self, data: Path, ping: Callable[[], Awaitable[object]]) -> None:
        """`ping` returns once the committer answered, and raises when it does not."""
        self._data = data
        self._ping = ping
        self._check: asyncio.Task[str] | None = None
        self._checked_at = float("-inf")

    async def answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _plain(405, "method not allowed", [("allow", "GET, HEAD")])
        if request.path == HEALTH_PREFIX + "live":
            return _plain(200, "live")
        if request.path == HEALTH_PREFIX + "ready":
            problem = await self._problem()
            return _plain(503, f"not ready: {problem}") if problem else _plain(200, "ready")
        return _plain(404, "not found")

    async def _problem(self) -> str:
        now = time.monotonic()
        check = self._check
        if check is None or (check.done() and now - self._checked_at > READY_CACHE_SECONDS):
            check = self._check = asyncio.get_running_loop().create_task(self._look())
            self._checked_at = now
        if not check.done():
            await asyncio.wait({check}, timeout=READY_WAIT_SECONDS)
        return check.result() if check.done() else "the committer does not answer"

    async def _look(self) -> str:
        try:
            await self._ping()
            status = await asyncio.get_running_loop().run_in_executor(None, os.statvfs, self._data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not ready
            _log.warning("not ready: %s: %s", type(error).__name__, error)
            return "the committer does not answer"
        if status.f_bavail * status.f_frsize < DISK_FREE_BYTES_MIN:
            return "the disk is full"
        return ""


def with_health(handler: Handler, health: Health) -> Handler:
    """Health's paths go to `health`, all others to `handler`, at the price of one comparison."""
    answer = health.answer

    def handle(request: Request) -> Awaitable[Response]:
        if request.path.startswith(HEALTH_PREFIX):
            return answer(request)
        return handler(request)

    return handle


def with_access_log(handler: Handler, log: AccessLog) -> Handler:
    """A line for each request once its answer is made; `ms` is the time until then."""

    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        status, count = STATUS_CLIENT_GONE, 0
        try:
            response = await handler(request)
            status, count = response.status, _length(response, request.method)
            return response
        finally:
            ms = (time.perf_counter() - started) * 1000
            target = masked_target(request.path, request.query)
            log.add(request.peer, request.id, request.method, target, status, count, ms)

    return handle


def _length(response: Response, method: str) -> int:
    body = response.body
    if method == "HEAD":
        return 0
    if isinstance(body, bytes):
        return len(body)
    return body.length if isinstance(body, FileBody) else -1


def _plain(status: int, text: str, headers: list[tuple[str, str]] | None = None) -> Response:
    fixed = [("content-type", "text/plain"), ("cache-control", "no-store")]
    return Response(status, [*fixed, *(headers or [])], text.encode() + b"\n")
