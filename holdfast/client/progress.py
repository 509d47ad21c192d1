"""How far a transfer is: one callback, called by whoever did the work, never twice at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

#: (bytes done, bytes in all or None); "done" goes back where a piece must be sent again
ProgressCallback = Callable[[int, int | None], None]


class Progress:
    def __init__(self, callback: ProgressCallback | None, total: int | None) -> None:
        self._callback = callback
        self.total = total
        self.done = 0
        self._lock = threading.Lock()

    def advance(self, count: int) -> None:
        if self._callback is None:
            return
        with self._lock:
            self.done += count
            self._callback(self.done, self.total)
