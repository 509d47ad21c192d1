"""Many large uploads at once, and what they cost the server in memory: `python -m bench.uploads`.

All heads are sent first, then every connection sends as fast as the server takes it, so that all
uploads are under way together. Their contents differ in the first 16 bytes; the rest is one file
without a disk, sent by sendfile. Bounded in count, size and time.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

import click

from bench import memory
from bench.endpoint import Endpoint, parse_endpoint
from bench.sign import UNSIGNED_PAYLOAD

BUCKET = "holdfast-bench-uploads"
STAMP_BYTES = 16
ANSWER_BYTES_MAX = 64 * 1024
MIB = 1024 * 1024


@dataclass
class Outcome:
    """Of one run. PSS in bytes, of the server's whole process tree."""

    uploads: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    pss_before: int = 0
    pss_peak: int = 0


class _Upload:
    """One connection: what of it is sent, what came back."""

    def __init__(self, endpoint: Endpoint, key: str, size: int) -> None:
        signer = endpoint.signer()
        self.sock = endpoint.address.connect()
        head = signer.head("PUT", f"/{BUCKET}/{key}", "", UNSIGNED_PAYLOAD, size)
        self.sock.sendall(head + os.urandom(STAMP_BYTES))
        self.sock.setblocking(False)
        self.offset = STAMP_BYTES
        self.answer = b""

    def send(self, source: int, size: int) -> bool:
        """Whether all of the body is sent."""
        try:
            self.offset += os.sendfile(self.sock.fileno(), source, self.offset, size - self.offset)
        except BlockingIOError:
            return False
        return self.offset >= size

    def receive(self) -> bool:
        """Whether the answer (its status line at least) is there. Raises OSError."""
        data = self.sock.recv(ANSWER_BYTES_MAX)
        self.answer += data
        return not data or b"\r\n\r\n" in self.answer


def run(endpoint: Endpoint, count: int, size: int, pid: int | None, seconds_max: float) -> Outcome:
    """`count` uploads of `size` bytes at once."""
    outcome = Outcome()
    status, _ = endpoint.call("PUT", f"/{BUCKET}")
    if status not in (200, 409):
        raise click.ClickException(f"the bucket can't be made: status {status}")
    source = os.memfd_create("bench-uploads")
    os.truncate(source, size)
    started = time.monotonic()
    try:
        with memory.PeakPss(pid) as pss, selectors.DefaultSelector() as selector:
            for number in range(count):
                upload = _Upload(endpoint, f"{started:.0f}-{number:05d}", size)
                selector.register(upload.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, upload)
            _drive(selector, source, size, outcome, started + seconds_max)
    finally:
        os.close(source)
    outcome.pss_before, outcome.pss_peak = pss.before, pss.peak
    outcome.seconds = time.monotonic() - started
    return outcome


def _drive(
    selector: selectors.BaseSelector, source: int, size: int, outcome: Outcome, deadline: float
) -> None:
    while selector.get_map():
        if time.monotonic() > deadline:
            raise click.ClickException("the uploads took longer than --seconds-max")
        for key, events in selector.select(1.0):
            upload: _Upload = key.data
            try:
                if events & selectors.EVENT_WRITE and upload.send(source, size):
                    selector.modify(upload.sock, selectors.EVENT_READ, upload)
                if events & selectors.EVENT_READ and upload.receive():
                    _end(selector, upload.sock)
                    outcome.uploads += 1
                    if not upload.answer.startswith(b"HTTP/1.1 200"):
                        outcome.failed.append(upload.answer[:200].decode("latin-1"))
            except OSError as error:
                _end(selector, upload.sock)
                outcome.failed.append(str(error))


def _end(selector: selectors.BaseSelector, sock: socket.socket) -> None:
    selector.unregister(sock)
    sock.close()


@click.command()
@click.option("--endpoint", "text", required=True, help="NAME=http://HOST:PORT,ACCESS,SECRET")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--count", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--size-mib", type=click.IntRange(1, 5 * 1024), default=64, show_default=True)
@click.option("--pid", type=int, help="The server's first process: measures PSS of its tree.")
@click.option("--pss-max-mib", type=int, help="Fail when the tree takes more than this.")
@click.option("--seconds-max", type=float, default=600.0, show_default=True)
def main(
    text: str,
    region: str,
    count: int,
    size_mib: int,
    pid: int | None,
    pss_max_mib: int | None,
    seconds_max: float,
) -> None:
    """Upload COUNT objects of SIZE at the same time and print what the server's memory did."""
    endpoint = parse_endpoint(text, region, allow_remote=False, tls=None)
    outcome = run(endpoint, count, size_mib * MIB, pid, seconds_max)
    rate = outcome.uploads * size_mib * MIB / outcome.seconds / 1e6
    click.echo(
        f"{outcome.uploads} uploads of {size_mib} MiB at once in {outcome.seconds:.1f} s "
        f"({rate:.0f} MB/s), {len(outcome.failed)} failed"
    )
    if pid is not None:
        click.echo(
            f"PSS of all processes: {outcome.pss_before / MIB:.0f} MiB before, "
            f"{outcome.pss_peak / MIB:.0f} MiB at most"
        )
    for failure in outcome.failed[:5]:
        click.echo(failure, err=True)
    too_much = pss_max_mib is not None and outcome.pss_peak > pss_max_mib * MIB
    sys.exit(1 if outcome.failed or too_much else 0)


if __name__ == "__main__":
    main()
