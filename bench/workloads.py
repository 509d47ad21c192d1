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
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from bench.endpoint import Endpoint, EndpointError
from bench.fill import SUFFIX_BYTES, Objects, fill, folder_key, refuse_errors, signed_puts
from bench.load import Expectation, Outcome, Request, run_load
from bench.sign import UNSIGNED_PAYLOAD, Signer, canonical_query
from bench.stream import Content, download, upload

STREAM_BYTES_MIN = 64 * 1024**2
STREAM_BYTES_MAX = 4 * 1024**3
PAGE_KEYS_MAX = 1000
_POSITIONS = ("start", "middle", "end")
KEY_OBJECT_BYTES = 16
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
    if not SUFFIX_BYTES <= size <= STREAM_BYTES_MAX:
        raise ValueError(f"{label}: objects have {SUFFIX_BYTES} bytes to 4g")
    if op == "head" and size >= STREAM_BYTES_MIN:
        raise ValueError(f"{label}: HEAD is measured with objects below 64m")
    if size >= STREAM_BYTES_MIN:
        return [Workload(op, size, label, 1)]
    return [Workload(op, size, label, count) for count in connections]


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
            self._fill(endpoint, listed_keys(bucket, self.settings.keys))
            self._check_page(endpoint, workload)
        elif workload.op != "put" and workload.is_stream:
            self._preload_stream(endpoint, workload)
        elif workload.op != "put":
            self._fill(endpoint, self._objects(workload))

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
        key_of = partial(folder_key, prefix=f"put/{time.time_ns():x}/")
        objects = Objects(self.settings.bucket, "put/", workload.size, count, key_of)
        return iter(list(signed_puts(endpoint, objects)))

    def _reads(self, endpoint: Endpoint, workload: Workload) -> list[Request]:
        objects, signer = self._objects(workload), endpoint.signer()
        method, count = workload.op.upper(), objects.count
        order = random.Random(count).sample(range(count), count)
        return [(signer.head(method, objects.path(number)),) for number in order]

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
        refuse_errors(endpoint, f"upload before {workload.label}", outcome)
        self._count_put(endpoint, workload.size)
        wanted = self._contents[workload.size].digest
        got = hashlib.sha256()
        head = endpoint.signer().head("GET", path)
        refuse_errors(
            endpoint,
            f"check of {workload.label}",
            download(endpoint.address, head, workload.size, got),
        )
        if got.hexdigest() != wanted:
            raise EndpointError(f"{endpoint.name}: {workload.label} came back with other bytes")

    def _objects(self, workload: Workload) -> Objects:
        size = workload.size
        count = max(1, min(self.settings.objects, _PRELOAD_BYTES_MAX // size))
        prefix = f"get/{size}/"
        return Objects(
            self.settings.bucket, prefix, size, count, partial(folder_key, prefix=prefix)
        )

    def _fill(self, endpoint: Endpoint, objects: Objects) -> None:
        self._count_put(endpoint, fill(endpoint, self.settings.bucket, objects, self.say))

    def _check_page(self, endpoint: Endpoint, workload: Workload) -> None:
        keys, page = self.settings.keys, workload.size
        after = keys // 2 - 1 if keys // 2 + page <= keys else 0
        answer = endpoint.expect("GET", f"/{self.settings.bucket}-keys", _page_query(page, after))
        got = [key.decode() for key in re.findall(rb"<Key>([^<]*)</Key>", answer)]
        wanted = [folder_key(i) for i in range(after + 1, after + 1 + page)]
        if got != wanted:
            raise EndpointError(
                f"{endpoint.name}: a page of {page} keys in {self.settings.bucket}-keys holds "
                f"{len(got)} keys that are not those put there; run with --clean, then again"
            )

    def _count_put(self, endpoint: Endpoint, count: int) -> None:
        self.bytes_put[endpoint.name] = self.bytes_put.get(endpoint.name, 0) + count


def listed_keys(bucket: str, count: int) -> Objects:
    """The keys that pages are read of."""
    return Objects(f"{bucket}-keys", "", KEY_OBJECT_BYTES, count, folder_key)


def _page_query(page: int, after: int) -> str:
    return canonical_query(
        (("list-type", "2"), ("max-keys", str(page)), ("start-after", folder_key(after)))
    )
