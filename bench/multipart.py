"""One large multipart upload, and what its Complete costs: `python -m bench.multipart`.

Some connections send parts side by side, each as fast as the server takes it, out of one file without
a disk; the parts differ in their first 16 bytes. Then Complete is timed, on a connection that is open
already. It is timed some more times on uploads of the same parts, which UploadPartCopy makes of the
first object, and so are ranges of that one that lie across two parts. With --copies the parts are
that many copies of one object of 5 MiB, so that ten thousand of them cost no disk where the server
shares content.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPResponse
from typing import IO

import click

from bench import memory
from bench.endpoint import Endpoint, EndpointError, parse_endpoint
from bench.sign import EMPTY_SHA256, UNSIGNED_PAYLOAD, canonical_query
from bench.stream import send_file

BUCKET = "holdfast-bench-multipart"
WHOLE = "whole"
STAMP_BYTES = 16
PART_BYTES_MIN = 5 * 1024 * 1024
PARTS_MAX = 10_000
RANGES = 100
RANGE_BYTES = 64 * 1024
MIB = 1024 * 1024


@dataclass
class Outcome:
    """Of one run. Seconds and bytes; PSS and I/O of the server's whole process tree."""

    parts: int = 0
    size: int = 0
    parts_seconds: float = 0.0
    complete_seconds: list[float] = field(default_factory=list)
    range_seconds: list[float] = field(default_factory=list)
    #: read and written by the server's processes during the first Complete
    complete_io_bytes: int = 0
    pss_before: int = 0
    pss_peak: int = 0


class _Caller:
    """One kept connection. Raises EndpointError for whatever is no success."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._sock = endpoint.address.connect()

    def close(self) -> None:
        self._sock.close()

    def call(
        self,
        method: str,
        path: str,
        pairs: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        more: dict[str, str] | None = None,
    ) -> tuple[HTTPResponse, bytes]:
        digest = sha256(body).hexdigest() if body else EMPTY_SHA256
        query = canonical_query(pairs)
        headers = self._endpoint.signer().headers(method, path, query, digest, more or {})
        headers["Content-Length"] = str(len(body))
        lines = [f"{method} {path}{'?' + query if query else ''} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._sock.sendall("\r\n".join((*lines, "", "")).encode() + body)
        return self._answer(method)

    def send_part(
        self, path: str, pairs: tuple[tuple[str, str], ...], source: IO[bytes], size: int
    ) -> str:
        """A part of `size` bytes; its ETag."""
        signer = self._endpoint.signer()
        head = signer.head("PUT", path, canonical_query(pairs), UNSIGNED_PAYLOAD, size)
        self._sock.sendall(head + os.urandom(STAMP_BYTES))
        send_file(self._sock, source.fileno(), STAMP_BYTES, size)
        return _etag(self._answer("PUT")[0])

    def _answer(self, method: str) -> tuple[HTTPResponse, bytes]:
        response = HTTPResponse(self._sock, method=method)
        response.begin()
        body = response.read()
        if response.status >= 300 or b"<Error>" in body:
            raise EndpointError(f"{method} answered {response.status} {body[:500]!r}")
        return response, body


def _etag(response: HTTPResponse) -> str:
    return (response.getheader("ETag") or "").strip('"')


class Uploads:
    """Uploads to one endpoint; what they took is in `outcome`."""

    def __init__(self, endpoint: Endpoint, connections: int, pid: int | None) -> None:
        self._endpoint = endpoint
        self._connections = connections
        self._pid = pid
        self.outcome = Outcome()

    @contextmanager
    def upload(self, key: str) -> Iterator[tuple[str, str]]:
        """(path, upload id) of a new upload, which does not outlive a failure."""
        path = f"/{BUCKET}/{key}"
        answer = self._endpoint.expect("POST", path, "uploads=")
        found = re.search(rb"<UploadId>([^<]+)</UploadId>", answer)
        if found is None:
            raise EndpointError(f"no UploadId in {answer[:500]!r}")
        upload_id = found[1].decode()
        try:
            yield path, upload_id
        except BaseException:
            self._endpoint.call("DELETE", path, canonical_query((("uploadId", upload_id),)))
            raise

    def each_part(self, count: int, work: Callable[[_Caller, int], str]) -> list[str]:
        """The ETags that `work` answers for the parts 1 to `count`, by all connections at once."""
        etags = [""] * count
        numbers = iter(range(1, count + 1))
        lock = threading.Lock()

        def run() -> None:
            with closing(_Caller(self._endpoint)) as caller:
                while True:
                    with lock:
                        number = next(numbers, 0)
                    if not number:
                        return
                    etags[number - 1] = work(caller, number)

        with ThreadPoolExecutor(self._connections) as pool:
            for future in [pool.submit(run) for _ in range(self._connections)]:
                future.result()
        return etags

    def complete(self, path: str, upload_id: str, etags: list[str]) -> None:
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        with closing(_Caller(self._endpoint)) as caller:
            before = memory.io_bytes(self._pid) if self._pid is not None else 0
            started = time.perf_counter()
            caller.call("POST", path, (("uploadId", upload_id),), body)
            self.outcome.complete_seconds.append(time.perf_counter() - started)
            if self._pid is not None and not self.outcome.complete_io_bytes:
                self.outcome.complete_io_bytes = memory.io_bytes(self._pid) - before

    def ranges(self, key: str, part_bytes: int) -> None:
        """Read stretches across the ends of parts far from each other, one after the other."""
        size, count = self.outcome.size, self.outcome.parts
        with closing(_Caller(self._endpoint)) as caller:
            for number in range(RANGES):
                end_of_part = (1 + number * 97 % max(1, count - 1)) * part_bytes
                first = min(end_of_part, size) - RANGE_BYTES // 2
                last = min(first + RANGE_BYTES, size) - 1
                started = time.perf_counter()
                _, body = caller.call(
                    "GET", f"/{BUCKET}/{key}", more={"range": f"bytes={first}-{last}"}
                )
                self.outcome.range_seconds.append(time.perf_counter() - started)
                if len(body) != last - first + 1:
                    raise EndpointError(f"a range of {last - first + 1} bytes has {len(body)}")

    def copied(
        self,
        caller: _Caller,
        path: str,
        upload_id: str,
        number: int,
        source: str,
        first: int,
        size: int,
    ) -> str:
        """A part made of `size` bytes of the object `source`; its ETag."""
        _, body = caller.call(
            "PUT",
            path,
            (("partNumber", str(number)), ("uploadId", upload_id)),
            more={
                "x-amz-copy-source": f"/{BUCKET}/{source}",
                "x-amz-copy-source-range": f"bytes={first}-{first + size - 1}",
            },
        )
        found = re.search(rb"<ETag>(?:&quot;|\")?([0-9a-f-]+)", body)
        return found[1].decode() if found else ""

    def sent(self, size: int, part_bytes: int) -> None:
        """The object of `size` bytes, its parts sent."""
        sizes = [min(part_bytes, size - at) for at in range(0, size, part_bytes)]
        with os.fdopen(os.memfd_create("bench-multipart"), "w+b") as source:
            source.truncate(part_bytes)
            with self.upload(WHOLE) as (path, upload_id), memory.PeakPss(self._pid) as pss:
                started = time.perf_counter()
                etags = self.each_part(
                    len(sizes),
                    lambda caller, number: caller.send_part(
                        path,
                        (("partNumber", str(number)), ("uploadId", upload_id)),
                        source,
                        sizes[number - 1],
                    ),
                )
                self.outcome.parts_seconds = time.perf_counter() - started
                self.complete(path, upload_id, etags)
        self.outcome.pss_before, self.outcome.pss_peak = pss.before, pss.peak
        self.outcome.parts, self.outcome.size = len(sizes), size

    def again(self, key: str, size: int, part_bytes: int) -> None:
        """An object of the same parts as the whole one, made by copies."""
        starts = range(0, size, part_bytes)
        with self.upload(key) as (path, upload_id):
            etags = self.each_part(
                len(starts),
                lambda caller, number: self.copied(
                    caller, path, upload_id, number, WHOLE, starts[number - 1],
                    min(part_bytes, size - starts[number - 1]),
                ),
            )  # fmt: skip
            self.complete(path, upload_id, etags)

    def copies(self, key: str, count: int) -> None:
        """An object of `count` parts that are all the same content."""
        with self.upload(key) as (path, upload_id), memory.PeakPss(self._pid) as pss:
            started = time.perf_counter()
            etags = self.each_part(
                count,
                lambda caller, number: self.copied(
                    caller, path, upload_id, number, WHOLE, 0, PART_BYTES_MIN
                ),
            )
            self.outcome.parts_seconds = time.perf_counter() - started
            self.complete(path, upload_id, etags)
        self.outcome.pss_before, self.outcome.pss_peak = pss.before, pss.peak
        self.outcome.parts, self.outcome.size = count, count * PART_BYTES_MIN


def run(
    endpoint: Endpoint,
    *,
    size: int,
    part_bytes: int,
    copies: int,
    connections: int,
    completes: int,
    pid: int | None,
) -> Outcome:
    """One upload of `size` bytes, or of `copies` parts where that is not 0; Complete is timed
    `completes` times. Removes what it stored. Raises EndpointError, OSError."""
    one = Uploads(endpoint, connections, pid)
    endpoint.make_bucket(BUCKET)
    try:
        if copies:
            endpoint.expect("PUT", f"/{BUCKET}/{WHOLE}", body=os.urandom(PART_BYTES_MIN))
            for number in range(completes):
                one.copies(f"copies-{number}", copies)
                if not number:
                    one.ranges("copies-0", PART_BYTES_MIN)
        else:
            one.sent(size, part_bytes)
            one.ranges(WHOLE, part_bytes)
            for number in range(1, completes):
                one.again(f"again-{number}", size, part_bytes)
    finally:
        endpoint.remove_bucket(BUCKET)
    return one.outcome


def _print(outcome: Outcome, connections: int, copies: bool, pid: int | None) -> None:
    unit, amount = ("parts", outcome.parts) if copies else ("MiB", outcome.size / MIB)
    click.echo(
        f"{outcome.parts} parts, {outcome.size / MIB:.0f} MiB{' by copies' if copies else ''}, "
        f"{connections} in flight: {outcome.parts_seconds:.1f} s "
        f"({amount / outcome.parts_seconds:.0f} {unit}/s)"
    )
    times = sorted(1000 * seconds for seconds in outcome.complete_seconds)
    click.echo(
        f"Complete: {1000 * outcome.complete_seconds[0]:.1f} ms after the upload; "
        f"p50 {statistics.median(times):.1f} ms of {len(times)} "
        f"({times[0]:.1f} to {times[-1]:.1f})"
    )
    ranges = sorted(1000 * seconds for seconds in outcome.range_seconds)
    click.echo(
        f"{RANGE_BYTES // 1024} KiB across two parts: {1000 * outcome.range_seconds[0]:.1f} ms the first; "
        f"p50 {statistics.median(ranges):.2f} ms of {len(ranges)} (to {ranges[-1]:.1f})"
    )
    if pid is not None:
        click.echo(
            f"read and written by the server during it: {outcome.complete_io_bytes / 1024:.0f} KiB"
        )
        click.echo(
            f"PSS of all processes: {outcome.pss_before / MIB:.0f} MiB before, "
            f"{outcome.pss_peak / MIB:.0f} MiB at most"
        )


@click.command()
@click.option("--endpoint", "text", required=True, help="NAME=http://HOST:PORT,ACCESS,SECRET")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--size-mib", type=click.IntRange(5, 500 * 1024), default=5 * 1024, show_default=True)
@click.option("--part-mib", type=click.IntRange(5, 5 * 1024), default=64, show_default=True)
@click.option("--copies", type=click.IntRange(0, PARTS_MAX), default=0, show_default=True,
              help="Instead of --size-mib: so many parts that are copies of one object.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option("--completes", type=click.IntRange(1, 1000), default=11, show_default=True)
@click.option("--pid", type=int, help="The server's first process: measures PSS of its tree.")
@click.option("--pss-max-mib", type=int, help="Fail when the tree takes more than this.")
@click.option("--complete-ms-max", type=float, help="Fail when the median Complete takes longer.")
def main(
    text: str,
    region: str,
    size_mib: int,
    part_mib: int,
    copies: int,
    connections: int,
    completes: int,
    pid: int | None,
    pss_max_mib: int | None,
    complete_ms_max: float | None,
) -> None:
    """Upload one object in parts, complete it, and print what that took."""
    endpoint = parse_endpoint(text, region, allow_remote=False, tls=None)
    if not copies and size_mib > PARTS_MAX * part_mib:
        raise click.UsageError(f"more than {PARTS_MAX} parts: take a larger --part-mib")
    try:
        outcome = run(
            endpoint,
            size=size_mib * MIB,
            part_bytes=part_mib * MIB,
            copies=copies,
            connections=connections,
            completes=completes,
            pid=pid,
        )
    except (EndpointError, OSError) as error:
        raise click.ClickException(str(error)) from error
    _print(outcome, connections, copies > 0, pid)
    median_ms = 1000 * statistics.median(outcome.complete_seconds)
    too_much = pss_max_mib is not None and outcome.pss_peak > pss_max_mib * MIB
    too_long = complete_ms_max is not None and median_ms > complete_ms_max
    sys.exit(1 if too_much or too_long else 0)


if __name__ == "__main__":
    main()
