"""What the writers know: for each key the value that was acknowledged, or, while an operation on it
has no answer, the old one and the new one. Each key has one writer, so there is nothing else.
"""

from __future__ import annotations

import hashlib
import random
import threading
from typing import NamedTuple

BUCKETS = ("crash-one", "crash-two")
KiB = 1024
PART_BYTES_MIN = 5 * 1024 * KiB


class Place(NamedTuple):
    bucket: str
    key: bytes


class Value(NamedTuple):
    """What an object is: its bytes by their hash, and its ETag ("": not foretold)."""

    sha256: str
    size: int
    etag: str

    def matches(self, other: Value) -> bool:
        """Whether `other`, as it was read, is this value."""
        return self[:2] == other[:2] and self.etag in ("", other.etag)


#: None: there is no such object
State = Value | None


def _fits(state: State, seen: State) -> bool:
    if state is None or seen is None:
        return state is seen
    return state.matches(seen)


def value_of(body: bytes, etag: str | None = None) -> Value:
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest() if etag is None else etag
    return Value(hashlib.sha256(body).hexdigest(), len(body), md5)


class Contents:
    """The bodies that writers choose from. The large ones are few, so that many keys of both
    buckets share their content and every kind of reference count is at work."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        sizes = [chance.randrange(33 * KiB, 200 * KiB) for _ in range(10)]
        sizes += [700 * KiB, 1024 * KiB, 1300 * KiB, 2 * 1024 * KiB + 1]
        self.large = [chance.randbytes(size) for size in sizes]
        self.first_part = chance.randbytes(PART_BYTES_MIN)
        self._noise = chance.randbytes(16 * KiB)

    def small(self, writer: int, count: int, chance: random.Random) -> bytes:
        """A body of up to 16 KiB that no other operation writes; now and then an empty one."""
        if chance.random() < 0.03:
            return b""
        return b"%d:%d:" % (writer, count) + self._noise[: chance.randrange(16 * KiB)]


class Expectations:
    """The states allowed for each place of one writer. `check` may run in another thread while the
    writer rests."""

    def __init__(self, places: list[Place]) -> None:
        self._allowed: dict[Place, tuple[State, ...]] = dict.fromkeys(places, (None,))
        self._lock = threading.Lock()

    def places(self) -> list[Place]:
        return list(self._allowed)

    def settled(self) -> list[Place]:
        """The places whose state is known."""
        return [place for place, states in self._allowed.items() if len(states) == 1]

    def in_doubt(self) -> int:
        return sum(len(states) > 1 for states in self._allowed.values())

    def now(self, place: Place) -> State:
        """The state of a settled place."""
        (state,) = self._allowed[place]
        return state

    def begin(self, place: Place, new: State) -> None:
        """An operation is on its way that makes `place` into `new`."""
        with self._lock:
            self._allowed[place] = (self.now(place), new)

    def acknowledged(self, place: Place) -> None:
        """The operation that began was answered with success."""
        with self._lock:
            self._allowed[place] = self._allowed[place][-1:]

    def refused(self, place: Place) -> None:
        """The operation that began was answered with an error that says: nothing was done."""
        with self._lock:
            self._allowed[place] = self._allowed[place][:1]

    def check(self, place: Place, seen: State, settle: bool) -> str:
        """Compare with what was read; "" when it is allowed. With `settle` nothing is on its way
        any more, so what was read is from now on what is there."""
        with self._lock:
            allowed = self._allowed[place]
            for state in allowed:
                if _fits(state, seen):
                    if settle:
                        self._allowed[place] = (seen,)
                    return ""
            if settle:
                self._allowed[place] = (seen,)  # one loss is reported once
            return f"{place.bucket}/{place.key.decode()}: {seen} is there, allowed is {allowed}"
