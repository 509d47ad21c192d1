"""What can be measured: each workload prepares its objects, makes its requests and runs once.

A name is OP-SIZE: put-4k, get-4k, head-4k, put-1g, get-1g, list-1000. Objects of
STREAM_BYTES_MIN and more go one at a time over one connection (MiB/s); smaller ones come from many
connections for a time (requests/s). Every request has its own key, signature and body, made before
the clock starts. Reads and listings are checked once for their content before they are measured,
and every answer for its length.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import re
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.endpoint import Endpoint, EndpointError
from bench.load import Expectation, Outcome, Request, run_load
from bench.sign import UNSIGNED_PAYLOAD, Signer, canonical_query
from bench.stream import Content, download, upload

STREAM_BYTES_MIN = 64 * 1024**2
STREAM_BYTES_MAX = 4 * 1024**3
PAGE_KEYS_MAX = 1000
_POSITIONS = ("start", "middle", "end")
_SUFFIX_BYTES = 16
_KEY_OBJECT_BYTES = 16
_FILL_CONNECTIONS = 32
_FILL_SECONDS_MAX = 1800.0
_FILL_SIGNER_SECONDS = 300.0
_PRELOAD_BYTES_MAX = 1024**3
#: so many requests a second are made ahead as long as an endpoint's rate is unknown
_RATE_FIRST = 20_000
_RATE_MARGIN = 2.0
_REQUESTS_MAX = 1_000_000
_BYTES_FIRST_MAX = 4 * 1024**3
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True)
class Settings:
    """What all workloads share. bucket: `<bucket>` and `<bucket>-keys` are used."""

    bucket: str
    seconds: float
    objects: int
    keys: int
    signed_payload: bool


@dataclass(frozen=True)
class Workload:
    """One row of the plan. size: object's bytes, or keys on a page for `list`."""

    op: str
    size: int
    label: str
    connections: int
    position: str = ""

    @property
    def is_stream(self) -> bool:
        return self.op in ("put", "get") and self.size >= STREAM_BYTES_MIN

    @property
    def title(self) -> str:
        where = f" at the {self.position}" if self.position else ""
        plural = "s" if self.connections > 1 else ""
        return f"{self.label}{where}, {self.connections} connection{plural}"


def parse_workload(name: str, connections: list[int]) -> list[Workload]:
    """The rows that a name stands for: one per number of connections, or per place in a listing.

    Raises ValueError with the forms that there are.
    """
    found = re.fullmatch(r"(put|get|head|list)-(\d+)([kmg]?)", name.strip().lower())
    if not found:
        raise ValueError(
            f"unknown workload {name!r}: want put-SIZE, get-SIZE, head-SIZE or list-COUNT, "
            f"such as put-4k, get-1g, list-1000"
        )
    op, size = found[1], int(found[2]) * _UNITS[found[3]]
    label = found[0]
    if op == "list":
        if not 1 <= size <= PAGE_KEYS_MAX:
            raise ValueError(f"{label}: a page has 1 to {PAGE_KEYS_MAX} keys")
        return [Workload(op, size, label, 1, position) for position in _POSITIONS]
    if not _SUFFIX_BYTES <= size <= STREAM_BYTES_MAX:
        raise ValueError(f"{label}: objects have {_SUFFIX_BYTES} bytes to 4g")
    if op == "head" and size >= STREAM_BYTES_MIN:
        raise ValueError(f"{label}: HEAD is measured with objects below 64m")
    if size >= STREAM_BYTES_MIN:
        return [Workload(op, size, label, 1)]
    return [Workload(op, size, label, count) for count in connections]


class Bodies:
    """Bodies of one size: random bytes, the last 16 of each its own, so that none is like another.

    The hash of the common part is computed once, whatever the size.
    """

    def __init__(self, size: int) -> None:
        self._common = os.urandom(size - _SUFFIX_BYTES)
        self._state = hashlib.sha256(self._common)
        self._run = int.from_bytes(os.urandom(8), "little")

    def make(self, number: int) -> tuple[tuple[bytes, bytes], str]:
        """The parts of body `number` and its SHA-256 in hex."""
        suffix = struct.pack("<QQ", number, self._run)
        state = self._state.copy()
        state.update(suffix)
        return (self._common, suffix), state.hexdigest()


@dataclass
class Runner:
    """Prepares and runs workloads against endpoints; knows how fast each was, to sign enough."""

    settings: Settings
    say: Callable[[str], None]
    bytes_put: dict[str, int] = field(default_factory=dict)
    _rates: dict[tuple[str, Workload], float] = field(default_factory=dict)
    _contents: dict[int, Content] = field(default_factory=dict)

    def close(self) -> None:
        for content in self._contents.values():
            content.close()
        self._contents.clear()

    def prepare(self, endpoint: Endpoint, workload: Workload) -> None:
        """Make the bucket and what the workload reads, and check what it will be answered.

        What an earlier invocation left is used again. Raises EndpointError.
        """
        bucket = self.settings.bucket
        endpoint.make_bucket(bucket)
        if workload.op == "list":
            endpoint.make_bucket(f"{bucket}-keys")
            count = self.settings.keys
            self._fill(endpoint, f"{bucket}-keys", "", _KEY_OBJECT_BYTES, count)
            self._check_page(endpoint, workload)
        elif workload.op != "put" and workload.is_stream:
            self._preload_stream(endpoint, workload)
        elif workload.op != "put":
            prefix, count = self._objects(workload)
            self._fill(endpoint, bucket, prefix, workload.size, count)

    def run(self, endpoint: Endpoint, workload: Workload) -> Outcome:
        """Measure once. Raises EndpointError when the server is not there."""
        os.sync()  # what the run before left dirty is not to be written back during this one
        try:
            outcome = self._measure(endpoint, workload)
        except OSError as error:
            raise EndpointError(
                f"{endpoint.name}: {workload.title}: {error}. Is the server still running?"
            ) from error
        self._rates[endpoint.name, workload] = outcome.answered / max(outcome.seconds, 0.001)
        if workload.op == "put":
            self._count_put(endpoint, outcome.answered * workload.size)
        return outcome

    def _measure(self, endpoint: Endpoint, workload: Workload) -> Outcome:
        if workload.is_stream:
            return self._stream(endpoint, workload)
        if workload.op == "put":
            requests = self._puts(endpoint, workload)
            expect = Expectation()
        elif workload.op == "list":
            requests = itertools.cycle(self._pages(endpoint, workload))
            expect = Expectation(marker=b"<Key>", marker_count=workload.size)
        else:
            requests = itertools.cycle(self._reads(endpoint, workload))
            head = workload.op == "head"
            expect = Expectation(no_body=head, body_bytes=0 if head else workload.size)
        seconds = self.settings.seconds / (len(_POSITIONS) if workload.op == "list" else 1)
        return run_load(
            endpoint.address,
            requests,
            expect,
            connections=workload.connections,
            seconds=seconds,
        )

    def _puts(self, endpoint: Endpoint, workload: Workload) -> Iterator[Request]:
        known = self._rates.get((endpoint.name, workload))
        per_second = min(_RATE_FIRST, known * _RATE_MARGIN) if known else _RATE_FIRST
        count = int(per_second * self.settings.seconds) + 100
        count = min(count, _REQUESTS_MAX, max(100, _BYTES_FIRST_MAX // workload.size))
        prefix = f"put/{time.time_ns():x}/"
        return iter(
            list(_signed_puts(endpoint, self.settings.bucket, prefix, workload.size, count))
        )

    def _reads(self, endpoint: Endpoint, workload: Workload) -> list[Request]:
        prefix, count = self._objects(workload)
        signer, method = endpoint.signer(), workload.op.upper()
        order = random.Random(count).sample(range(count), count)
        return [(signer.head(method, _path(self.settings.bucket, prefix, i)),) for i in order]

    def _pages(self, endpoint: Endpoint, workload: Workload) -> list[Request]:
        """Full pages behind start-after: at the start, in the middle, and the last there are."""
        keys, page, signer = self.settings.keys, workload.size, endpoint.signer()
        spread = max(1, min(1000, keys // 10, keys - page - 1))
        first = {"start": 0, "middle": keys // 2, "end": keys - page - spread}[workload.position]
        first = max(0, min(first, keys - page - spread))
        return [
            (signer.head("GET", f"/{self.settings.bucket}-keys", _page_query(page, first + i)),)
            for i in range(spread)
        ]

    def _stream(self, endpoint: Endpoint, workload: Workload) -> Outcome:
        bucket, signer = self.settings.bucket, endpoint.signer()
        if workload.op == "get":
            head = signer.head("GET", f"/{bucket}/stream/{workload.label}")
            return download(endpoint.address, head, workload.size)
        return self._upload(endpoint, f"/{bucket}/put/{time.time_ns():x}", workload.size, signer)

    def _upload(self, endpoint: Endpoint, path: str, size: int, signer: Signer) -> Outcome:
        if size not in self._contents:
            self.say(f"making {size / 2**20:.0f} MiB of random bytes in memory")
            self._contents[size] = Content(size)
        content = self._contents[size]
        digest = content.renew()
        payload = digest if self.settings.signed_payload else UNSIGNED_PAYLOAD
        head = signer.head("PUT", path, payload_hash=payload, length=size)
        return upload(endpoint.address, head, content)

    def _preload_stream(self, endpoint: Endpoint, workload: Workload) -> None:
        path = f"/{self.settings.bucket}/stream/{workload.label}"
        outcome = self._upload(endpoint, path, workload.size, endpoint.signer())
        _refuse_errors(endpoint, f"upload before {workload.label}", outcome)
        self._count_put(endpoint, workload.size)
        wanted = self._contents[workload.size].digest
        got = hashlib.sha256()
        head = endpoint.signer().head("GET", path)
        _refuse_errors(
            endpoint,
            f"check of {workload.label}",
            download(endpoint.address, head, workload.size, got),
        )
        if got.hexdigest() != wanted:
            raise EndpointError(f"{endpoint.name}: {workload.label} came back with other bytes")

    def _objects(self, workload: Workload) -> tuple[str, int]:
        count = max(1, min(self.settings.objects, _PRELOAD_BYTES_MAX // workload.size))
        return f"get/{workload.size}/", count

    def _fill(self, endpoint: Endpoint, bucket: str, prefix: str, size: int, count: int) -> None:
        """Put `count` objects unless a marker tells that they are there; then put the marker."""
        marker = f"/{self.settings.bucket}/filled/{bucket}/{prefix}{size}-{count}"
        if endpoint.call("HEAD", marker)[0] == 200:
            return
        self.say(f"{endpoint.name}: putting {count} objects of {size} bytes into {bucket}")
        outcome = run_load(
            endpoint.address,
            _signed_puts(endpoint, bucket, prefix, size, count),
            Expectation(),
            connections=min(_FILL_CONNECTIONS, count),
            seconds=_FILL_SECONDS_MAX,
        )
        _refuse_errors(endpoint, f"filling {bucket}", outcome)
        if outcome.answered != count:
            raise EndpointError(
                f"{endpoint.name}: only {outcome.answered} of {count} objects in "
                f"{_FILL_SECONDS_MAX:.0f} s; ask for fewer with --keys or --objects"
            )
        self._count_put(endpoint, outcome.answered * size)
        self._check_object(endpoint, bucket, prefix, size, count)
        endpoint.expect("PUT", marker)

    def _check_object(
        self, endpoint: Endpoint, bucket: str, prefix: str, size: int, count: int
    ) -> None:
        body = endpoint.expect("GET", _path(bucket, prefix, count - 1))
        number = struct.unpack_from("<Q", body, len(body) - _SUFFIX_BYTES)[0] if body else -1
        if len(body) != size or number != count - 1:
            raise EndpointError(f"{endpoint.name}: an object came back with other bytes")

    def _check_page(self, endpoint: Endpoint, workload: Workload) -> None:
        keys, page = self.settings.keys, workload.size
        after = keys // 2 - 1 if keys // 2 + page <= keys else 0
        answer = endpoint.expect("GET", f"/{self.settings.bucket}-keys", _page_query(page, after))
        got = [key.decode() for key in re.findall(rb"<Key>([^<]*)</Key>", answer)]
        wanted = [_key("", i) for i in range(after + 1, after + 1 + page)]
        if got != wanted:
            raise EndpointError(
                f"{endpoint.name}: a page of {page} keys in {self.settings.bucket}-keys holds "
                f"{len(got)} keys that are not those put there; run with --clean, then again"
            )

    def _count_put(self, endpoint: Endpoint, count: int) -> None:
        self.bytes_put[endpoint.name] = self.bytes_put.get(endpoint.name, 0) + count


def _signed_puts(
    endpoint: Endpoint, bucket: str, prefix: str, size: int, count: int
) -> Iterator[Request]:
    bodies, signer, signed_at = Bodies(size), endpoint.signer(), time.monotonic()
    for number in range(count):
        if number % 1000 == 0 and time.monotonic() - signed_at > _FILL_SIGNER_SECONDS:
            signer, signed_at = endpoint.signer(), time.monotonic()
        parts, digest = bodies.make(number)
        path = _path(bucket, prefix, number)
        yield (signer.head("PUT", path, payload_hash=digest, length=size), *parts)


def _key(prefix: str, number: int) -> str:
    """Keys in folders of 1,000, in the order of their numbers; none needs an escape."""
    return f"{prefix}{number // 1000:05d}/{number:08d}"


def _path(bucket: str, prefix: str, number: int) -> str:
    return f"/{bucket}/{_key(prefix, number)}"


def _page_query(page: int, after: int) -> str:
    return canonical_query(
        (("list-type", "2"), ("max-keys", str(page)), ("start-after", _key("", after)))
    )


def _refuse_errors(endpoint: Endpoint, what: str, outcome: Outcome) -> None:
    if outcome.errors:
        errors = ", ".join(f"{name} ({n} times)" for name, n in outcome.errors.most_common(3))
        raise EndpointError(f"{endpoint.name}: {what}: {errors}")
