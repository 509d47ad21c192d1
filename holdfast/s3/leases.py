"""Leases on what is being read: while the oldest read is under way, the
collector removes nothing that went after it began.

A body of content that is not inline has one from before it is opened until it is sent: a record of a
segment may lose its bytes when it is removed, and the later parts of a multipart object are opened
only when the earlier ones were sent. A file of its own needs none once it is open.
No reader holds the collector up for good: it opens no part after READ_MS_MAX, a record that it has
open then is sent within hours (the HTTP side's least rate), and leases end with LEASE_MS_MAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

DAY_MS: Final = 24 * 60 * 60 * 1000
#: a read that began so long ago opens no further part
READ_MS_MAX: Final = 6 * DAY_MS
#: the collector waits for no read that began so long ago
LEASE_MS_MAX: Final = 7 * DAY_MS


class ReadLeases:
    """The leases of one worker. `publish` is told the start (ms) of the oldest, 0 for none."""

    __slots__ = ("_next", "_publish", "_starts")

    def __init__(self, publish: Callable[[int], None] | None = None) -> None:
        self._starts: dict[int, int] = {}
        self._next = 0
        self._publish = publish

    def begin(self, now_ms: int) -> int:
        self._next += 1
        self._starts[self._next] = now_ms
        if len(self._starts) == 1:
            self._tell()
        return self._next

    def end(self, lease: int) -> None:
        if self._starts.pop(lease, None) is not None:
            self._tell()

    def _tell(self) -> None:
        # starts only grow, so the first entry is the oldest
        if self._publish is not None:
            self._publish(next(iter(self._starts.values()), 0))
