"""`python -m bench`: the command. What it does is in `bench.session`, what it can do in `bench.plan`."""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import machine, memory, plots, wrk
from bench.endpoint import Endpoint, EndpointError, parse_endpoint
from bench.plan import CONNECTIONS_MAX, FORMS, SUITES, Workload, parse_workload
from bench.report import Report, as_json, print_report
from bench.session import Session, Teller
from bench.workloads import Runner, Settings

_REPEAT_MAX = 100
_SECONDS_MAX = 600.0
_WORKLOADS = "put-4k,get-4k,head-4k"
_TABLE_WIDTH = 160
#: options that the report repeats
_SHOWN = (
    *("suite", "workload_names", "connections", "seconds", "repeat", "objects"),
    *("payload", "load", "region"),
)
_EXIT_INVALID = 1
_EXIT_INTERRUPTED = 130


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


_EPILOG = f"""\b
Workloads: OP-SIZE[-VARIANT][@CONNECTIONS], SIZE as 1, 4k, 1m, 1g
{FORMS}
Objects of 64m and more go whole, each over a connection of its own (MiB/s), as do multipart
uploads; of the others as many as there is time for (requests/s). What puts of 1m and more left is
deleted after each run; --suite full moves some 30 GiB through each server, so let it remove
content soon (Holdfast: --gc-grace-seconds 60).

\b
Examples
  One server, in a few minutes:
    python -m bench --endpoint hf=http://127.0.0.1:9000,KEY,SECRET --suite quick
  Side by side, with plots; all data on the disk of --probe-dir:
    python -m bench --endpoint hf=http://127.0.0.1:9000,KEY,SECRET \\
      --endpoint minio=http://127.0.0.1:9100,KEY2,SECRET2 \\
      --suite full --probe-dir /srv/data --json figures.json --plots plots/
  Some workloads, many clients and one client, and large objects by eight at once:
    python -m bench --endpoint hf=… --workload put-4k,get-4k,put-1g@8 --connections 32,1
  TLS, or anywhere else: an endpoint like any other (twice the same server, to compare):
    python -m bench --endpoint hf=http://… --endpoint tls=https://… --ca-file cert.pem
    python -m bench --endpoint aws=https://s3.eu-west-1.amazonaws.com,KEY,SECRET \\
      --region eu-west-1 --bucket my-own-name --allow-remote --suite quick --clean
  How soon it answers, what memory it takes:
    python -m bench --endpoint hf=… --start 'hf=holdfast serve /srv/data' --workload get-4k
  Other programs: python -m bench.listings, .multipart, .uploads, .transfers, .soak --help

\b
Reading the table: medians of the repeats; latencies in ms as the client sees them. CPU s/1k:
processor time of all the server's processes for 1,000 requests. PSS: their memory. written/B: what
they wrote per byte put; disk/B: what the disk did meanwhile, for whomever. load µs: what the load
generator itself took for each request, on the same cores. A dash: not measured (a server
elsewhere, or another user's). faster, sooner: how many times the first endpoint's rate, and how
many times its p50 goes into theirs. --load wrk counts waiting for the turn into latencies, the
default does not.
Ctrl-C ends the run and prints what was measured so far. Exit status 0: all valid; 1: errors, or
a run with any wrong answer; 2: wrong usage; 130: interrupted.
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
    "--suite",
    type=click.Choice(sorted(SUITES)),
    help="A set of workloads: quick takes minutes, full hours. Instead of --workload, or with it.",
)
@click.option(
    "--workload",
    "workload_names",
    help="Comma-separated, as below.  [default: put-4k,get-4k,head-4k]",
)
@click.option(
    "--connections",
    default="32",
    show_default=True,
    help="For workloads without @; several, as 32,1: one run each.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, _SECONDS_MAX),
    default=5.0,
    show_default=True,
    help="How long a run of many requests lasts.",
)
@click.option("--repeat", type=click.IntRange(1, _REPEAT_MAX), default=3, show_default=True)
@click.option(
    "--objects",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    show_default=True,
    help="Objects that reads read, in turn (at most 1 GiB of them), and deletes delete.",
)
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--bucket", default="holdfast-bench", show_default=True, help="And BUCKET-….")
@click.option(
    "--payload",
    type=click.Choice(["signed", "unsigned"]),
    default="signed",
    show_default=True,
    help="Whether large uploads name their SHA-256 or UNSIGNED-PAYLOAD.",
)
@click.option(
    "--load",
    type=click.Choice(["python", "wrk"]),
    default="python",
    show_default=True,
    help="wrk plays what it can (not HEAD, mixed, large); where it is installed.",
)
@click.option(
    "--probe-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    default=".",
    show_default=True,
    help="Where the cost of one durable write is measured: on the servers' disk.",
)
@click.option("--start", multiple=True, metavar="NAME=COMMAND", help="Start this server; time it.")
@click.option(
    "--pid",
    multiple=True,
    metavar="NAME=PID",
    help="Its first process; without it, what listens on its port here.",
)
@click.option(
    "--disk",
    multiple=True,
    metavar="NAME=DIR",
    help="Its data: growth per byte put, and what -cold takes out of the page cache.",
)
@click.option(
    "--clean",
    is_flag=True,
    help="Remove the bench's buckets at the end; without it they stay for next time.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write rates.svg and latencies.svg there. From a JSON file: python -m bench.plots.",
)
@click.option("--ca-file", type=click.Path(exists=True, path_type=Path), help="For https.")
@click.option("--insecure", is_flag=True, help="https without checking the certificate.")
@click.option("--allow-remote", is_flag=True, help="Take targets beyond this machine.")
def main(endpoint_texts: tuple[str, ...], json_file: Path | None, **options: Any) -> None:
    """Measure S3 servers side by side: throughput, latency, processor time, memory, bytes written.

    Requests are signed before the clock starts, each with its own key and body. Only complete
    right answers count; anything else makes the run invalid and the exit status 1.
    """
    endpoints, plan = _read_targets(endpoint_texts, options)
    names = [endpoint.name for endpoint in endpoints]
    starts = _named(options["start"], "--start", names)
    disks = {name: Path(path) for name, path in _named(options["disk"], "--disk", names).items()}
    pids = _read_pids(_named(options["pid"], "--pid", names))
    if options["load"] == "wrk" and not wrk.is_there():
        raise click.BadParameter("wrk is not installed", param_hint="--load")
    report = Report(
        machine.describe(str(options["probe_dir"])),
        names,
        {key: str(options[key]) for key in _SHOWN if options[key]},
    )
    teller = Teller(len(plan) * len(endpoints) * options["repeat"])
    settings = Settings(
        bucket=options["bucket"],
        seconds=options["seconds"],
        objects=options["objects"],
        signed_payload=options["payload"] == "signed",
        wrk=options["load"] == "wrk",
    )
    session = Session(
        endpoints,
        plan,
        Runner(settings, teller.say, disks),
        report,
        teller,
        repeat=options["repeat"],
        probe_dir=options["probe_dir"],
        pids=pids,
    )
    status = _run(session, teller, starts, clean=options["clean"])
    print_report(report, Console(width=None if sys.stdout.isatty() else _TABLE_WIDTH))
    figures = as_json(report)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    if options["plots"] and report.runs:
        plots.write(figures, options["plots"])
    sys.exit(status or (0 if report.valid else _EXIT_INVALID))


def _run(session: Session, teller: Teller, starts: dict[str, str], *, clean: bool) -> int:
    """The exit status, as far as it does not depend on the figures."""
    status = 0
    try:
        with teller:
            session.run(starts, clean=clean)
    except EndpointError as error:
        click.echo(f"error: {error}", err=True)
        status = _EXIT_INVALID
    except KeyboardInterrupt:
        click.echo("interrupted; what was measured so far:", err=True)
        status = _EXIT_INTERRUPTED
    finally:
        session.stop()
    return status


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
    connections = _numbers(options["connections"], CONNECTIONS_MAX, "--connections")
    wanted = list(SUITES.get(options["suite"], ()))
    if options["workload_names"] or not wanted:
        wanted += (options["workload_names"] or _WORKLOADS).split(",")
    try:
        plan = [row for name in wanted for row in parse_workload(name, connections)]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--workload") from None
    return endpoints, list(dict.fromkeys(plan))


def _read_pids(texts: dict[str, str]) -> dict[str, int]:
    for name, text in texts.items():
        if not text.isdigit() or not memory.process_tree(int(text)):
            raise click.BadParameter(f"no process {text!r} of {name}", param_hint="--pid")
    return {name: int(text) for name, text in texts.items()}


if __name__ == "__main__":
    main(prog_name="python -m bench")
