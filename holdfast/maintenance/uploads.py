"""Aborts multipart uploads that were forgotten, so that their parts don't stay for ever.

Rule: an upload is forgotten when neither it was initiated nor a part of it stored for the time of
expiry. That is decided by the committer with the abort itself (`AbortUpload.unless_used_since_ms`),
so a part that arrives meanwhile keeps the upload, and a Complete finds it whole or not at all. S3
counts from the initiation (AbortIncompleteMultipartUpload of a lifecycle rule); here an upload that
goes on slowly is never cut off. The parts' content goes as that of every aborted upload does: by
the collector, after its grace time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from holdfast.meta.commands import AbortUpload, Done
from holdfast.meta.contract import MetaStore
from holdfast.meta.records import Upload

_log = logging.getLogger("holdfast.maintenance")

#: uploads that are looked at, and aborted, in one step
UPLOADS_SLICE = 50
DAY_SECONDS = 86_400
#: days are the unit, so an hour more or less is no matter
ROUND_SECONDS = 3600.0
FIRST_ROUND_SECONDS = 60.0


class UploadExpiry:
    """`now`: seconds since the epoch."""

    def __init__(self, meta: MetaStore, *, days: int, now: Callable[[], float] = time.time) -> None:
        """days: at least 1."""
        self._meta = meta
        self._days = days
        self._now = now

    async def run_once(self) -> int:
        """Abort whatever is forgotten now; how many. Raises MetaUnavailable."""
        before_ms = int((self._now() - self._days * DAY_SECONDS) * 1000)
        aborted = 0
        last: Upload | None = None
        while page := await self._meta.expired_uploads(before_ms, UPLOADS_SLICE, last):
            last = page[-1]
            aborted += await self._abort(page, before_ms)
            await asyncio.sleep(0)
        if aborted:
            _log.info(
                "aborted %d multipart uploads that nobody added to for %d days", aborted, self._days
            )
        return aborted

    async def round(self) -> None:
        await self.run_once()

    async def _abort(self, uploads: list[Upload], before_ms: int) -> int:
        commands = [AbortUpload(one.bucket_id, one.id, before_ms) for one in uploads]
        # the others are in use again, or were completed or aborted meanwhile
        results = await self._meta.submit_all([*commands])
        return sum(isinstance(result, Done) for result in results)
