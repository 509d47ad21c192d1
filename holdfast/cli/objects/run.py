"""Jobs done in parallel, and told of: on one event loop, with helper processes for many small files.

Rule: the plan runs in a thread, a bounded number of jobs ahead; workers take them one by one. A failed
job is a line and is counted; an error that all further ones would meet ends the run.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from socket import socket
from typing import Any

from holdfast.cli.failure import Failure
from holdfast.cli.objects import crew
from holdfast.cli.objects.connection import TRANSFER_ATTEMPTS, Connection
from holdfast.cli.objects.failures import FATAL, brief, explain, is_full
from holdfast.cli.objects.output import Output, count, human, printable, say
from holdfast.cli.objects.places import Local
from holdfast.cli.objects.plan import Job
from holdfast.cli.objects.progress import Item, Meter, summary
from holdfast.cli.objects.transfer import LARGE_BYTES_MIN, Options, Result, Worker
from holdfast.client.errors import S3Error
from holdfast.client.store import ObjectStore

BATCH_JOBS = 256
#: batches that the plan may be ahead: 16,384 jobs
BATCHES_AHEAD_MAX = 64
#: files in parts at once, each with up to four parts of 16 MiB in memory
LARGE_AT_ONCE = 3
#: in flight for each process, for a helper to be worth it
PARALLEL_EACH_MIN = 4
_LARGE_WAIT_SECONDS = 0.02
VERBS = {"upload": "uploaded", "download": "downloaded", "copy": "copied"}


@dataclass(slots=True)
class Outcome:
    done: int = 0
    bytes: int = 0
    same: int = 0
    failed: int = 0
    #: of those done, the most frequent action's word
    actions: dict[str, int] = field(default_factory=dict)


class Feed:
    """The plan, run by a thread: `pull` gives the next job, None at the end."""

    def __init__(self, jobs: Iterator[Job], meter: Meter) -> None:
        self._jobs = jobs
        self._meter = meter
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(BATCHES_AHEAD_MAX)
        self._ready: deque[Job] = deque()
        self._batches: deque[list[Job]] = deque()
        self._arrived = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None
        # a daemon: it may wait for a server while the command is interrupted
        threading.Thread(target=self._run, name="holdfast-plan", daemon=True).start()

    def _run(self) -> None:
        error = None
        size = 16  # the first ones at once, so that workers begin
        try:
            while batch := list(islice(self._jobs, size)):
                for job in batch:
                    self._meter.add(job.size)
                self._room.acquire()
                self._loop.call_soon_threadsafe(self._arrive, batch)
                size = BATCH_JOBS
        except Exception as failure:  # noqa: BLE001 raised by pull, where the command is
            error = failure
        self._meter.is_complete = error is None
        try:
            self._loop.call_soon_threadsafe(self._end, error)
        except RuntimeError:
            pass  # the loop has ended before the plan

    def _arrive(self, batch: list[Job]) -> None:
        self._batches.append(batch)
        self._arrived.set()

    def _end(self, error: Exception | None) -> None:
        self._ended, self._error = True, error
        self._arrived.set()

    async def _fill(self) -> bool:
        """Whether there is a job. Raises what the plan raised."""
        while not self._ready:
            if self._batches:
                self._ready.extend(self._batches.popleft())
                self._room.release()
            elif self._ended:
                if self._error is not None:
                    raise self._error
                return False
            else:
                self._arrived.clear()
                await self._arrived.wait()
        return True

    async def pull(self) -> Job | None:
        return self._ready.popleft() if self._ready or await self._fill() else None

    async def pull_small(self, jobs_max: int) -> list[Job]:
        """Some small ones, none at the end. Large ones are for the command itself."""
        found: list[Job] = []
        while not found and await self._fill():
            while self._ready and len(found) < jobs_max and self._ready[0].size < LARGE_BYTES_MIN:
                found.append(self._ready.popleft())
            if not found:
                await asyncio.sleep(_LARGE_WAIT_SECONDS)
        return found


class Run:
    """One run of jobs, and its account."""

    def __init__(self, output: Output, options: Options) -> None:
        self._output = output
        self._options = options
        self.outcome = Outcome()
        self.meter = Meter(output, quiet=options.quiet or options.dry_run)

    async def run(
        self, jobs: Iterator[Job], worker: Worker, parallel: int, lines: list[socket]
    ) -> None:
        """Raises Failure, and S3Error that all jobs would meet."""
        began = time.perf_counter()
        with self.meter:
            feed = Feed(jobs, self.meter)
            async with _all_or_none() as tasks:
                for line in lines:
                    lent = crew.lend(line, feed.pull_small, self._tell_lent)
                    tasks.append(asyncio.ensure_future(lent))
                for _ in range(parallel):
                    tasks.append(asyncio.ensure_future(self._work(feed, worker)))
        if self.meter.is_drawn and not self._options.dry_run:
            self._sum_up(time.perf_counter() - began)

    def _sum_up(self, seconds: float) -> None:
        outcome = self.outcome
        actions = outcome.actions
        verb = VERBS[next(iter(actions))] if len(actions) == 1 else "done:"
        text = summary(outcome.done, outcome.bytes, seconds, verb)
        if outcome.same:
            text += f"; {outcome.same:,} were the same"
        if not (outcome.done or outcome.failed):
            text = f"nothing to do: {count(outcome.same, 'file')} compared in {seconds:.1f} s"
        say(f"{text}; {outcome.failed:,} FAILED" if outcome.failed else text)

    async def _work(self, feed: Feed, worker: Worker) -> None:
        while (job := await feed.pull()) is not None:
            item = self.meter.begin(_name(job), job.size)
            self._tell(job, item, await worker.attempt(job, item))

    def _tell_lent(self, job: Job, result: Result) -> None:
        self._tell(job, self.meter.begin("", job.size, bar=False), result)

    def _tell(self, job: Job, item: Item, result: Result) -> None:
        if isinstance(result, Exception):
            if isinstance(result, FATAL):
                raise result
            if is_full(result):
                done = f"{self.outcome.done:,} were done"
                raise Failure(printable(f"{job.target}: {brief(result)} ({done})"))
            self.meter.finish(item, failed=True)
            self._failed(job, result)
            return
        if result == "same":
            self.meter.skip(item)
        else:
            self.meter.finish(item)
        self._succeeded(job, result)

    def _succeeded(self, job: Job, status: str) -> None:
        outcome = self.outcome
        if status == "same":
            outcome.same += 1
            return
        outcome.done += 1
        outcome.bytes += job.size
        action = job.action
        outcome.actions[action] = outcome.actions.get(action, 0) + 1
        told = self._options.dry_run or self._options.verbose
        if self._output.json or (told and not self._options.quiet):
            line = line_of(job, status)
            if self._options.differences:
                color = "green" if job.compare is None else "yellow"
                line = self._output.style(difference_of(job), color)
            self._output.record(self._fields(job, status), line)

    def _failed(self, job: Job, error: Exception) -> None:
        self.outcome.failed += 1
        text = brief(error)
        if self._output.json:
            fields = self._fields(job, "failed") | {"error": text}
            if isinstance(error, S3Error):
                fields["code"] = error.code
            self._output.record(fields, "")
        self.meter.error(f"{job.source}: {text}" if str(job.source) not in text else text)

    def _fields(self, job: Job, status: str) -> dict[str, Any]:
        return {
            "action": "move" if job.move else job.action,
            "source": str(job.source),
            "target": str(job.target),
            "size": job.size,
            "status": status,
            "change": "changed" if job.compare is not None else "new",
        }


def _name(job: Job) -> str:
    place = job.source if isinstance(job.source, Local) else job.target
    return str(place).rpartition("/")[2] or str(place)


def line_of(job: Job, status: str) -> str:
    verb = "move" if job.move else job.action
    word = f"would {verb}" if status == "planned" else verb
    return printable(f"{word}: {job.source} -> {job.target}")


def difference_of(job: Job) -> str:
    if job.compare is None:
        return printable(f"new:      {job.target}")
    sizes = f" ({human(job.compare.size)} -> {human(job.size)})"
    return printable(f"changed:  {job.target}{sizes if job.compare.size != job.size else ''}")


@asynccontextmanager
async def _all_or_none() -> AsyncIterator[list[asyncio.Future[None]]]:
    """Tasks of which the first failure, or an interruption, ends the others. It is raised."""
    tasks: list[asyncio.Future[None]] = []
    try:
        yield tasks
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _blocking(connection: Connection) -> AsyncIterator[ObjectStore]:
    with connection.store(TRANSFER_ATTEMPTS) as store:
        yield store


def _serve(connection: Connection, options: Options, parallel: int, lines: list[socket]) -> None:
    """What a helper does."""
    import uvloop

    async def main() -> None:
        turns = asyncio.Semaphore(parallel)
        async with connection.store_async() as store, _blocking(connection) as blocking:
            worker = Worker(store, blocking, options, 1)

            async def work(job: Job) -> Result:
                async with turns:
                    return await worker.attempt(job)

            await crew.serve_lines(lines, work)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _helpers_for(first: list[Job], options: Options) -> int:
    small = sum(job.size < LARGE_BYTES_MIN for job in first)
    if options.dry_run or small < crew.JOBS_MIN:
        return 0
    return max(0, min(crew.processes(), options.parallel // PARALLEL_EACH_MIN) - 1)


def run_jobs(
    jobs: Iterator[Job], connection: Connection, output: Output, options: Options
) -> Outcome:
    """Raises Failure; S3Error that all would meet, KeyboardInterrupt."""
    import uvloop

    from holdfast.client.checksums import running

    first = list(islice(jobs, crew.JOBS_MIN))
    helpers: list[crew.Helper] = []
    number = _helpers_for(first, options)
    each = options.parallel // (number + 1)
    run = Run(output, options)
    if number:
        running("CRC64NVME")  # imported once, before there are several
        helpers = crew.fork_helpers(number, partial(_serve, connection, options, each))
    lines = [line for helper in helpers for line in helper.lines]

    async def main() -> Outcome:
        async with connection.store_async() as store, _blocking(connection) as blocking:
            worker = Worker(store, blocking, options, LARGE_AT_ONCE)
            parallel = options.parallel - number * each
            await run.run(chain(first, jobs), worker, parallel, lines)
            return run.outcome

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())
    except FATAL as error:
        raise Failure(explain(error, connection)) from None
    finally:
        crew.end_helpers(helpers)
