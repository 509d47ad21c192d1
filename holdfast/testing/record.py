"""What a test's server was asked: every request to S3, in the order of the answers.

    requests.assert_called("PutObject", bucket="b", key="logs/*", times=2)

Rule: a request stands here before its client can see the answer, so a test that has its answer
finds it without waiting. Bounded: beyond REQUESTS_KEPT_MAX the oldest go.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypedDict, Unpack

from holdfast.testing.names import check_operation

REQUESTS_KEPT_MAX = 10_000
#: of what was seen, so many are shown when an assertion fails
SHOWN_MAX = 20


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is meant: by `*`, `?` and `[…]` as in the shell, or as the very name."""
    return pattern == name or fnmatchcase(name, pattern)


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request and what became of it. Headers have lower-case names."""

    #: S3's name, e.g. "PutObject"; "" when it means none (no such method here, CORS preflight,
    #: website)
    operation: str
    bucket: str
    key: str
    #: of the answer; 0: none was sent
    status: int
    #: S3's error code; "" of a success
    error: str
    method: str
    #: as on the wire
    path: str
    query: str
    headers: dict[str, str]
    #: of the request's body, as on the wire (aws-chunked: with its framing), as far as it was read
    bytes_received: int
    #: of the answer's body; of one that is made while it is sent (Transfer-Encoding: chunked) 0
    bytes_sent: int
    #: the display name of whom the access key belongs to; "" when anonymous, or not believed
    user: str
    #: the faults that were injected into it, e.g. ("delay", "fail")
    faults: tuple[str, ...]

    def __str__(self) -> str:
        target = f"/{self.bucket}/{self.key}" if self.key else f"/{self.bucket}"
        what = self.operation or f"{self.method} (no operation)"
        end = f"{self.status} {self.error}".rstrip() if self.status else "no answer"
        return f"{what} {target} -> {end}"


class Wanted(TypedDict, total=False):
    """What requests are told apart by; `bucket` and `key` may be patterns."""

    bucket: str
    key: str
    status: int
    error: str
    user: str
    method: str


_PATTERNS = ("bucket", "key")


class RequestLog:
    """The requests seen. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: deque[SeenRequest] = deque(maxlen=REQUESTS_KEPT_MAX)

    def add(self, request: SeenRequest) -> None:
        with self._lock:
            self._seen.append(request)

    def clear(self) -> None:
        with self._lock:
            self._seen.clear()

    def __len__(self) -> int:
        return len(self._seen)

    def __iter__(self) -> Iterator[SeenRequest]:
        """The oldest first, as they stand now."""
        with self._lock:
            return iter(tuple(self._seen))

    def find(self, operation: str | None = None, /, **wanted: Unpack[Wanted]) -> list[SeenRequest]:
        """Those that are meant, the oldest first. Raises ValueError for an operation that S3 does
        not have."""
        _check(operation, wanted)
        return [one for one in self if _is_meant(one, operation, wanted)]

    def count(self, operation: str | None = None, /, **wanted: Unpack[Wanted]) -> int:
        """How many `find` finds."""
        return len(self.find(operation, **wanted))

    def last(self, operation: str | None = None, /, **wanted: Unpack[Wanted]) -> SeenRequest:
        """The latest that `find` finds. Raises AssertionError when there is none."""
        found = self.find(operation, **wanted)
        if not found:
            raise AssertionError(self._told(operation, wanted, "was not called"))
        return found[-1]

    def assert_called(
        self,
        operation: str | None = None,
        /,
        *,
        times: int | None = None,
        **wanted: Unpack[Wanted],
    ) -> None:
        """At least once, or exactly so many times. Raises AssertionError that shows what was seen."""
        count = self.count(operation, **wanted)
        if times is None and not count:
            raise AssertionError(self._told(operation, wanted, "was not called"))
        if times is not None and count != times:
            how = f"was called {count} times, not {times}"
            raise AssertionError(self._told(operation, wanted, how))

    def assert_not_called(self, operation: str | None = None, /, **wanted: Unpack[Wanted]) -> None:
        """Raises AssertionError that shows what was seen."""
        self.assert_called(operation, times=0, **wanted)

    def _told(self, operation: str | None, wanted: Wanted, how: str) -> str:
        lines = [f"  {one}" for one in self]
        rest = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
        what = (operation or "any operation") + (f" ({rest})" if rest else "")
        shown = "\n".join(lines[-SHOWN_MAX:]) or "  none"
        return f"{what} {how}. Requests seen, the last {SHOWN_MAX} of {len(lines)}:\n{shown}"


def _check(operation: str | None, wanted: Wanted) -> None:
    check_operation(operation)
    if unknown := wanted.keys() - Wanted.__annotations__.keys():
        raise TypeError(f"requests are not told apart by {', '.join(sorted(unknown))}")


def _is_meant(one: SeenRequest, operation: str | None, wanted: Wanted) -> bool:
    if operation not in (None, one.operation):
        return False
    return all(
        matches(str(value), getattr(one, name))
        if name in _PATTERNS
        else value == getattr(one, name)
        for name, value in wanted.items()
    )
