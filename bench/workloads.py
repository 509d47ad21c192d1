"""Each workload prepares its objects, makes its requests and runs once.

Every request has its own key, signature and body, made before the clock starts. Reads and listings
are checked once for their content before they are measured, and every answer for its status and its
length. What the plan can hold is in `bench.plan`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import multipart, wrk
from bench.endpoint import Endpoint, EndpointError
from bench.fill import Say, check_last, fill, put_all, refuse_errors
from bench.load import Expectation, Outcome, Request, run_load
from bench.pages import Listing, fill_bucket
from bench.plan import PART_BYTES, Workload
from bench.requests import (
    MIXED,
    Objects,
    folder_key,
    mixed,
    range_bytes,
    signed_puts,
    signed_ranges,
    signed_reads,
)
from bench.sign import UNSIGNED_PAYLOAD
from bench.stream import Content, Use, download, side_by_side, upload

_PRELOAD_BYTES_MAX = 1024**3
#: so many requests a second are made ahead as long as an endpoint's rate is unknown
_RATE_FIRST = 20_000
_RATE_MARGIN = 2.0
_REQUESTS_MAX = 1_000_000
#: of what one run puts: with the repeats of some endpoints it must fit on a disk
_RUN_BYTES_MAX = 1024**3
#: objects of this size and more are deleted after the run
_TIDY_BYTES_MIN = 1024**2
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True)
class Settings:
    """What all workloads share. bucket: `<bucket>` and buckets that begin with it are used.

    wrk: play by wrk what it can play.
    """

    bucket: str
    seconds: float
    objects: int
    signed_payload: bool
    wrk: bool = False


@dataclass
class _Play:
    """The requests of one run and what they must be answered. once: none may be sent again."""

    requests: Iterable[Request]
    expect: Expectation | list[Expectation]
    once: bool = False

    def endless(self) -> Iterator[Request]:
        return iter(self.requests) if self.once else itertools.cycle(self.requests)


@dataclass
class Runner:
    """Prepares and runs workloads against endpoints; knows how fast each was, to sign enough.

    disks: where endpoints keep their data, as far as it is known.
    """

    settings: Settings
    say: Say
    disks: dict[str, Path] = field(default_factory=dict)
    bytes_put: dict[str, int] = field(default_factory=dict)
    #: those that were made or found, and whether they have versions
    buckets: dict[str, bool] = field(default_factory=dict)
    _rates: dict[tuple[str, Workload], float] = field(default_factory=dict)
    _contents: dict[int, Content] = field(default_factory=dict)
    _leftover: list[str] = field(default_factory=list)

    def close(self) -> None:
        for content in self._contents.values():
            content.close()
        self._contents.clear()

    def prepare(self, endpoint: Endpoint, workload: Workload) -> None:
        """Make the bucket and what the workload reads, and check what it will be answered.

        What an earlier invocation left is used again. Raises EndpointError.
        """
        self._make_bucket(endpoint, self.settings.bucket)
        if workload.op == "list":
            listing = self._listing(workload)
            self.buckets[listing.objects().bucket] = listing.versioned
            put = fill_bucket(
                endpoint,
                self.settings.bucket,
                listing.objects(),
                self.say,
                versioned=listing.versioned,
            )
            self._count_put(endpoint, put)
            listing.row().check(endpoint)
        elif workload.op == "multipart":
            self._make_bucket(endpoint, multipart.BUCKET)
        elif workload.op == "get" and workload.is_stream:
            self._preload_stream(endpoint, workload)
        elif workload.op in ("get", "head", "range", "mixed"):
            objects = self._objects(workload)
            self._count_put(endpoint, fill(endpoint, self.settings.bucket, objects, self.say))
            check_last(endpoint, objects)

    def run(
        self, endpoint: Endpoint, workload: Workload, begun: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Measure once. begun: called when all is ready. Raises EndpointError when it is not; a server
        that fails later has errors in its outcome."""
        try:
            outcome = self._measure(endpoint, workload, begun)
        except OSError as error:
            return Outcome(errors=Counter({f"{error}. Is the server still running?": 1}))
        self._rates[endpoint.name, workload] = outcome.answered / max(outcome.seconds, 0.001)
        if workload.stores:
            self._count_put(endpoint, self.stored(workload, outcome))
        return outcome

    def tidy(self, endpoint: Endpoint) -> None:
        """Delete the large objects of the last run: what the next one puts must find room."""
        paths, self._leftover = self._leftover, []
        for path in paths:
            endpoint.call("DELETE", path)

    @staticmethod
    def stored(workload: Workload, outcome: Outcome) -> int:
        """Bytes of content that a run of puts stored."""
        return outcome.answered * workload.size

    def clean(self, endpoint: Endpoint) -> None:
        """Remove all buckets that were used; the one with the marks first."""
        for bucket, versions in self.buckets.items():
            endpoint.remove_bucket(bucket, versions=versions)

    # -- runs ----------------------------------------------------------------------------------

    def _measure(
        self, endpoint: Endpoint, workload: Workload, begun: Callable[[], None]
    ) -> Outcome:
        if workload.is_stream:
            jobs = self._streams(endpoint, workload)
            os.sync()  # what the run before left dirty is not to be written back during this one
            begun()
            return side_by_side(jobs)
        play = self._play(endpoint, workload)
        os.sync()
        if workload.variant == "cold":
            self._cool(endpoint)
        by_wrk = self.settings.wrk and isinstance(play.expect, Expectation)
        if by_wrk and wrk.can_play(workload):
            requests = list(play.requests)
            begun()
            return wrk.run_wrk(
                endpoint.address,
                requests,
                workload,
                connections=workload.connections,
                seconds=self.settings.seconds,
                once=play.once,
            )
        begun()
        return run_load(
            endpoint.address,
            play.endless(),
            play.expect,
            connections=workload.connections,
            seconds=self.settings.seconds,
        )

    def _play(self, endpoint: Endpoint, workload: Workload) -> _Play:
        op, size, variant = workload.op, workload.size, workload.variant
        once = variant == "cold"
        if op == "put":
            objects = self._new(workload, "put", self._count(endpoint, workload))
            if size >= _TIDY_BYTES_MIN:
                self._leftover = [objects.path(number) for number in range(objects.count)]
            return _Play(list(signed_puts(endpoint, objects, variant)), Expectation(), once=True)
        if op == "delete":
            count = min(self._count(endpoint, workload), self.settings.objects)
            doomed = self._new(workload, "delete", count)
            put_all(endpoint, doomed, self.say)
            return _Play(signed_reads(endpoint, "DELETE", doomed), Expectation(), once=True)
        if op == "list":
            row = self._listing(workload).row()
            return _Play(
                list(itertools.islice(row.requests(endpoint), len(row.targets))), row.expectation()
            )
        objects = self._objects(workload)
        if op == "mixed":
            return self._mixed(endpoint, workload, objects)
        if op == "range":
            count = objects.count if once else max(objects.count, self.settings.objects)
            expect = Expectation(body_bytes=range_bytes(size), status=206)
            return _Play(signed_ranges(endpoint, objects, variant, count), expect, once=once)
        head = op == "head"
        expect = Expectation(no_body=head, body_bytes=0 if head else size, status=200)
        return _Play(signed_reads(endpoint, op.upper(), objects, variant), expect, once=once)

    def _mixed(self, endpoint: Endpoint, workload: Workload, read: Objects) -> _Play:
        count = min(self._count(endpoint, workload), self.settings.objects * len(MIXED))
        rounds = max(1, count // len(MIXED))
        put = self._new(workload, "put", rounds * MIXED.count("PUT"))
        doomed = self._new(workload, "delete", rounds * MIXED.count("DELETE"))
        put_all(endpoint, doomed, self.say)
        requests, expects = mixed(endpoint, read, put, doomed)
        return _Play(requests, expects, once=True)

    def _count(self, endpoint: Endpoint, workload: Workload) -> int:
        """So many requests that they last for the run."""
        known = self._rates.get((endpoint.name, workload))
        per_second = min(_RATE_FIRST, known * _RATE_MARGIN) if known else _RATE_FIRST
        count = int(per_second * self.settings.seconds) + 100
        least = 4 * workload.connections
        return min(count, _REQUESTS_MAX, max(least, _RUN_BYTES_MAX // workload.size))

    def _new(self, workload: Workload, name: str, count: int) -> Objects:
        """Objects whose keys nobody has used."""
        key_of = partial(folder_key, prefix=f"{name}/{time.time_ns():x}/")
        return Objects(self.settings.bucket, f"{name}/", workload.size, count, key_of)

    def _objects(self, workload: Workload) -> Objects:
        """What reads read."""
        size = workload.size
        count = max(1, min(self.settings.objects, _PRELOAD_BYTES_MAX // size))
        prefix = f"get/{size}/"
        return Objects(
            self.settings.bucket, prefix, size, count, partial(folder_key, prefix=prefix)
        )

    def _listing(self, workload: Workload) -> Listing:
        return Listing(workload.variant, workload.size, self.settings.bucket)

    # -- large objects -------------------------------------------------------------------------

    def _streams(self, endpoint: Endpoint, workload: Workload) -> list[Callable[[], Outcome]]:
        """What `connections` threads do; for a multipart upload one, which has threads of its own."""
        bucket, signer = self.settings.bucket, endpoint.signer()
        if workload.op == "multipart":
            self._leftover = [f"/{multipart.BUCKET}/{multipart.WHOLE}"]
            return [partial(_upload_parts, endpoint, workload)]
        if workload.op == "get":
            head = signer.head("GET", f"/{bucket}/stream/{workload.label}")
            return [partial(download, endpoint.address, head, workload.size)] * workload.connections
        paths = [f"/{bucket}/put/stream-{number}" for number in range(workload.connections)]
        self._leftover = paths
        return [self._upload(endpoint, path, workload)[0] for path in paths]

    def _upload(
        self, endpoint: Endpoint, path: str, workload: Workload
    ) -> tuple[Callable[[], Outcome], Use]:
        size = workload.size
        if size not in self._contents:
            self.say(f"making {size / 2**20:.0f} MiB of random bytes in memory")
            self._contents[size] = Content(size)
        use = self._contents[size].renew()
        unsigned = workload.variant == "unsigned" or not self.settings.signed_payload
        payload = UNSIGNED_PAYLOAD if unsigned else use.digest
        head = endpoint.signer().head("PUT", path, payload_hash=payload, length=size)
        return partial(upload, endpoint.address, head, use), use

    def _preload_stream(self, endpoint: Endpoint, workload: Workload) -> None:
        path = f"/{self.settings.bucket}/stream/{workload.label}"
        job, use = self._upload(endpoint, path, workload)
        refuse_errors(endpoint, f"upload before {workload.label}", job())
        self._count_put(endpoint, workload.size)
        got = hashlib.sha256()
        head = endpoint.signer().head("GET", path)
        outcome = download(endpoint.address, head, workload.size, got)
        refuse_errors(endpoint, f"check of {workload.label}", outcome)
        if got.hexdigest() != use.digest:
            raise EndpointError(f"{endpoint.name}: {workload.label} came back with other bytes")

    # -- the rest ------------------------------------------------------------------------------

    def _cool(self, endpoint: Endpoint) -> None:
        """Take the endpoint's data out of the page cache; needs --disk, or root. What the server
        itself keeps in memory stays."""
        if directory := self.disks.get(endpoint.name):
            forget_pages(directory)
            return
        try:
            _DROP_CACHES.write_text("1")
        except OSError as error:
            raise EndpointError(
                f"{endpoint.name}: a cold run needs --disk {endpoint.name}=DIR (or root): {error}"
            ) from None

    def _make_bucket(self, endpoint: Endpoint, bucket: str) -> None:
        endpoint.make_bucket(bucket)
        self.buckets.setdefault(bucket, False)

    def _count_put(self, endpoint: Endpoint, count: int) -> None:
        self.bytes_put[endpoint.name] = self.bytes_put.get(endpoint.name, 0) + count


def forget_pages(directory: Path) -> None:
    """Of all files below, as far as they are readable and clean (posix_fadvise(2))."""
    for parent, _, files in os.walk(directory):
        for name in files:
            try:
                fd = os.open(
                    os.path.join(parent, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                )
            except OSError:
                continue  # a socket, or gone
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            except OSError:
                pass  # a pipe
            finally:
                os.close(fd)


def _upload_parts(endpoint: Endpoint, workload: Workload) -> Outcome:
    """A whole multipart upload, Create to Complete."""
    outcome, started = Outcome(), time.perf_counter()
    uploads = multipart.Uploads(endpoint, workload.connections, None)
    try:
        uploads.sent(workload.size, PART_BYTES)
    except EndpointError as error:
        outcome.errors[str(error)] += 1
        return outcome
    outcome.latencies.append(time.perf_counter() - started)
    outcome.bytes_moved = workload.size
    return outcome
