"""The committer in a thread of this process: where there is one process, and for offline work."""

from __future__ import annotations

import asyncio
import logging
import threading

from holdfast.server.metadata import Metadata

#: how long the committer may take for what is queued and the last checkpoint
COMMITTER_STOP_SECONDS = 30.0

_log = logging.getLogger("holdfast.committer")


class CommitterThread:
    """`start`, then `stop`, once each. What ends it early is logged: its clients see it as
    unavailable."""

    def __init__(self, metadata: Metadata) -> None:
        self._committer = metadata.make_committer()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)

    def _run(self) -> None:
        try:
            self._committer.run()
        except Exception:  # noqa: BLE001 - the last frame of the thread
            _log.critical("the committer failed", exc_info=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Finish what is queued, checkpoint, end."""
        self._committer.stop()
        await asyncio.to_thread(self._thread.join, COMMITTER_STOP_SECONDS)
