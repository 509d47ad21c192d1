"""Helper processes for many small files, of which one interpreter can't send as many as a server takes.

Rule: helpers are forked before there is a thread or an event loop, and know nothing of the terminal. The
command itself works as well, and lends them batches of small jobs over socket pairs; two for each
helper, so that it never waits. A helper ends when its sockets do, so that none outlives the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from holdfast.cli.failure import Failure
from holdfast.cli.objects.plan import Job
from holdfast.cli.objects.transfer import Result

#: of one command, itself included
PROCESSES_MAX = 4
#: so many jobs must be planned before a helper is worth its start
JOBS_MIN = 500
#: jobs lent at once
BATCH_JOBS = 48
LINES_EACH = 2
_LENGTH_BYTES = 4
_END_SECONDS_MAX = 10.0

Work = Callable[[Job], Awaitable[Result]]


class Helper(NamedTuple):
    pid: int
    lines: list[socket.socket]


def processes() -> int:
    return min(len(os.sched_getaffinity(0)), PROCESSES_MAX)


def fork_helpers(number: int, serve: Callable[[list[socket.socket]], None]) -> list[Helper]:
    """`serve` is called in each helper with its ends."""
    sys.stdout.flush()
    sys.stderr.flush()
    helpers: list[Helper] = []
    for _ in range(number):
        pairs = [socket.socketpair() for _ in range(LINES_EACH)]
        pid = os.fork()
        if pid == 0:
            _be_helper(helpers, pairs, serve)
        for _, theirs in pairs:
            theirs.close()
        helpers.append(Helper(pid, [ours for ours, _ in pairs]))
    return helpers


def _be_helper(
    others: list[Helper],
    pairs: list[tuple[socket.socket, socket.socket]],
    serve: Callable[[list[socket.socket]], None],
) -> None:
    status = 1
    try:
        # Ctrl-C reaches the whole group: the command decides, and closes the sockets
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for sock in (*(line for other in others for line in other.lines), *(o for o, _ in pairs)):
            sock.close()
        serve([theirs for _, theirs in pairs])
        status = 0
    except Exception:  # noqa: BLE001 a fault of ours, which nobody else would show
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


async def serve_lines(lines: list[socket.socket], work: Work) -> None:
    """In a helper: until the lines end."""
    tasks = [asyncio.ensure_future(_serve_line(line, work)) for line in lines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve_line(line: socket.socket, work: Work) -> None:
    reader, writer = await asyncio.open_connection(sock=line)
    running: asyncio.Future[list[Result]] | None = None
    while True:
        following = asyncio.ensure_future(_receive(reader))
        if running is not None:
            # the line ends while there is work: that is Ctrl-C, and the work ends, too
            both: list[asyncio.Future[Any]] = [running, following]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                return
            _send(writer, running.result())
        jobs = await following
        if jobs is None:
            return
        running = asyncio.gather(*[work(job) for job in jobs])


async def _receive(reader: asyncio.StreamReader) -> list[Job] | None:
    body = await _read(reader)
    jobs: list[Job] | None = pickle.loads(body) if body else None
    return jobs


async def _read(reader: asyncio.StreamReader) -> bytes:
    """b"" at the end."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError):
        return b""


def _send(writer: asyncio.StreamWriter, value: object) -> None:
    body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    writer.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)


async def lend(
    line: socket.socket,
    pull: Callable[[int], Awaitable[list[Job]]],
    tell: Callable[[Job, Result], None],
) -> None:
    """In the command: batches to a helper, until `pull` gives none. Raises Failure."""
    reader, writer = await asyncio.open_connection(sock=line)
    try:
        while jobs := await pull(BATCH_JOBS):
            _send(writer, jobs)
            body = await _read(reader)
            if not body:
                raise Failure("a helper process has ended; run it again for the rest")
            results: list[Result] = pickle.loads(body)
            for job, result in zip(jobs, results, strict=True):
                tell(job, result)
    finally:
        writer.close()


def end_helpers(helpers: list[Helper]) -> None:
    """Their sockets close; what does not end by that is killed."""
    for helper in helpers:
        for line in helper.lines:
            line.close()
    for helper in helpers:
        _await_end(helper.pid)


def _await_end(pid: int) -> None:
    import time

    deadline = time.monotonic() + _END_SECONDS_MAX
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            time.sleep(0.005)
