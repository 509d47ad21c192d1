"""Health, answered in front of the S3 handler.

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

from holdfast.http.message import Handler, Request, Response

HEALTH_PREFIX = "/_holdfast/"
READY_CACHE_SECONDS = 1.0
READY_WAIT_SECONDS = 2.0
#: less free space than this is a full disk
DISK_FREE_BYTES_MIN = 1 << 20

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
        response = await self._answer(request)
        response.headers.append(("x-amz-request-id", request.id))
        return response

    async def _answer(self, request: Request) -> Response:
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


def _plain(status: int, text: str, headers: list[tuple[str, str]] | None = None) -> Response:
    fixed = [("content-type", "text/plain"), ("cache-control", "no-store")]
    return Response(status, [*fixed, *(headers or [])], text.encode() + b"\n")
