"""The time by which a test's server goes: the machine's, until it is stopped or moved on.

    server.clock.advance(timedelta(days=1))

What it rules: retention, presigned URLs, form policies, policy conditions, times of modification,
collection. What it does not: how far the date of a signed header may be off, because clients sign
by the machine's clock. A presigned URL carries the client's date too, so one that is made after the
clock was moved on counts as that much older.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from time import time  # by name: a test that replaces time.time means its own code
from typing import NamedTuple


class _State(NamedTuple):
    ahead_seconds: float
    stopped_at: float | None  # None: it goes


class Clock:
    """Seconds since the epoch when called. Never goes back, but by `reset` and at the end of `at`.
    May be used from any thread."""

    def __init__(self) -> None:
        # replaced whole, so that no reader sees half of a change
        self._state = _State(0.0, None)

    def __call__(self) -> float:
        ahead_seconds, stopped_at = self._state
        return time() + ahead_seconds if stopped_at is None else stopped_at

    def advance(self, by: float | timedelta) -> None:
        """Move it on by seconds; a stopped one stays stopped. Raises ValueError: it can't go back."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if not seconds >= 0:
            raise ValueError("a clock is moved on, never back")
        ahead_seconds, stopped_at = self._state
        if stopped_at is None:
            self._state = _State(ahead_seconds + seconds, None)
        else:
            self._state = _State(ahead_seconds, stopped_at + seconds)

    def stop(self) -> None:
        """It stands still from now on, and goes on only by `advance`."""
        self._state = _State(self._state.ahead_seconds, self())

    def start(self) -> None:
        """It goes again, from where it stands."""
        if self._state.stopped_at is not None:
            self._state = _State(self() - time(), None)

    def reset(self) -> None:
        """It is the machine's again: what the next test finds."""
        self._state = _State(0.0, None)

    @contextlib.contextmanager
    def at(self, moment: float) -> Iterator[None]:
        """It stands at `moment`, seconds since the epoch, for as long as the block runs."""
        state, self._state = self._state, _State(0.0, moment)
        try:
            yield
        finally:
            self._state = state
