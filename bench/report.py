"""From runs to figures: medians with their spread, as a table for people and as JSON.

The first endpoint is the one the others are compared with; both ratios are above 1 where it is
better. A run with any error is invalid: it is shown as such, and its rate is in no median.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.load import Outcome
from bench.machine import Machine, SyncProbe, load_average
from bench.meter import Cost
from bench.plan import Workload

#: the points of a latency curve
LADDER = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0)
NOTHING = "–"  # noqa: RUF001 (a dash)


@dataclass(frozen=True)
class Run:
    """One run's figures. rate: requests/s, or MiB/s of a stream. Latencies in milliseconds.

    ladder: the latencies at LADDER. kinds: of mixed runs (p50, p99) for each method.
    cpu_s_per_1000: the server's processor time for a thousand requests; written_per_byte: what its
    processes wrote, device_per_byte: what the disk did, per byte of content put; load_us: processor
    time of the load generator for each request; sync_ms: one durable write just before, p50.
    """

    endpoint: str
    workload: Workload
    rate: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    ladder: list[float]
    kinds: dict[str, tuple[float, float]]
    answered: int
    load_us: float
    errors: dict[str, int]
    cpu_s_per_1000: float | None = None
    pss_bytes: int | None = None
    written_per_byte: float | None = None
    device_per_byte: float | None = None
    sync_ms: float | None = None

    @property
    def valid(self) -> bool:
        return not self.errors and self.answered > 0


@dataclass
class Report:
    """All that one invocation measured; grows as it goes, printable at any time."""

    machine: Machine
    endpoints: list[str]
    settings: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    #: (endpoint, workload, why) of what could not be measured
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    sync_probes: list[SyncProbe] = field(default_factory=list)
    start_seconds: dict[str, list[float]] = field(default_factory=dict)
    pss_bytes: dict[str, list[int]] = field(default_factory=dict)
    disk_bytes: dict[str, int] = field(default_factory=dict)
    put_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        return not self.failures and all(run.valid for run in self.runs)

    def of(self, endpoint: str, workload: Workload) -> list[Run]:
        return [run for run in self.runs if (run.endpoint, run.workload) == (endpoint, workload)]

    def workloads(self) -> list[Workload]:
        return list(dict.fromkeys(run.workload for run in self.runs))


def summarize(
    endpoint: str,
    workload: Workload,
    outcome: Outcome,
    cost: Cost | None = None,
    stored: int = 0,
    sync_ms: float | None = None,
) -> Run:
    """The figures of one outcome. stored: bytes of content that it put."""
    cost = cost or Cost()
    took = sorted(outcome.latencies)
    seconds, count = max(outcome.seconds, 1e-9), outcome.answered
    rate = count * workload.size / 2**20 if workload.is_stream else count
    ladder = [percentile(took, percent) * 1000 for percent in LADDER]
    at = dict(zip(LADDER, ladder, strict=True))
    return Run(
        endpoint=endpoint,
        workload=workload,
        rate=rate / seconds,
        p50_ms=at[50],
        p90_ms=at[90],
        p99_ms=at[99],
        p999_ms=at[99.9],
        max_ms=at[100],
        ladder=ladder,
        kinds={
            kind: (percentile(sorted(some), 50) * 1000, percentile(sorted(some), 99) * 1000)
            for kind, some in outcome.by_kind.items()
        },
        answered=count,
        load_us=outcome.client_seconds / max(1, count) * 1e6,
        errors=dict(outcome.errors),
        cpu_s_per_1000=_per(cost.cpu_seconds, count / 1000),
        pss_bytes=cost.pss_bytes,
        written_per_byte=_per(cost.written_bytes, stored),
        device_per_byte=_per(cost.device_bytes, stored),
        sync_ms=sync_ms,
    )


def _per(amount: float | None, unit: float) -> float | None:
    return None if amount is None or not unit else amount / unit


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of ascending values; 0 of none."""
    # in hundredths of a percent, so that 99.9 of 1,000 values is exactly the 999th
    rank = -(-len(ordered) * round(percent * 100) // 10_000)
    return ordered[max(0, rank - 1)] if ordered else 0.0


def print_report(report: Report, console: Console) -> None:
    """Machine, probe, one table per workload, then start, memory and disk where measured."""
    machine = report.machine
    console.print(
        f"\n[bold]{machine.cpu}[/], {machine.cores} cores, {machine.memory_gib:g} GiB · "
        f"{machine.kernel} · {machine.file_system} · {machine.python} · "
        f"load average before {machine.load_average}, after {load_average()}",
        highlight=False,
    )
    for probe in report.sync_probes:
        console.print(
            f"4 KiB pwrite + fdatasync here: p50 {probe.p50_ms:.2f} ms, p99 {probe.p99_ms:.2f} ms, "
            f"max {probe.max_ms:.2f} ms",
            highlight=False,
        )
    for workload in report.workloads():
        console.print(_table(report, workload))
    if report.start_seconds or report.disk_bytes:
        console.print(_footprint(report))
    _print_errors(report, console)


#: heading, figure of a run, format; of medians
_COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("p50 ms", "p50_ms", "{:.2f}".format),
    ("p99", "p99_ms", "{:.2f}".format),
    ("p99.9", "p999_ms", "{:.2f}".format),
    ("CPU s/1k", "cpu_s_per_1000", "{:.3f}".format),
    ("PSS MiB", "pss_bytes", lambda count: f"{count / 2**20:.0f}"),
    ("written/B", "written_per_byte", lambda share: f"{share:.3g}"),
    ("disk/B", "device_per_byte", lambda share: f"{share:.3g}"),
    ("load µs", "load_us", "{:.0f}".format),
)


def _table(report: Report, workload: Workload) -> Table:
    first = report.endpoints[0]
    table = Table(title=_title(report, workload), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("endpoint", min_width=10)
    names = ["MiB/s" if workload.is_stream else "requests/s", "lowest-highest"]
    names += [name for name, _, _ in _COLUMNS]
    names.insert(-5, "max")
    if len(report.endpoints) > 1:
        names += [f"{first} faster", "sooner"]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    base = medians(report, first, workload)
    for endpoint in report.endpoints:
        runs = report.of(endpoint, workload)
        if not runs:
            continue
        own = medians(report, endpoint, workload)
        if own is None:
            table.add_row(endpoint, "[red]invalid", *[""] * (len(names) - 1))
            continue
        valid = [run for run in runs if run.valid]
        name = endpoint if len(valid) == len(runs) else f"{endpoint} ({len(valid)} of {len(runs)})"
        low, high = min(run.rate for run in valid), max(run.rate for run in valid)
        cells = [_number(own["rate"]), f"{_number(low)}-{_number(high)}"]
        cells += [form(own[key]) if key in own else NOTHING for _, key, form in _COLUMNS]
        cells.insert(-5, f"{max(run.max_ms for run in valid):.1f}")
        if base and endpoint != first:
            rate, p50 = base["rate"] / own["rate"], own["p50_ms"] / base["p50_ms"]
            cells += [f"{rate:.2f} ×", f"{p50:.2f} ×"]  # noqa: RUF001
        table.add_row(name, *cells)
    return table


def _title(report: Report, workload: Workload) -> str:
    probes = [run.sync_ms for run in report.runs if run.workload == workload and run.sync_ms]
    title = f"[bold]{workload.title}[/]"
    if probes:
        title += f" · one durable write of 4 KiB here: {statistics.median(probes):.2f} ms"
        title += f" ({min(probes):.2f} to {max(probes):.2f})"
    return title


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def medians(report: Report, endpoint: str, workload: Workload) -> dict[str, float] | None:
    """Medians over the valid runs, None when there is none; without what was not measured."""
    valid = [run for run in report.of(endpoint, workload) if run.valid]
    if not valid:
        return None
    found = {}
    for name in ("rate", "max_ms", "sync_ms", *(key for _, key, _ in _COLUMNS)):
        known = [value for run in valid if (value := getattr(run, name)) is not None]
        if known:
            found[name] = statistics.median(known)
    return found


def _footprint(report: Report) -> Table:
    table = Table(title="[bold]Start, memory, disk", title_justify="left")
    table.add_column("endpoint")
    for column in ("exec to first 200, s", "PSS first, MiB", "PSS highest, MiB", "disk ÷ put"):
        table.add_column(column, justify="right")
    for endpoint in report.endpoints:
        starts = report.start_seconds.get(endpoint)
        memory = report.pss_bytes.get(endpoint)
        disk, put = report.disk_bytes.get(endpoint), report.put_bytes.get(endpoint)
        table.add_row(
            endpoint,
            f"{statistics.median(starts):.2f} ({min(starts):.2f} to {max(starts):.2f})"
            if starts
            else "",
            f"{memory[0] / 2**20:.0f}" if memory else "",
            f"{max(memory) / 2**20:.0f}" if memory else "",
            f"{disk / put:.2f}" if disk is not None and put else "",
        )
    return table


def _print_errors(report: Report, console: Console) -> None:
    for endpoint, title, why in report.failures:
        console.print(f"not measured: {endpoint}, {title}: {why}", markup=False, highlight=False)
    for workload in report.workloads():
        for endpoint in report.endpoints:
            errors: Counter[str] = Counter()
            for run in report.of(endpoint, workload):
                errors.update(run.errors)
                if not run.answered and not run.errors:
                    errors["no answer at all"] += 1
            for error, count in errors.most_common(5):
                console.print(
                    f"[red]invalid[/]: {endpoint}, {workload.title}: {error} ({count} times)",
                    highlight=False,
                )


def as_json(report: Report) -> dict[str, Any]:
    """Everything, the single runs too, in plain types. No secrets are in it."""
    return {
        "valid": report.valid,
        "machine": asdict(report.machine),
        "endpoints": report.endpoints,
        "settings": report.settings,
        "percentiles": list(LADDER),
        "failures": report.failures,
        "sync_probes": [asdict(probe) for probe in report.sync_probes],
        "medians": [
            {"endpoint": endpoint, "workload": workload.title, **found}
            for workload in report.workloads()
            for endpoint in report.endpoints
            if (found := medians(report, endpoint, workload))
        ],
        "runs": [
            {
                **asdict(run),
                "workload": run.workload.title,
                "unit": "MiB/s" if run.workload.is_stream else "requests/s",
                "valid": run.valid,
            }
            for run in report.runs
        ],
        "start_seconds": report.start_seconds,
        "pss_bytes": report.pss_bytes,
        "disk_growth_bytes": report.disk_bytes,
        "put_bytes": report.put_bytes,
    }
