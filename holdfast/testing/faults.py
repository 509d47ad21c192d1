"""Faults that a test puts between its server and the clients: the rules, and which one is due.

    faults.fail("PutObject", "SlowDown", times=2)
    faults.cut_download("GetObject", after_bytes=1000, key="large/*")

Rule: of each kind the oldest fault that means a request and has requests left acts on it. A failure
comes before the operation is carried out, and then nothing else but a delay acts; a cut upload is
never carried out; a cut download and a dropped answer are.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple, TypedDict, Unpack

from holdfast.testing.names import check_operation, status_of
from holdfast.testing.record import matches


class Failure(NamedTuple):
    """The error that is answered."""

    code: str
    status: int
    message: str


@dataclass(slots=True)
class Due:
    """What acts on one request: a field for each kind of fault, named as the method that adds it."""

    fail: Failure | None = None
    #: seconds
    delay: float | None = None
    #: bytes of the request's body
    cut_upload: int | None = None
    #: bytes of the answer's body
    cut_download: int | None = None
    drop_answer: bool | None = None
    #: bytes a second
    throttle: float | None = None
    #: the kinds that act
    kinds: tuple[str, ...] = ()


NOTHING = Due()


class Where(TypedDict, total=False):
    """Which requests of an operation: `bucket` and `key` may be patterns; `times` how many of them,
    by default the next one, None: all until it is removed."""

    bucket: str
    key: str
    times: int | None


class Fault:
    """One fault in place. `hits`: the requests that it acted on."""

    def __init__(
        self, kind: str, value: object, operation: str, where: Where, faults: Faults
    ) -> None:
        if unknown := where.keys() - Where.__annotations__.keys():
            raise TypeError(f"faults are not limited by {', '.join(sorted(unknown))}")
        self.kind = kind
        self.value = value
        self.operation = operation
        self.bucket = where.get("bucket", "*")
        self.key = where.get("key", "*")
        self.left = where.get("times", 1)
        if self.left is not None and self.left < 1:
            raise ValueError("times is at least 1")
        self.hits = 0
        self._faults = faults

    def remove(self) -> None:
        """It acts no more."""
        self._faults.remove(self)

    def means(self, operation: str, bucket: str, key: str) -> bool:
        return (
            self.operation in ("*", operation)
            and matches(self.bucket, bucket)
            and matches(self.key, key)
        )


class Faults:
    """The faults in place. May be used from any thread; acts on requests that come from then on.

    Every method that adds one takes the operation by S3's name, "*" for all, and `bucket`, `key`,
    `times` (see Where). They raise ValueError for what S3 does not know.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def fail(
        self,
        operation: str,
        code: str = "InternalError",
        *,
        status: int | None = None,
        message: str = "This fault was injected by a test.",
        **where: Unpack[Where],
    ) -> Fault:
        """Answer S3's error `code`, with its status; `status` is for codes that are not known here."""
        return self._add("fail", Failure(code, status_of(code, status), message), operation, where)

    def slow_down(self, operation: str = "*", **where: Unpack[Where]) -> Fault:
        """503 SlowDown, as S3 answers when there are too many requests."""
        return self.fail(operation, "SlowDown", **where)

    def delay(self, operation: str, seconds: float, **where: Unpack[Where]) -> Fault:
        """Let requests wait before they are looked at."""
        return self._add("delay", _positive(seconds), operation, where)

    def cut_upload(self, operation: str, after_bytes: int, **where: Unpack[Where]) -> Fault:
        """Close the connection when `after_bytes` of the request's body were read, at the latest at
        its end. Nothing is carried out."""
        return self._add("cut_upload", _not_negative(after_bytes), operation, where)

    def cut_download(self, operation: str, after_bytes: int, **where: Unpack[Where]) -> Fault:
        """Reset the connection behind `after_bytes` of the answer's body, at the latest before its
        last byte. Behind 0 the head of the answer may be lost too; one without a body always is."""
        return self._add("cut_download", _not_negative(after_bytes), operation, where)

    def drop_answer(self, operation: str, **where: Unpack[Where]) -> Fault:
        """Carry it out, then close the connection without an answer: the client can't know."""
        return self._add("drop_answer", True, operation, where)

    def throttle(self, operation: str, bytes_per_second: float, **where: Unpack[Where]) -> Fault:
        """Read and send bodies at this rate."""
        return self._add("throttle", _positive(bytes_per_second), operation, where)

    def clear(self) -> None:
        """Remove all."""
        with self._lock:
            self._faults.clear()

    def remove(self, fault: Fault) -> None:
        with self._lock:
            if fault in self._faults:
                self._faults.remove(fault)

    def __len__(self) -> int:
        return len(self._faults)

    def take(self, operation: str, bucket: str, key: str) -> Due:
        """For the server: what acts on a request that has come; each is one request fewer."""
        if not self._faults:
            return NOTHING
        with self._lock:
            found: dict[str, Fault] = {}
            for fault in self._faults:
                if fault.kind not in found and fault.means(operation, bucket, key):
                    found[fault.kind] = fault
            if "fail" in found:
                found = {kind: found[kind] for kind in found if kind in ("fail", "delay")}
            due = Due(kinds=tuple(found))
            for kind, fault in found.items():
                setattr(due, kind, fault.value)
                fault.hits += 1
                if fault.left is not None:
                    fault.left -= 1
                    if not fault.left:
                        self._faults.remove(fault)
            return due

    def _add(self, kind: str, value: object, operation: str, where: Where) -> Fault:
        check_operation(None if operation == "*" else operation)
        fault = Fault(kind, value, operation, where, self)
        with self._lock:
            self._faults.append(fault)
        return fault


def _positive(number: float) -> float:
    if not number > 0:
        raise ValueError(f"{number} is not more than 0")
    return number


def _not_negative(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is less than 0")
    return number
