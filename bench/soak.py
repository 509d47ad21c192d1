"""A long mixed load, and whether anything grew or broke: `python -m bench.soak --minutes 20`.

A thousand connections of which some are active at a time, a hundred slow uploads, multipart uploads,
listings and deletes, over a bounded set of keys, so that whatever grows without end is the server's
fault. Without --endpoint it starts a Holdfast of its own in a temporary directory. At the end a verdict:
no error, no growth of memory, database or WAL, p99 at the end as at the start.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from bench import machine, memory
from bench.endpoint import Endpoint, EndpointError, parse_endpoint
from bench.launch import Server
from bench.meter import find_pid
from bench.multipart import BUCKET as MULTIPART_BUCKET
from bench.plots import time_lines
from bench.report import percentile
from bench.slow_uploads import MultipartUploads, SlowUploads
from bench.svg import FAINT, Canvas
from bench.traffic import Ledger, Traffic

BUCKET = "holdfast-bench-soak"
MIB = 1024 * 1024
UPLOAD_BYTES = 4 * MIB
SAMPLES_MIN = 12
SAMPLES_ENOUGH = 4
SAMPLE_SECONDS_MAX = 60.0
#: what may come on top of the share that --tolerance allows: a page cache's mood, not a leak
_SPARE_BYTES = 8 * MIB
_SPARE_MS = 2.0
_STOP_SECONDS_MAX = 60.0
_EXIT_FAILED = 1
#: rarer than everything that the server puts off: removed content is gone after this many seconds
_GC_GRACE_SECONDS = 60
_ACCESS_KEY, _SECRET_KEY = "bench-access-key", "bench-secret-key"
#: of small requests; the others take as long as they are slow
_SMALL = ("GET", "PUT", "HEAD", "DELETE", "LIST")


@dataclass
class Sample:
    """One interval. Latencies of the small requests in ms; bytes; sync_ms: a durable write, p50;
    other_cores: what neither the server nor the load took of the processors, in cores."""

    minute: float
    requests: int
    uploads: int
    multiparts: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    p99_by_operation: dict[str, float]
    sync_ms: float
    other_cores: float = 0.0
    pss_bytes: dict[str, int] = field(default_factory=dict)
    database_bytes: int | None = None
    wal_bytes: int | None = None
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One line of the verdict."""

    what: str
    good: bool
    figures: str


class Watch:
    """Takes a sample of the traffic and of the server whenever it is asked."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger, data: Path | None, probe: Path) -> None:
        self._ledger = ledger
        self._port = endpoint.address.port
        self._pid = find_pid(endpoint)
        self._data = data
        self._probe = str(probe)
        self._started = self._last = time.monotonic()
        self._others = self._by_others()

    def sample(self) -> Sample:
        tally = self._ledger.take()
        small = sorted(seconds for name in _SMALL for seconds in tally.latencies.get(name, ()))
        return Sample(
            minute=(time.monotonic() - self._started) / 60,
            requests=len(small),
            uploads=len(tally.latencies.get("upload", ())),
            multiparts=len(tally.latencies.get("multipart", ())),
            p50_ms=percentile(small, 50) * 1000,
            p99_ms=percentile(small, 99) * 1000,
            max_ms=percentile(small, 100) * 1000,
            p99_by_operation={
                name: percentile(sorted(took), 99) * 1000
                for name, took in sorted(tally.latencies.items())
            },
            sync_ms=machine.probe_sync(self._probe, 20).p50_ms,
            other_cores=self._other_cores(),
            pss_bytes=memory.pss_by_role(self._pid, self._port) if self._pid else {},
            database_bytes=self._size("holdfast.db"),
            wal_bytes=self._size("holdfast.db-wal"),
            errors=dict(tally.errors),
        )

    def _by_others(self) -> float:
        server = memory.cpu_seconds(self._pid) if self._pid else 0.0
        return machine.busy_seconds() - server - time.process_time()

    def _other_cores(self) -> float:
        others, now = self._by_others(), time.monotonic()
        cores = (others - self._others) / max(now - self._last, 1e-9)
        self._others, self._last = others, now
        return max(0.0, cores)

    def _size(self, name: str) -> int | None:
        if self._data is None:
            return None
        try:
            return (self._data / "meta" / name).stat().st_size
        except FileNotFoundError:
            return 0


def judge(samples: list[Sample], tolerance: float) -> list[Finding]:
    """The verdict. The last quarter is held against the second: the first is the warming up.

    tolerance: the share by which the later may be larger, 0.25 for a quarter.
    """
    errors: Counter[str] = Counter()
    for sample in samples:
        errors.update(sample.errors)
    said = "; ".join(f"{text} ({count} times)" for text, count in errors.most_common(5))
    findings = [Finding("no error", not errors, said or "none")]
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    if len(samples) < SAMPLES_ENOUGH:
        return [*findings, Finding("long enough to judge", False, f"{len(samples)} samples")]

    def compare(
        what: str,
        value: Callable[[Sample], float | None],
        spare: float,
        show: Callable[[float], str],
        note: str = "",
    ) -> None:
        before = [number for sample in early if (number := value(sample)) is not None]
        after = [number for sample in late if (number := value(sample)) is not None]
        if before and after:
            was, is_now = statistics.median(before), statistics.median(after)
            good = is_now <= was * (1 + tolerance) + spare
            findings.append(
                Finding(what, good, f"{show(was)} then, {show(is_now)} at the end{note}")
            )

    def mebibytes(count: float) -> str:
        return f"{count / MIB:.1f} MiB"

    for role in sorted({role for sample in samples for role in sample.pss_bytes}):
        compare(f"memory of {role}", partial(_pss_of, role), _SPARE_BYTES, mebibytes)
    compare("database", lambda sample: sample.database_bytes, _SPARE_BYTES, mebibytes)
    compare("WAL", lambda sample: sample.wal_bytes, _SPARE_BYTES, mebibytes)
    was, now = (statistics.median(some.other_cores for some in part) for part in (early, late))
    others = f" (others took {was:.2f} then {now:.2f} cores)"
    compare("p99", lambda sample: sample.p99_ms, _SPARE_MS, lambda ms: f"{ms:.1f} ms", others)
    compare("p50", lambda sample: sample.p50_ms, _SPARE_MS, lambda ms: f"{ms:.2f} ms", others)
    idle = [sample for sample in samples if not sample.requests]
    findings.append(Finding("answers in every interval", not idle, f"{len(idle)} without"))
    return findings


def _pss_of(role: str, sample: Sample) -> float | None:
    return sample.pss_bytes.get(role)


def picture(samples: list[Sample]) -> str:
    """Charts over time: latency, rate, memory by role, database and WAL."""
    minutes = [sample.minute for sample in samples]
    roles = sorted({role for sample in samples for role in sample.pss_bytes})
    seconds = [60 * (now - before) for before, now in zip([0.0, *minutes], minutes, strict=False)]
    charts = {
        "Latency of small requests, ms": {
            "p50": [sample.p50_ms for sample in samples],
            "p99": [sample.p99_ms for sample in samples],
        },
        "Small requests a second": {
            "all": [
                sample.requests / max(length, 1e-9)
                for sample, length in zip(samples, seconds, strict=True)
            ]
        },
        "Memory (PSS), MiB": {
            role: [sample.pss_bytes.get(role, 0) / MIB for sample in samples] for role in roles
        },
        "Metadata, MiB": {
            "database": [(sample.database_bytes or 0) / MIB for sample in samples],
            "WAL": [(sample.wal_bytes or 0) / MIB for sample in samples],
        },
    }
    width, height = 440, 240
    canvas = Canvas(2 * width + 40, 40 + 2 * height, "Soak")
    canvas.text(10, 22, "Soak", size=16, bold=True)
    errors = sum(sum(sample.errors.values()) for sample in samples)
    total = sum(sample.requests for sample in samples)
    canvas.text(64, 22, f"{total:,} small requests, {errors} errors", colour=FAINT)
    for number, (title, lines) in enumerate(charts.items()):
        row, column = divmod(number, 2)
        place = (10 + column * (width + 20), 40 + row * height, width, height - 16)
        time_lines(canvas, place, title, minutes, lines)
    return str(canvas)


@contextlib.contextmanager
def own_server(directory: Path, workers: int) -> Iterator[tuple[Endpoint, Path]]:
    """A Holdfast with data of its own below `directory`, which are removed at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = f"holdfast=http://127.0.0.1:{port},{_ACCESS_KEY},{_SECRET_KEY}"
    endpoint = parse_endpoint(text, "us-east-1", allow_remote=False)
    with tempfile.TemporaryDirectory(prefix="holdfast-soak-", dir=directory) as data:
        command = [
            *("env", f"HOLDFAST_ACCESS_KEY={_ACCESS_KEY}", f"HOLDFAST_SECRET_KEY={_SECRET_KEY}"),
            *(sys.executable, "-m", "holdfast", "serve", data, "--listen", f"127.0.0.1:{port}"),
            *("--workers", str(workers), "--gc-grace-seconds", str(_GC_GRACE_SECONDS)),
        ]
        server = Server(endpoint, shlex.join(command))
        try:
            yield endpoint, Path(data)
        finally:
            server.stop()


def soak(
    endpoint: Endpoint,
    data: Path | None,
    probe: Path,
    *,
    seconds: float,
    connections: int,
    active: int,
    uploads: int,
    upload_rate: float,
    say: Callable[[str], None],
) -> list[Sample]:
    """Run it; what was sampled until then after Ctrl-C. Raises EndpointError."""
    endpoint.make_bucket(BUCKET)
    ledger, stop = Ledger(), threading.Event()
    small = max(1, connections - uploads)
    traffic = Traffic(endpoint, BUCKET, ledger, connections=small, active=active)
    jobs: list[Callable[[threading.Event], None]] = [traffic.run]
    if uploads:
        jobs += [
            SlowUploads(
                endpoint,
                BUCKET,
                ledger,
                count=uploads,
                size=UPLOAD_BYTES,
                bytes_per_second=upload_rate,
            ).run,
            MultipartUploads(endpoint, ledger).run,
        ]
    threads = [threading.Thread(target=_guarded, args=(job, stop, ledger)) for job in jobs]
    watch, samples = Watch(endpoint, ledger, data, probe), []
    interval = min(SAMPLE_SECONDS_MAX, seconds / SAMPLES_MIN)
    try:
        for thread in threads:
            thread.start()
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(interval, left))
            samples.append(watch.sample())
            say(_line(samples[-1]))
    except KeyboardInterrupt:
        say("interrupted; what was seen so far:")
    finally:
        stop.set()
        for thread in threads:
            thread.join(_STOP_SECONDS_MAX)
    if samples and (last := ledger.take()).errors:
        samples[-1].errors = dict(Counter(samples[-1].errors) + last.errors)
    return samples


def _guarded(job: Callable[[threading.Event], None], stop: threading.Event, ledger: Ledger) -> None:
    try:
        job(stop)
    except (OSError, EndpointError) as error:
        ledger.error(f"the load ended: {error}")


def _line(sample: Sample) -> str:
    pss = sum(sample.pss_bytes.values()) / MIB
    wal = (sample.wal_bytes or 0) / MIB
    return (
        f"{sample.minute:5.1f} min: {sample.requests:,} requests, p50 {sample.p50_ms:.2f} ms, "
        f"p99 {sample.p99_ms:.1f} ms, sync {sample.sync_ms:.2f} ms, {sample.uploads} uploads, "
        f"{sample.multiparts} multipart, PSS {pss:.0f} MiB, "
        f"database {(sample.database_bytes or 0) / MIB:.0f} MiB, WAL {wal:.0f} MiB, "
        f"{sum(sample.errors.values())} errors"
    )


@click.command(context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]})
@click.option("--minutes", type=click.FloatRange(0.01, 24 * 60), default=20.0, show_default=True)
@click.option("--endpoint", "text", metavar="NAME=http://HOST:PORT,ACCESS,SECRET",
              help="A server that runs. Without it one is started for the soak.")  # fmt: skip
@click.option("--disk", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="With --endpoint: its data directory, for the database's and the WAL's size.")  # fmt: skip
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--connections", type=click.IntRange(2, 4000), default=1000, show_default=True,
              help="All together, those of the uploads too.")  # fmt: skip
@click.option("--active", type=click.IntRange(1, 1000), default=32, show_default=True,
              help="So many of them send small requests at a time; the others rest.")  # fmt: skip
@click.option("--uploads", type=click.IntRange(0, 1000), default=100, show_default=True,
              help="Slow uploads of 4 MiB under way at the same time.")  # fmt: skip
@click.option("--upload-mib", type=click.FloatRange(0.1, 2000), default=20.0, show_default=True,
              help="MiB a second of all uploads together.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True,
              help="Of the server that is started.")  # fmt: skip
@click.option("--dir", "directory", default=".", show_default=True,
              type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
              help="Where the started server's data and the sync probe go.")  # fmt: skip
@click.option("--tolerance", type=click.FloatRange(0.0, 10.0), default=0.25, show_default=True,
              help="By what share the end may be above the second quarter.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--svg", "svg_file", type=click.Path(dir_okay=False, path_type=Path))
def main(text: str | None, json_file: Path | None, svg_file: Path | None, **options: Any) -> None:
    """Load a server for a long time and judge whether it stays as it was.

    Every answer is checked against what the keys must hold. Exit status 0: all findings good;
    1: not, or interrupted before there was enough to judge.
    """
    if options["uploads"] >= options["connections"]:
        raise click.UsageError("--connections are all, so more than --uploads")
    before = machine.describe(str(options["directory"]))
    try:
        samples = _soak_somewhere(text, options)
    except (EndpointError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--endpoint") from None
    findings = judge(samples, options["tolerance"])
    for finding in findings:
        click.echo(f"{'ok    ' if finding.good else 'FAILED'} {finding.what}: {finding.figures}")
    if json_file is not None:
        figures = {
            "machine": asdict(before),
            "settings": {key: str(value) for key, value in options.items()},
            "samples": [asdict(sample) for sample in samples],
            "verdict": [asdict(finding) for finding in findings],
        }
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    if svg_file is not None and samples:
        svg_file.write_text(picture(samples))
    sys.exit(0 if all(finding.good for finding in findings) else _EXIT_FAILED)


def _soak_somewhere(text: str | None, options: dict[str, Any]) -> list[Sample]:
    directory: Path = options["directory"]
    with contextlib.ExitStack() as stack:
        data: Path | None = options["disk"]
        if text is None:
            endpoint, data = stack.enter_context(own_server(directory, options["workers"]))
        else:
            endpoint = parse_endpoint(text, options["region"], allow_remote=False)
        samples = soak(
            endpoint,
            data,
            directory,
            seconds=options["minutes"] * 60,
            connections=options["connections"],
            active=options["active"],
            uploads=options["uploads"],
            upload_rate=options["upload_mib"] * MIB,
            say=lambda line: click.echo(line, err=True),
        )
        if text is not None:
            for bucket in (BUCKET, MULTIPART_BUCKET):
                endpoint.remove_bucket(bucket)
        return samples


if __name__ == "__main__":
    main(prog_name="python -m bench.soak")
