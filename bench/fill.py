"""Objects that are put once and used again by the next invocation.

A marker object in the bench's own bucket tells that a set is complete; it is put last. Bodies are all
different, so that no server can share them, and the last of a set is read back.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.endpoint import Endpoint, EndpointError
from bench.load import Expectation, Outcome, Request, run_load

SUFFIX_BYTES = 16
CONNECTIONS = 32
SECONDS_MAX = 1800.0
_SIGNER_SECONDS = 300.0
_PROGRESS_SECONDS = 10.0
_CHECK_EVERY = 1000

Say = Callable[[str], None]


class Bodies:
    """Bodies of one size: random bytes, the last 16 of each its own, so that none is like another.

    The hash of the common part is computed once, whatever the size.
    """

    def __init__(self, size: int) -> None:
        self._common = os.urandom(size - SUFFIX_BYTES)
        self._state = hashlib.sha256(self._common)
        self._run = int.from_bytes(os.urandom(8), "little")

    def make(self, number: int) -> tuple[tuple[bytes, bytes], str]:
        """The parts of body `number` and its SHA-256 in hex."""
        suffix = struct.pack("<QQ", number, self._run)
        state = self._state.copy()
        state.update(suffix)
        return (self._common, suffix), state.hexdigest()


@dataclass(frozen=True)
class Objects:
    """A set of puts: `count` of them, of `size` bytes each, the n-th under the key key_of(n)."""

    bucket: str
    name: str  # of its marker
    size: int
    count: int
    key_of: Callable[[int], str]

    def path(self, number: int) -> str:
        return f"/{self.bucket}/{self.key_of(number)}"


def folder_key(number: int, prefix: str = "") -> str:
    """Keys in folders of 1,000, in the order of their numbers; none needs an escape."""
    return f"{prefix}{number // 1000:05d}/{number:08d}"


def signed_puts(endpoint: Endpoint, objects: Objects) -> Iterator[Request]:
    """The requests that put a set, signed as they are asked for."""
    bodies, signer, signed_at = Bodies(objects.size), endpoint.signer(), time.monotonic()
    for number in range(objects.count):
        if number % _CHECK_EVERY == 0 and time.monotonic() - signed_at > _SIGNER_SECONDS:
            signer, signed_at = endpoint.signer(), time.monotonic()
        parts, digest = bodies.make(number)
        path = objects.path(number)
        yield (signer.head("PUT", path, payload_hash=digest, length=objects.size), *parts)


def fill(endpoint: Endpoint, marks: str, objects: Objects, say: Say) -> int:
    """Put the set unless its marker in the bucket `marks` tells that it is there; the bytes put.

    Raises EndpointError.
    """
    marker = f"/{marks}/filled/{objects.bucket}/{objects.name}{objects.size}-{objects.count}"
    if endpoint.call("HEAD", marker)[0] == 200:
        return 0
    count = objects.count
    say(f"{endpoint.name}: putting {count:,} objects of {objects.size} bytes into {objects.bucket}")
    outcome = run_load(
        endpoint.address,
        _told(signed_puts(endpoint, objects), endpoint.name, count, say),
        Expectation(),
        connections=min(CONNECTIONS, count),
        seconds=SECONDS_MAX,
    )
    refuse_errors(endpoint, f"filling {objects.bucket}", outcome)
    if outcome.answered != count:
        raise EndpointError(
            f"{endpoint.name}: only {outcome.answered} of {count} objects in "
            f"{SECONDS_MAX:.0f} s; ask for fewer with --keys or --objects"
        )
    _check_last(endpoint, objects)
    endpoint.expect("PUT", marker)
    return count * objects.size


def refuse_errors(endpoint: Endpoint, what: str, outcome: Outcome) -> None:
    if outcome.errors:
        errors = ", ".join(f"{name} ({n} times)" for name, n in outcome.errors.most_common(3))
        raise EndpointError(f"{endpoint.name}: {what}: {errors}")


def _told(requests: Iterator[Request], name: str, count: int, say: Say) -> Iterator[Request]:
    """The same, with a line of progress from time to time."""
    started = told = time.monotonic()
    for number, request in enumerate(requests):
        now = time.monotonic() if number % _CHECK_EVERY == 0 else told
        if now - told >= _PROGRESS_SECONDS:
            told = now
            rate = number / (now - started)
            left = (count - number) / rate
            say(f"{name}: {number:,} of {count:,}, {rate:,.0f}/s, {left:.0f} s left")
        yield request


def _check_last(endpoint: Endpoint, objects: Objects) -> None:
    last = objects.count - 1
    body = endpoint.expect("GET", objects.path(last))
    number = struct.unpack_from("<Q", body, len(body) - SUFFIX_BYTES)[0] if body else -1
    if len(body) != objects.size or number != last:
        raise EndpointError(f"{endpoint.name}: an object came back with other bytes")
