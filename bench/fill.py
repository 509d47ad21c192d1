"""Objects that are put once and used again by the next invocation.

A marker object in the bench's own bucket tells that a set is complete; it is put last. Bodies are all
different, so that no server can share them, and the last of a set is read back.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator

from bench.endpoint import Endpoint, EndpointError
from bench.load import Expectation, Outcome, Request, run_load
from bench.requests import SUFFIX_BYTES, Objects, signed_puts

CONNECTIONS = 32
#: a million keys at 140 a second
SECONDS_MAX = 7200.0
_PROGRESS_SECONDS = 10.0
_CHECK_EVERY = 1000
_NUMBER = struct.Struct("<Q")

Say = Callable[[str], None]


def fill(endpoint: Endpoint, marks: str, objects: Objects, say: Say) -> int:
    """Put the set unless its marker in the bucket `marks` tells that it is there; the bytes put.

    Raises EndpointError.
    """
    if is_filled(endpoint, marks, objects):
        return 0
    say(
        f"{endpoint.name}: putting {objects.count:,} objects of {objects.size} bytes "
        f"into {objects.bucket}"
    )
    put_all(endpoint, objects, say)
    check_last(endpoint, objects)
    endpoint.expect("PUT", _marker(marks, objects))
    return objects.count * objects.size


def is_filled(endpoint: Endpoint, marks: str, objects: Objects) -> bool:
    return endpoint.call("HEAD", _marker(marks, objects))[0] == 200


def _marker(marks: str, objects: Objects) -> str:
    return f"/{marks}/filled/{objects.bucket}/{objects.name}{objects.size}-{objects.count}"


def put_all(endpoint: Endpoint, objects: Objects, say: Say) -> None:
    """Put the set, whatever is there. Raises EndpointError."""
    count = objects.count
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
            f"{SECONDS_MAX:.0f} s; ask for fewer with --objects"
        )


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


def check_last(endpoint: Endpoint, objects: Objects) -> None:
    """Raises EndpointError when under the last key of the set there is nothing that was put there."""
    last = objects.count - 1
    body = endpoint.expect("GET", objects.path(last))
    # behind the number is what only the run that put it knows
    tail = body[-min(objects.size, SUFFIX_BYTES) :]
    if len(tail) < _NUMBER.size:
        good = tail == _NUMBER.pack(last)[: len(tail)]
    else:
        (number,) = _NUMBER.unpack_from(tail)
        # of several puts to one key that were under way together, any may be the last
        good = number < objects.count and objects.path(number) == objects.path(last)
    if len(body) != objects.size or not good:
        raise EndpointError(f"{endpoint.name}: an object came back with other bytes")
