"""`python -m bench`: the command. The plan is: for each workload, prepare every endpoint, then run
them in turn, the order turned by one with every repeat, so that no server always goes first and a
noisy minute hits all of them.
"""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import machine, memory
from bench.endpoint import Endpoint, EndpointError, parse_endpoint
from bench.launch import Server
from bench.report import Report, as_json, print_report, summarize
from bench.workloads import Runner, Settings, Workload, parse_workload

_REPEAT_MAX = 100
_CONNECTIONS_MAX = 4096
_SECONDS_MAX = 600.0
_EXIT_INVALID = 1
_EXIT_INTERRUPTED = 130


def _say(text: str) -> None:
    """Progress and errors, beside the figures on standard output."""
    click.echo(text, err=True)


class Bench:
    """One invocation."""

    def __init__(
        self,
        endpoints: list[Endpoint],
        plan: list[Workload],
        runner: Runner,
        report: Report,
        *,
        repeat: int,
        probe_dir: Path,
        pids: dict[str, int],
        disks: dict[str, Path],
    ) -> None:
        self._endpoints = endpoints
        self._plan = plan
        self._runner = runner
        self._report = report
        self._repeat = repeat
        self._probe_dir = probe_dir
        self._pids = pids
        self._disks = disks
        self._servers: list[Server] = []

    def run(self, starts: dict[str, str], *, clean: bool) -> None:
        """Measure the plan. Raises EndpointError; what was measured until then is in the report."""
        self._probe()
        for endpoint in self._endpoints:
            if endpoint.name in starts:
                self._start(endpoint, starts[endpoint.name])
        self._sample_memory()
        before = {name: memory.disk_bytes(str(path)) for name, path in self._disks.items()}
        for workload in self._plan:
            self._measure(workload)
        for name, path in self._disks.items():
            self._report.disk_bytes[name] = memory.disk_bytes(str(path)) - before[name]
        self._report.put_bytes.update(self._runner.bytes_put)
        if clean:
            for endpoint in self._endpoints:
                _say(f"{endpoint.name}: removing the bench's buckets")
                for bucket in (
                    self._runner.settings.bucket,
                    f"{self._runner.settings.bucket}-keys",
                ):
                    endpoint.remove_bucket(bucket)
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
            _say(f"{endpoint.name}: first 200 after {took[-1]:.2f} s")
            if turn < self._repeat - 1:
                server.stop()
        self._servers.append(server)
        self._pids.setdefault(endpoint.name, server.pid)

    def _measure(self, workload: Workload) -> None:
        for endpoint in self._endpoints:
            self._runner.prepare(endpoint, workload)
        count = len(self._endpoints)
        for turn in range(self._repeat):
            for place in range(count):
                endpoint = self._endpoints[(turn + place) % count]
                run = summarize(endpoint.name, workload, self._runner.run(endpoint, workload))
                self._report.runs.append(run)
                unit = "MiB/s" if workload.is_stream else "/s"
                _say(
                    f"{workload.title}: {turn + 1}/{self._repeat} {endpoint.name} "
                    f"{run.rate:,.0f} {unit}, p50 {run.p50_ms:.2f} ms"
                    f"{'' if run.valid else f', INVALID {run.errors}'}"
                )
                self._sample_memory()

    def _sample_memory(self) -> None:
        for name, pid in self._pids.items():
            self._report.pss_bytes.setdefault(name, []).append(memory.pss_bytes(pid))


def _named(values: tuple[str, ...], option: str, names: list[str]) -> dict[str, str]:
    """Options of the form NAME=VALUE, NAME being an endpoint's."""
    found: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not value or name not in names:
            raise click.BadParameter(
                f"want NAME=VALUE with NAME one of {', '.join(names)}; got {text!r}",
                param_hint=option,
            )
        found[name] = value
    return found


def _numbers(text: str, most: int, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(1 <= number <= most for number in numbers):
        raise click.BadParameter(f"want numbers from 1 to {most}, as in 32,1", param_hint=option)
    return numbers


def _tls_context(ca_file: Path | None, *, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_EPILOG = """\b
Examples
  One server, the everyday workloads:
    python -m bench --endpoint hf=http://127.0.0.1:9000,KEY,SECRET
  Two side by side, many clients and one client:
    python -m bench --endpoint hf=http://127.0.0.1:9000,KEY,SECRET \\
      --endpoint minio=http://127.0.0.1:9100,KEY2,SECRET2 \\
      --workload put-4k,get-4k,put-1g,get-1g --connections 32,1 --probe-dir /srv/data
  Pages of a bucket with 100,000 keys (put there once, used again next time):
    python -m bench --endpoint … --workload list-1000 --keys 100000
  How soon it answers, what memory it takes:
    python -m bench --endpoint hf=… --start 'hf=holdfast serve /srv/data' --workload get-4k

\b
Reading the table: medians of the repeats; p50, p99 and max are latencies as the client sees them;
"client µs" is what the load generator itself spent on each request, on the same cores. All servers
that are compared should keep their data on the file system of --probe-dir. Exit status 0: all
valid; 1: errors, or a run with any answer but 2xx; 2: wrong usage; 130: interrupted.
"""


@click.command(
    epilog=_EPILOG,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.option(
    "--endpoint",
    "endpoint_texts",
    multiple=True,
    required=True,
    metavar="NAME=URL,ACCESS,SECRET",
    help="A server to measure; repeat it to compare. The first is compared with all the others.",
)
@click.option(
    "--workload",
    "workload_names",
    default="put-4k,get-4k,head-4k",
    show_default=True,
    help="Comma-separated: put-SIZE, get-SIZE, head-SIZE (SIZE as 4k, 1m, 1g), list-COUNT. From "
    "64m an object goes alone over one connection.",
)
@click.option("--connections", default="32", show_default=True, help="Several, as 32,1: one each.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, _SECONDS_MAX),
    default=6.0,
    show_default=True,
    help="How long a run of many small requests lasts.",
)
@click.option("--repeat", type=click.IntRange(1, _REPEAT_MAX), default=3, show_default=True)
@click.option(
    "--objects",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    show_default=True,
    help="Objects that get and head read, in turn (at most 1 GiB of them).",
)
@click.option(
    "--keys",
    type=click.IntRange(2, 10_000_000),
    default=10_000,
    show_default=True,
    help="Keys in the bucket that list reads.",
)
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--bucket", default="holdfast-bench", show_default=True, help="And BUCKET-keys.")
@click.option(
    "--payload",
    type=click.Choice(["signed", "unsigned"]),
    default="signed",
    show_default=True,
    help="Whether large uploads name their SHA-256 or UNSIGNED-PAYLOAD.",
)
@click.option(
    "--probe-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    default=".",
    show_default=True,
    help="Where the cost of one durable write is measured: on the servers' disk.",
)
@click.option("--start", multiple=True, metavar="NAME=COMMAND", help="Start this server; time it.")
@click.option("--pid", multiple=True, metavar="NAME=PID", help="Sum the PSS of its process tree.")
@click.option("--disk", multiple=True, metavar="NAME=DIR", help="Its data: growth per byte put.")
@click.option(
    "--clean",
    is_flag=True,
    help="Remove the bench's buckets at the end; without it they stay for next time.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--ca-file", type=click.Path(exists=True, path_type=Path), help="For https.")
@click.option("--insecure", is_flag=True, help="https without checking the certificate.")
@click.option("--allow-remote", is_flag=True, help="Take targets beyond this machine.")
def main(endpoint_texts: tuple[str, ...], json_file: Path | None, **options: Any) -> None:
    """Measure S3 servers side by side: throughput, latency, listings, large objects, start,
    memory.

    Requests are signed before the clock starts, each with its own key and body. Only complete
    2xx answers count; anything else makes the run invalid and the exit status 1.
    """
    endpoints, plan = _read_targets(endpoint_texts, options)
    names = [endpoint.name for endpoint in endpoints]
    starts = _named(options["start"], "--start", names)
    disks = {name: Path(path) for name, path in _named(options["disk"], "--disk", names).items()}
    pids = _read_pids(_named(options["pid"], "--pid", names))
    settings = Settings(
        bucket=options["bucket"],
        seconds=options["seconds"],
        objects=options["objects"],
        keys=options["keys"],
        signed_payload=options["payload"] == "signed",
    )
    shown = {key: str(options[key]) for key in ("workload_names", "connections", "seconds")}
    shown |= {key: str(options[key]) for key in ("repeat", "objects", "keys", "payload", "region")}
    report = Report(machine.describe(str(options["probe_dir"])), names, shown)
    bench = Bench(
        endpoints,
        plan,
        Runner(settings, _say),
        report,
        repeat=options["repeat"],
        probe_dir=options["probe_dir"],
        pids=pids,
        disks=disks,
    )
    status = 0
    try:
        bench.run(starts, clean=options["clean"])
    except EndpointError as error:
        _say(f"error: {error}")
        status = _EXIT_INVALID
    except KeyboardInterrupt:
        _say("interrupted; what was measured so far:")
        status = _EXIT_INTERRUPTED
    finally:
        bench.stop()
    print_report(report, Console(width=None if sys.stdout.isatty() else 120))
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(report), indent=1) + "\n")
    sys.exit(status or (0 if report.valid else _EXIT_INVALID))


def _read_targets(
    texts: tuple[str, ...], options: dict[str, Any]
) -> tuple[list[Endpoint], list[Workload]]:
    tls = _tls_context(options["ca_file"], insecure=options["insecure"])
    remote = options["allow_remote"]
    try:
        endpoints = [
            parse_endpoint(text, options["region"], allow_remote=remote, tls=tls) for text in texts
        ]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--endpoint") from None
    if len({endpoint.name for endpoint in endpoints}) < len(endpoints):
        raise click.BadParameter("every endpoint needs its own NAME", param_hint="--endpoint")
    connections = _numbers(options["connections"], _CONNECTIONS_MAX, "--connections")
    try:
        plan = [
            workload
            for name in options["workload_names"].split(",")
            for workload in parse_workload(name, connections)
        ]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--workload") from None
    page = max((workload.size for workload in plan if workload.op == "list"), default=0)
    if options["keys"] < 2 * page:
        raise click.BadParameter(
            f"pages of {page} keys need at least {2 * page} keys in the bucket", param_hint="--keys"
        )
    return endpoints, plan


def _read_pids(texts: dict[str, str]) -> dict[str, int]:
    for name, text in texts.items():
        if not text.isdigit() or not memory.process_tree(int(text)):
            raise click.BadParameter(f"no process {text!r} of {name}", param_hint="--pid")
    return {name: int(text) for name, text in texts.items()}


if __name__ == "__main__":
    main(prog_name="python -m bench")
