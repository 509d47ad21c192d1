"""One invocation of the suite: for each workload prepare every endpoint, then run them in turn, the
order turned by one with every repeat, so that no server always goes first and a noisy minute hits all
of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import machine, memory
from bench.endpoint import Endpoint, EndpointError
from bench.launch import Server
from bench.load import Outcome
from bench.meter import Meter, find_pid
from bench.plan import Workload
from bench.report import Report, Run, summarize
from bench.workloads import Runner

#: durable writes before each run that stores: the sync's cost at that very time
_PROBE_WRITES = 40


class Teller:
    """Progress beside the figures on standard output: lines, and on a terminal a bar below them."""

    def __init__(self, steps: int) -> None:
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
                auto_refresh=False,  # a thread that draws would cost the load generator its time
            )
            self._task = self._bar.add_task("preparing", total=steps)

    def __enter__(self) -> Self:
        (self._bar or nullcontext()).__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text, err=True)

    def begin(self, what: str) -> None:
        if self._bar:
            self._bar.update(self._task, description=what, refresh=True)

    def done(self, steps: int) -> None:
        if self._bar:
            self._bar.update(self._task, advance=steps, refresh=True)


class Session:
    """The plan, the endpoints, and what is measured of them in `report`."""

    def __init__(
        self,
        endpoints: list[Endpoint],
        plan: list[Workload],
        runner: Runner,
        report: Report,
        teller: Teller,
        *,
        repeat: int,
        probe_dir: Path,
        pids: dict[str, int],
    ) -> None:
        self._endpoints = endpoints
        self._plan = plan
        self._runner = runner
        self._report = report
        self._teller = teller
        self._repeat = repeat
        self._probe_dir = probe_dir
        self._pids = pids
        self._servers: list[Server] = []

    def run(self, starts: dict[str, str], *, clean: bool) -> None:
        """Measure the plan; what fails is noted in the report.

        Raises EndpointError when a server can't be started or its buckets not removed."""
        self._probe()
        for endpoint in self._endpoints:
            if endpoint.name in starts:
                self._start(endpoint, starts[endpoint.name])
            pid = self._pids.get(endpoint.name) or find_pid(endpoint)
            if pid:
                self._pids[endpoint.name] = pid
        disks = self._runner.disks
        before = {name: memory.disk_bytes(str(path)) for name, path in disks.items()}
        for workload in self._plan:
            self._measure(workload)
        for name, path in disks.items():
            self._report.disk_bytes[name] = memory.disk_bytes(str(path)) - before[name]
        self._report.put_bytes.update(self._runner.bytes_put)
        if clean:
            for endpoint in self._endpoints:
                self._teller.say(f"{endpoint.name}: removing the bench's buckets")
                self._runner.clean(endpoint)
        self._probe()

    def stop(self) -> None:
        self._runner.close()
        for server in self._servers:
            server.stop()

    def _probe(self) -> None:
        self._report.sync_probes.append(machine.probe_sync(str(self._probe_dir)))

    def _start(self, endpoint: Endpoint, command: str) -> None:
        """Start the server `repeat` times; the last stays up for the workloads."""
        took = self._report.start_seconds.setdefault(endpoint.name, [])
        for turn in range(self._repeat):
            server = Server(endpoint, command)
            took.append(server.started_seconds)
            self._teller.say(f"{endpoint.name}: first 200 after {took[-1]:.2f} s")
            if turn < self._repeat - 1:
                server.stop()
        self._servers.append(server)
        self._pids.setdefault(endpoint.name, server.pid)
        self._report.pss_bytes[endpoint.name] = [memory.pss_bytes(server.pid)]

    def _measure(self, workload: Workload) -> None:
        ready = []
        for endpoint in self._endpoints:
            self._teller.begin(f"{workload.title}: preparing {endpoint.name}")
            with self._noted(endpoint, workload):
                self._runner.prepare(endpoint, workload)
                ready.append(endpoint)
        for turn in range(self._repeat):
            for place in range(len(ready)):
                endpoint = ready[(turn + place) % len(ready)]
                self._teller.begin(f"{workload.title}: {endpoint.name}")
                with self._noted(endpoint, workload):
                    run = self._run_one(endpoint, workload)
                    self._report.runs.append(run)
                    self._teller.say(f"{turn + 1}/{self._repeat} {_line(run)}")
            self._teller.done(len(self._endpoints))

    @contextmanager
    def _noted(self, endpoint: Endpoint, workload: Workload) -> Iterator[None]:
        """What one server can't do keeps nobody from measuring the rest."""
        try:
            yield
        except EndpointError as error:
            self._teller.say(f"error: {error}")
            self._report.failures.append((endpoint.name, workload.title, str(error)))

    def _run_one(self, endpoint: Endpoint, workload: Workload) -> Run:
        stores = workload.stores or workload.op in ("delete", "mixed")
        sync_ms = None
        if stores:
            sync_ms = machine.probe_sync(str(self._probe_dir), _PROBE_WRITES).p50_ms
        meter = Meter(self._pids.get(endpoint.name), self._probe_dir)
        outcome = self._runner.run(endpoint, workload, meter.start)
        cost = meter.stop(stores=workload.stores)
        self._runner.tidy(endpoint)
        if cost.pss_bytes:
            self._report.pss_bytes.setdefault(endpoint.name, []).append(cost.pss_bytes)
        stored = self._stored(workload, outcome)
        return summarize(endpoint.name, workload, outcome, cost, stored, sync_ms)

    def _stored(self, workload: Workload, outcome: Outcome) -> int:
        return self._runner.stored(workload, outcome) if workload.stores else 0


def _line(run: Run) -> str:
    unit = "MiB/s" if run.workload.is_stream else "/s"
    wrong = "" if run.valid else f", INVALID {run.errors}"
    return f"{run.workload.title}: {run.endpoint} {run.rate:,.0f} {unit}, p50 {run.p50_ms:.2f} ms{wrong}"
