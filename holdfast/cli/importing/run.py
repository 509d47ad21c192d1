"""The whole of an import: connections, the list of buckets, one bucket after the other, the end.

Rule: the first Ctrl-C lets what is on its way arrive, for a few seconds; the second, or the time, cuts
it off. Either way what was done is in the journal, and the same command goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.cli.failure import Failure
from holdfast.cli.importing import documents
from holdfast.cli.importing.engine import BucketRun, Settings, Stopped, prepare
from holdfast.cli.importing.journal import Journal, State
from holdfast.cli.importing.meter import ImportMeter
from holdfast.cli.importing.report import Report, Tally
from holdfast.cli.importing.verify import Verification
from holdfast.cli.importing.version import Pair, Room, SourceFailed
from holdfast.cli.objects.connection import Connection
from holdfast.cli.objects.failures import FATAL, brief, explain
from holdfast.cli.objects.output import Output, say
from holdfast.cli.objects.places import Filters, has_pattern, matcher
from holdfast.client import xml
from holdfast.client.asynchronous import AsyncObjectStore
from holdfast.client.errors import AccessDenied, ConnectionFailed, NoSuchBucket, S3Error
from holdfast.client.upload import abort

SYNC_SECONDS = 1.0
#: what was on its way when a run was killed may still arrive at the destination
SETTLE_SECONDS = 2.0
#: after Ctrl-C
GRACE_SECONDS = 5.0
_ALL_MEET = tuple(kind for kind in FATAL if kind is not NoSuchBucket)


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line says."""

    source: Connection
    target: Connection
    buckets: Sequence[str]
    filters: Filters
    parallel: int
    dry_run: bool
    skip_broken: bool
    merge: bool
    public: bool
    verify: bool
    content: bool
    verbose: bool
    quiet: bool
    state: Path


class Import:
    def __init__(self, order: Order, output: Output) -> None:
        self._order, self._output = order, output
        self.report = Report(output, verbose=order.verbose, dry_run=order.dry_run)
        self._meter = ImportMeter(output, quiet=order.quiet or order.dry_run)
        self._is_stopping = False
        self._main: asyncio.Task[Any] | None = None
        self.differences = 0

    def execute(self) -> None:
        """Raises Failure, KeyboardInterrupt."""
        import uvloop

        for connection in (self._order.source, self._order.target):
            _check(connection)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(self._run())
            except (Stopped, KeyboardInterrupt, asyncio.CancelledError):
                if not self._order.dry_run and not self._order.verify:
                    say("stopped; run the same command again and it goes on from here")
                raise KeyboardInterrupt from None

    async def _run(self) -> None:
        order = self._order
        self._main = asyncio.current_task()
        self._listen()
        async with order.source.store_async() as source, order.target.store_async() as target:
            names = [
                store.session.addresser.locate("", "")[0].authority for store in (source, target)
            ]
            if names[0] == names[1]:
                raise Failure(f"source and destination are the same server, {names[0]}")
            state = State(order.state, *names)
            try:
                await self._settle(state)
                await self._all(source, target, state)
                state.end()
            except (Stopped, Failure):
                state.end()
                raise
            finally:
                state.close()

    def _listen(self) -> None:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)

    def _interrupt(self) -> None:
        assert self._main is not None
        if self._is_stopping:
            self._main.cancel()
            return
        self._is_stopping = True
        say("stopping: what is on its way may arrive; Ctrl-C again ends it at once")
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._main.cancel)

    async def _settle(self, state: State) -> None:
        if state.was_killed and not self._order.verify:
            await asyncio.sleep(SETTLE_SECONDS)

    async def _all(self, source: AsyncObjectStore, target: AsyncObjectStore, state: State) -> None:
        try:
            buckets = await self._chosen(source)
        except S3Error as error:
            raise Failure(explain(error, self._order.source)) from None
        counting = None
        try:
            with self._meter:
                if self._meter.is_drawn and not self._order.verify:
                    counting = asyncio.ensure_future(self._meter.count(source, buckets))
                for bucket in buckets:
                    await self._one(bucket, source, target, state)
        finally:
            if counting is not None:
                counting.cancel()
                await asyncio.gather(counting, return_exceptions=True)
            if not self._order.verify:
                self.report.end(state.directory)

    async def _chosen(self, source: AsyncObjectStore) -> list[str]:
        """Raises Failure, S3Error."""
        wanted = self._order.buckets
        if wanted and not any(has_pattern(text) for text in wanted):
            return list(dict.fromkeys(wanted))
        names = [bucket.name async for bucket in source.list_buckets()]
        if not wanted:
            return names
        matches = [matcher(text) for text in wanted]
        found = [name for name in names if any(match(name) for match in matches)]
        if not found:
            raise Failure(f"no bucket of the source matches; there are: {', '.join(names)}")
        return found

    async def _one(
        self, bucket: str, source: AsyncObjectStore, target: AsyncObjectStore, state: State
    ) -> None:
        tally = self.report.begin(bucket)
        self._meter.enter(bucket)
        journal = state.journal(bucket)
        room = Room(state.directory)

        def note(text: str) -> None:
            tally.notes[text] += 1

        pair = Pair(bucket, source, target, journal, room, note)
        try:
            async with _synced(journal):
                if self._order.verify:
                    await self._verify(pair, tally)
                else:
                    await self._bring(pair, tally)
        except SourceFailed as failure:
            self._bucket_failed(tally, failure.error, self._order.source)
        except S3Error as error:
            self._bucket_failed(tally, error, self._order.target)
        finally:
            journal.close()
            if not self._order.verify:
                self.report.bucket(tally)

    def _bucket_failed(self, tally: Tally, error: S3Error, connection: Connection) -> None:
        """Raises Failure where the other buckets would fail alike."""
        tally.problem = brief(error)
        if isinstance(error, (ConnectionFailed, *_ALL_MEET)):
            raise Failure(
                f"{explain(error, connection)} What was brought over stays; run the command again "
                "to go on."
            ) from None
        self._meter.error(f"{tally.bucket}: {tally.problem}")

    async def _verify(self, pair: Pair, tally: Tally) -> None:
        try:
            pair.is_plain = not await _versioning_of(pair, tally)
            pair.reads_acls = await _has_acls(pair)
        except S3Error as error:
            raise SourceFailed(error) from error
        verification = Verification(
            pair,
            self._output,
            self._order.filters,
            content=self._order.content,
            parallel=self._order.parallel,
            is_stopping=lambda: self._is_stopping,
        )
        self.differences += await verification.run()

    async def _bring(self, pair: Pair, tally: Tally) -> None:
        order = self._order
        try:
            versioning = await _versioning_of(pair, tally)
            pair.is_plain = not versioning
            has_lock = await _has_lock(pair)
            pair.reads_acls = await _has_acls(pair)
            found = await documents.read_all(pair.source, pair.bucket)
        except S3Error as error:
            raise SourceFailed(error) from error
        is_new, problem = await prepare(
            pair, has_lock=has_lock, may_exist=order.merge, dry_run=order.dry_run
        )
        if problem:
            tally.problem = problem
            return
        settings = Settings(
            order.parallel,
            order.dry_run,
            order.skip_broken,
            order.filters,
            pair.journal.path.parent,
            lambda: self._is_stopping,
        )
        await self._configure(pair, tally, [one for one in found if one.kind.early])
        if order.public and not order.dry_run:
            await documents.lift_block(pair.target, pair.bucket, found)
        run = BucketRun(pair, tally, self.report, self._meter, settings)
        await run.run(versioning, is_new=is_new)
        await self._configure(pair, tally, [one for one in found if not one.kind.early])
        await _note_uploads(pair)
        if not (order.dry_run or tally.failed):
            await _end_uploads(pair)

    async def _configure(self, pair: Pair, tally: Tally, found: list[documents.Found]) -> None:
        for one in found:
            if self._order.dry_run:
                if one.problem:
                    tally.refused.append((one.kind.name, one.problem))
                else:
                    tally.documents.append(one.kind.name)
                continue
            if one.kind.query == "object-lock" and tally.failed:
                tally.refused.append((one.kind.name, "it waits for the versions that failed"))
                continue
            status, reason = await documents.bring(pair.target, pair.bucket, one, pair.journal)
            if status == "refused":
                tally.refused.append((one.kind.name, reason))
            elif status == "done":
                tally.documents.append(one.kind.name)


def _check(connection: Connection) -> None:
    """Is there a server, does it know the keys? With few attempts: who waits wants to know soon.
    Raises Failure."""
    with connection.store() as store:
        try:
            next(iter(store.list_buckets()), None)
        except AccessDenied as error:
            if error.code != "AccessDenied":  # who may not list buckets may name them
                raise Failure(explain(error, connection)) from None
        except S3Error as error:
            raise Failure(explain(error, connection)) from None


async def _versioning_of(pair: Pair, tally: Tally) -> str:
    """ "Enabled", "Suspended" or "". Raises S3Error."""
    body = await documents.get(pair.source, pair.bucket, "versioning")
    if body is None:
        return ""
    tree = xml.parse(body)
    for node in tree:
        if node.tag == "MfaDelete" and node.text != "Enabled":
            continue
        if node.tag != "Status":
            tally.refused.append((node.tag, "only S3's own versioning states are brought over"))
    return xml.text(tree, "Status")


async def _has_lock(pair: Pair) -> bool:
    body = await documents.get(pair.source, pair.bucket, "object-lock")
    return body is not None and xml.text(xml.parse(body), "ObjectLockEnabled") == "Enabled"


async def _has_acls(pair: Pair) -> bool:
    """Whether objects may have ACLs of their own there."""
    try:
        reply = await pair.source.request("GET", pair.bucket, query={"ownershipControls": ""})
    except S3Error as error:
        # S3's word for a bucket of before there were ownership controls
        return error.code == "OwnershipControlsNotFoundError"
    tree = xml.parse(reply.body)
    return xml.text(tree, "Rule/ObjectOwnership") != "BucketOwnerEnforced"


async def _note_uploads(pair: Pair) -> None:
    try:
        async for _ in pair.source.list_uploads(pair.bucket):
            pair.note("unfinished uploads, which stay at the source")
    except S3Error as error:
        if not error.status:
            raise SourceFailed(error) from error


async def _end_uploads(pair: Pair) -> None:
    """Uploads of killed runs that nothing came of."""
    for token, upload_id in list(pair.journal.uploads.items()):
        key = pair.journal.upload_keys.get(token, "")
        with contextlib.suppress(S3Error):
            await abort(pair.target.session, pair.bucket, key, upload_id)
        pair.journal.note(upload_ended=token)


@contextlib.asynccontextmanager
async def _synced(journal: Journal) -> AsyncIterator[None]:
    """The journal is synced again and again."""

    async def sync() -> None:
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            await asyncio.to_thread(journal.sync)

    task = asyncio.ensure_future(sync())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
