"""`python -m tests.sdks`: the AWS SDKs for Go, Java and JavaScript and minio-go at their usual work
against a real `holdfast serve`, over plain HTTP and over TLS."""

from __future__ import annotations

import argparse
import signal
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.certificate import write_pair
from tests.sdks.outcome import Column, show
from tests.sdks.sdk import SDKS, Sdk, SdkError
from tests.serving import ServeProcess, wait_for

_MORE = """\
Each SDK has a small program in tests/sdks. It is copied to a temporary directory, built there with
the SDK's released version from its usual registry (kept in the caches of go, mvn and npm), and run
against a server of its own, with the settings that docs/clients.md shows. Every step checks what
comes back; a step that fails is named with the reason.

  python -m tests.sdks                       all of them: some minutes, more the first time
  python -m tests.sdks --only go,js          these two
  python -m tests.sdks --only java --transport tls

Needed: Go 1.26, a JDK 17 with Maven 3.8, Node.js 20 with npm, or as much of it as --only asks for.
The status is 0 when everything passed, 1 after a failure, 2 when a toolchain is missing.
"""
_TRANSPORTS = ("http", "tls")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sdks",
        description=__doc__,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ",".join(sdk.name for sdk in SDKS)
    parser.add_argument(
        "--only", type=_chosen, default=list(SDKS), metavar="SDK,…", help=f"of {names}"
    )
    parser.add_argument(
        "--transport", choices=_TRANSPORTS, default=None, help="one of the two (default: both)"
    )
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the server")
    return parser


def _chosen(text: str) -> list[Sdk]:
    by_name = {sdk.name: sdk for sdk in SDKS}
    names = text.split(",")
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no SDK {', '.join(unknown)}; there are {', '.join(by_name)}"
        )
    return [by_name[name] for name in names]


def main() -> int:
    options = _parser().parse_args()
    missing = [(sdk, tools) for sdk in options.only if (tools := sdk.missing())]
    for sdk, tools in missing:
        print(f"{sdk.name} needs {sdk.toolchain}; not on PATH: {', '.join(tools)}", file=sys.stderr)
    if missing:
        print("Install what is missing, or leave it out with --only.", file=sys.stderr)
        return 2
    transports = _TRANSPORTS if options.transport is None else (options.transport,)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped in order, too
    columns: list[Column] = []
    interrupted = False
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-sdks-") as name:
            work = Path(name)
            programs = _prepare(options.only, work, columns)
            for transport in transports:
                with _served(work, transport, options.workers) as (endpoint, certificate):
                    for sdk, place in programs:
                        column = Column(sdk.name, transport)
                        columns.append(column)
                        _run(sdk, place, column, sdk.environ(endpoint, certificate))
    except KeyboardInterrupt:
        interrupted = True
    if columns:
        show(columns)
    if interrupted:
        print("interrupted", file=sys.stderr)
        return 130
    return 0 if all(column.passed for column in columns) else 1


def _prepare(sdks: list[Sdk], work: Path, columns: list[Column]) -> list[tuple[Sdk, Path]]:
    """The programs that could be built; the others become columns that say why not."""
    programs = []
    for sdk in sdks:
        print(f"building {sdk.name}", flush=True)
        try:
            programs.append((sdk, sdk.prepare(work)))
        except SdkError as error:
            columns.append(Column(sdk.name, "build", broken=str(error)))
            print(f"FAIL {error}", flush=True)
    return programs


def _run(sdk: Sdk, place: Path, column: Column, environ: dict[str, str]) -> None:
    print(f"running {column.title}", flush=True)
    try:
        for line in column.take(sdk.lines(place, environ)):
            print(f"  {line}", flush=True)
    except SdkError as error:
        column.broken = str(error)
        print(f"  FAIL {error}", flush=True)
    except KeyboardInterrupt:
        column.broken = "interrupted"
        raise


@contextmanager
def _served(work: Path, transport: str, workers: int) -> Iterator[tuple[str, Path | None]]:
    """A server with its defaults: its endpoint, and its certificate where it serves TLS."""
    directory = work / f"serve-{transport}"
    directory.mkdir()
    arguments: tuple[str, ...] = ("--workers", str(workers))
    certificate = None
    if transport == "tls":
        cert, key = write_pair(directory, "holdfast")
        arguments += ("--tls-cert", cert, "--tls-key", key)
        certificate = Path(cert)
    process = ServeProcess(directory, arguments, {})
    endpoint = process.endpoint
    if certificate is not None:
        endpoint = endpoint.replace("http:", "https:")
    try:
        process.start(wait=False)
        wait_for(lambda: _ready(endpoint, certificate), process.output)
        yield endpoint, certificate
    finally:
        process.destroy()


def _ready(endpoint: str, certificate: Path | None) -> bool:
    context = None if certificate is None else ssl.create_default_context(cafile=certificate)
    try:
        with urllib.request.urlopen(f"{endpoint}/_holdfast/ready", context=context, timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(main())
