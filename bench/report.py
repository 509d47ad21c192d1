"""From runs to figures: medians with their spread, as a table for people and as JSON.

The first endpoint is the one the others are compared with; both ratios are above 1 where it is
better. A run with any error is invalid: it is shown as such, and its rate is in no median.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.load import Outcome
from bench.machine import Machine, SyncProbe, load_average
from bench.workloads import Workload


@dataclass(frozen=True)
class Run:
    """One run's figures. rate: requests/s, or MiB/s of a stream. Latencies in milliseconds."""

    endpoint: str
    workload: Workload
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    answered: int
    client_us: float
    errors: dict[str, int]

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
    sync_probes: list[SyncProbe] = field(default_factory=list)
    start_seconds: dict[str, list[float]] = field(default_factory=dict)
    pss_bytes: dict[str, list[int]] = field(default_factory=dict)
    disk_bytes: dict[str, int] = field(default_factory=dict)
    put_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        return all(run.valid for run in self.runs)

    def of(self, endpoint: str, workload: Workload) -> list[Run]:
        return [run for run in self.runs if (run.endpoint, run.workload) == (endpoint, workload)]

    def workloads(self) -> list[Workload]:
        return list(dict.fromkeys(run.workload for run in self.runs))


def summarize(endpoint: str, workload: Workload, outcome: Outcome) -> Run:
    """The figures of one outcome."""
    took = sorted(outcome.latencies)
    seconds = max(outcome.seconds, 1e-9)
    rate = len(took) * workload.size / 2**20 if workload.is_stream else len(took)
    return Run(
        endpoint=endpoint,
        workload=workload,
        rate=rate / seconds,
        p50_ms=percentile(took, 50) * 1000,
        p99_ms=percentile(took, 99) * 1000,
        max_ms=percentile(took, 100) * 1000,
        answered=len(took),
        client_us=outcome.client_seconds / max(1, len(took)) * 1e6,
        errors=dict(outcome.errors),
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of ascending values; 0 of none."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


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
    if report.start_seconds or report.pss_bytes or report.disk_bytes:
        console.print(_footprint(report))
    _print_errors(report, console)


def _table(report: Report, workload: Workload) -> Table:
    first = report.endpoints[0]
    unit = "MiB/s" if workload.is_stream else "requests/s"
    table = Table(title=f"[bold]{workload.title}", title_justify="left")
    table.add_column("endpoint")
    table.add_column(unit, justify="right")
    columns = ["min-max", "p50 ms", "p99 ms", "max ms", "client µs"]
    if len(report.endpoints) > 1:
        columns += [f"{first} faster", "p50 shorter"]
    for column in columns:
        table.add_column(column, justify="right")
    base = _medians(report, first, workload)
    for endpoint in report.endpoints:
        runs = report.of(endpoint, workload)
        if not runs:
            continue
        own = _medians(report, endpoint, workload)
        if own is None:
            table.add_row(endpoint, "[red]invalid", *[""] * len(columns))
            continue
        valid = [run for run in runs if run.valid]
        name = endpoint if len(valid) == len(runs) else f"{endpoint} ({len(valid)} of {len(runs)})"
        cells = [
            f"{own['rate']:,.0f}",
            f"{min(run.rate for run in valid):,.0f} to {max(run.rate for run in valid):,.0f}",
            f"{own['p50_ms']:.2f}",
            f"{own['p99_ms']:.2f}",
            f"{max(run.max_ms for run in valid):.1f}",
            f"{own['client_us']:.0f}",
        ]
        if base and endpoint != first:
            rate, p50 = base["rate"] / own["rate"], own["p50_ms"] / base["p50_ms"]
            cells += [f"{rate:.2f} x", f"{p50:.2f} x"]
        table.add_row(name, *cells)
    return table


def _medians(report: Report, endpoint: str, workload: Workload) -> dict[str, float] | None:
    """Medians over the valid runs, None when there is none."""
    valid = [run for run in report.of(endpoint, workload) if run.valid]
    if not valid:
        return None
    names = ("rate", "p50_ms", "p99_ms", "client_us")
    return {name: statistics.median(getattr(run, name) for run in valid) for name in names}


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
        "settings": report.settings,
        "sync_probes": [asdict(probe) for probe in report.sync_probes],
        "medians": [
            {"endpoint": endpoint, "workload": workload.title, **medians}
            for workload in report.workloads()
            for endpoint in report.endpoints
            if (medians := _medians(report, endpoint, workload))
        ],
        "runs": [
            {**asdict(run), "workload": run.workload.title, "valid": run.valid}
            for run in report.runs
        ],
        "start_seconds": report.start_seconds,
        "pss_bytes": report.pss_bytes,
        "disk_growth_bytes": report.disk_bytes,
        "put_bytes": report.put_bytes,
    }
