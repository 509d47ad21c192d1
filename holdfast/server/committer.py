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
    """`start`, then `stop`, once each. What ends it before the database is open is raised by
    `Metadata.open_store`; what ends it later is logged, and its clients see it as unavailable."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._committer = metadata.make_committer()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)

    def _run(self) -> None:
        try:
            self._committer.run()
        except Exception as error:  # noqa: BLE001 - the last frame of the thread
            if self._metadata.is_opened:
                _log.critical("the committer failed", exc_info=True)
            else:
                self._metadata.committer_failure = error

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Finish what is queued, checkpoint, end."""
        self._committer.stop()
        await asyncio.to_thread(self._thread.join, COMMITTER_STOP_SECONDS)
