"""Jobs done in parallel, on one event loop.

Rule: the plan runs in a thread, a bounded number of jobs ahead; `parallel` workers take them one by
one. A failed job is a line and is counted; an error that all further ones would meet ends the run.
Small files go whole; large ones, a few at a time, in parts that a later run goes on with.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from holdfast.cli.failure import Failure
from holdfast.cli.objects.compare import is_same
from holdfast.cli.objects.connection import Connection
from holdfast.cli.objects.failures import FATAL, brief, explain
from holdfast.cli.objects.output import Output, count, human, printable, say
from holdfast.cli.objects.places import Local, Remote
from holdfast.cli.objects.plan import Job, modified_ns, mtime_text, nanoseconds
from holdfast.cli.objects.progress import Item, Meter, summary
from holdfast.client.errors import NotImplementedByServer, S3Error
from holdfast.client.options import WriteOptions

if TYPE_CHECKING:
    from holdfast.client.asynchronous import AsyncObjectStore

BATCH_JOBS = 256
#: batches that the plan may be ahead: 16,384 jobs
BATCHES_AHEAD_MAX = 64
#: files in parts at once, each with up to four parts of 16 MiB in memory
LARGE_AT_ONCE = 3
#: as in the client: from here on a transfer is made of parts and can be resumed
LARGE_BYTES_MIN = 32 * 1024 * 1024
DIRECTORIES_KNOWN_MAX = 100_000
VERBS = {"upload": "uploaded", "download": "downloaded", "copy": "copied", "delete": "deleted"}


@dataclass(slots=True)
class Options:
    """What the commands' flags say of transfers."""

    parallel: int = 16
    dry_run: bool = False
    checksum: bool = False
    verbose: bool = False
    quiet: bool = False
    #: lines of `diff`
    differences: bool = False
    write: WriteOptions = field(default_factory=lambda: WriteOptions())


@dataclass(slots=True)
class Outcome:
    done: int = 0
    bytes: int = 0
    same: int = 0
    failed: int = 0
    #: of those done, the most frequent action's word
    actions: dict[str, int] = field(default_factory=dict)


class Feed:
    """The plan, pulled by a thread: `pull` gives the next job, None at the end."""

    def __init__(self, jobs: Iterator[Job], meter: Meter) -> None:
        self._jobs = jobs
        self._meter = meter
        self._batches: queue.Queue[list[Job] | Exception | None] = queue.Queue(BATCHES_AHEAD_MAX)
        self._ready: deque[Job] = deque()
        self._turn = asyncio.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="holdfast-plan", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            size = 16  # the first ones at once, so that workers begin
            while batch := list(islice(self._jobs, size)):
                for job in batch:
                    self._meter.add(job.size)
                self._batches.put(batch)
                size = BATCH_JOBS
        except Exception as error:  # noqa: BLE001 raised by pull, where the command is
            self._batches.put(error)
            return
        self._meter.is_complete = True
        self._batches.put(None)

    async def pull(self) -> Job | None:
        """Raises what the plan raised."""
        if self._ready:
            return self._ready.popleft()
        async with self._turn:
            while not self._ready:
                if self._ended:
                    return None
                try:
                    batch = self._batches.get_nowait()
                except queue.Empty:
                    batch = await asyncio.to_thread(self._batches.get)
                if batch is None or isinstance(batch, Exception):
                    self._ended = True
                    if batch is not None:
                        raise batch
                    return None
                self._ready.extend(batch)
            return self._ready.popleft()


class Runner:
    """One run of jobs."""

    def __init__(
        self, store: AsyncObjectStore, connection: Connection, output: Output, options: Options
    ) -> None:
        self._store = store
        self._connection = connection
        self._output = output
        self._options = options
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._directories: set[str] = set()
        self.outcome = Outcome()
        self.meter = Meter(output, quiet=options.quiet or options.dry_run)

    async def run(self, jobs: Iterator[Job]) -> None:
        """Raises Failure, and S3Error that all jobs would meet."""
        began = time.perf_counter()
        with self.meter:
            feed = Feed(jobs, self.meter)
            async with _all_or_none() as tasks:
                tasks += [
                    asyncio.ensure_future(self._work(feed)) for _ in range(self._options.parallel)
                ]
        if self.meter.is_drawn and not self._options.dry_run:
            self._tell(time.perf_counter() - began)

    def _tell(self, seconds: float) -> None:
        outcome = self.outcome
        actions = outcome.actions
        verb = VERBS[next(iter(actions))] if len(actions) == 1 else "done:"
        text = summary(outcome.done, outcome.bytes, seconds, verb)
        if outcome.same:
            text += f"; {outcome.same:,} were the same"
        if not (outcome.done or outcome.failed):
            text = f"nothing to do: {count(outcome.same, 'file')} compared in {seconds:.1f} s"
        say(f"{text}; {outcome.failed:,} FAILED" if outcome.failed else text)

    async def _work(self, feed: Feed) -> None:
        while (job := await feed.pull()) is not None:
            item = self.meter.begin(_name(job), job.size)
            try:
                if job.error:
                    raise ValueError(job.error)
                status = await self._one(job, item)
            except FATAL:
                raise
            except (S3Error, OSError, ValueError) as error:
                self.meter.finish(item, failed=True)
                self._failed(job, error)
                continue
            if status == "same":
                self.meter.skip(item)
            else:
                self.meter.finish(item)
            self._succeeded(job, status)

    async def _one(self, job: Job, item: Item) -> str:
        """The status: done, same, planned."""
        if job.compare is not None and await is_same(
            self._store, job, job.compare, by_checksum=self._options.checksum
        ):
            return "same"
        if self._options.dry_run:
            return "planned"
        if isinstance(job.source, Local):
            await self._upload(job, item)
        elif isinstance(job.target, Local):
            await self._download(job, item)
        else:
            await self._copy(job, item)
        return "done"

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
            line = difference_of(job) if self._options.differences else line_of(job, status)
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

    async def _upload(self, job: Job, item: Item) -> None:
        assert isinstance(job.source, Local) and isinstance(job.target, Remote)  # noqa: PT018
        options = self._options.write.copy()
        metadata = {"mtime": mtime_text(job.modified_ns)}
        options["metadata"] = {**metadata, **options.get("metadata", {})}
        if "content_type" not in options and (kind := content_type(job.source.path)):
            options["content_type"] = kind
        path = _Path(job.source.path)
        put, bucket, key = self._store.put_object, job.target.bucket, job.target.key
        if job.size < LARGE_BYTES_MIN:
            await put(bucket, key, path, **options)
        else:
            async with self._large:
                await put(bucket, key, path, progress=item, resume=True, **options)
        if job.move:
            _remove_unchanged(job)

    async def _download(self, job: Job, item: Item) -> None:
        assert isinstance(job.source, Remote) and isinstance(job.target, Local)  # noqa: PT018
        path = job.target.path
        self._make_directory(os.path.dirname(path))
        get, bucket, key = self._store.download, job.source.bucket, job.source.key
        if job.size < LARGE_BYTES_MIN:
            result = await get(bucket, key, path)
        else:
            async with self._large:
                result = await get(bucket, key, path, progress=item, resume=True)
        kept = nanoseconds(result.info.metadata.get("mtime", ""))
        changed = kept if kept is not None else modified_ns(result.info.last_modified)
        if changed:
            os.utime(path, ns=(changed, changed))
        if job.move:
            await self._delete_source(job.source, result.info.etag)

    async def _copy(self, job: Job, item: Item) -> None:
        assert isinstance(job.source, Remote) and isinstance(job.target, Remote)  # noqa: PT018
        function = self._store.move_object if job.move else self._store.copy_object
        await function(*job.source, *job.target, progress=item, **self._options.write)

    async def _delete_source(self, source: Remote, etag: str) -> None:
        """Only while it is what was downloaded, where the server knows If-Match on deletes."""
        try:
            await self._store.delete_object(source.bucket, source.key, if_match=etag)
        except NotImplementedByServer:
            await self._store.delete_object(source.bucket, source.key)

    def _make_directory(self, path: str) -> None:
        if path and path not in self._directories:
            os.makedirs(path, exist_ok=True)
            if len(self._directories) >= DIRECTORIES_KNOWN_MAX:
                self._directories.clear()
            self._directories.add(path)


class _Path(os.PathLike[str]):
    """What the client takes as a file's name; pathlib would take longer to make than to read."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return self._path


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


def _remove_unchanged(job: Job) -> None:
    """A moved file goes when it still is what was sent. Raises OSError."""
    assert isinstance(job.source, Local)
    status = os.stat(job.source.path)
    if (status.st_size, status.st_mtime_ns) != (job.size, job.modified_ns):
        raise OSError(None, "it changed while it was sent, and was left", job.source.path)
    os.unlink(job.source.path)


_TYPES: dict[str, str | None] = {}
#: what is compressed is sent as it is: no Content-Encoding, which readers would undo
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def content_type(path: str) -> str | None:
    """By the name's ending."""
    ending = os.path.splitext(path)[1].lower()
    if not ending:
        return None
    if ending not in _TYPES:
        import mimetypes

        kind, encoding = mimetypes.MimeTypes().guess_type(f"name{ending}")
        if len(_TYPES) > 1000:
            _TYPES.clear()
        _TYPES[ending] = _COMPRESSED.get(encoding) if encoding else kind
    return _TYPES[ending]


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


def run_jobs(
    jobs: Iterator[Job], connection: Connection, output: Output, options: Options
) -> Outcome:
    """Raises Failure; S3Error that all would meet, KeyboardInterrupt."""
    import uvloop

    async def main() -> Outcome:
        async with connection.store_async() as store:
            runner = Runner(store, connection, output, options)
            await runner.run(jobs)
            return runner.outcome

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(main())
        except FATAL as error:
            raise Failure(explain(error, connection)) from None
