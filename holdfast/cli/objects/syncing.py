"""`sync`, `diff` and `mirror`: one side made like the other.

Rule: both sides are read in the order of keys and compared as they come. Nothing is removed before all
else has gone well, nothing where the source is empty, and never what a filter hides.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.failure import Failure
from holdfast.cli.objects.connection import Connection, object_options
from holdfast.cli.objects.copying import (
    FILTER_OPTIONS,
    PARALLEL,
    TRANSFER_OPTIONS,
    Errors,
    check_bucket,
    end,
    transfer_options,
    with_options,
)
from holdfast.cli.objects.output import DURATION, Output, printable, say
from holdfast.cli.objects.places import (
    PLACE,
    Filters,
    Local,
    Place,
    Remote,
    has_pattern,
    meant,
)

if TYPE_CHECKING:
    from holdfast.cli.objects.plan import Entry, Job, Side
    from holdfast.cli.objects.run import Outcome
    from holdfast.cli.objects.transfer import Options
    from holdfast.client.store import ObjectStore

#: what `mirror --watch` remembers of a tree, some 200 bytes a file
WATCHED_FILES_MAX = 1_000_000

_ARGUMENTS = (
    click.argument("source", type=PLACE),
    click.argument("target", type=PLACE),
    click.option(
        "--checksum", is_flag=True, help="Compare bytes by checksum, not size and time of change."
    ),
    click.option("--delete", is_flag=True, help="Remove from TARGET what SOURCE has not."),
    click.option("--allow-empty", is_flag=True, help="Delete even if SOURCE is empty."),
)


@click.command("sync")
@with_options(_ARGUMENTS + TRANSFER_OPTIONS)
@object_options
def sync(connection: Connection, output: Output, **rest: Any) -> None:
    """Make TARGET like SOURCE: copy what is new or changed.

    SOURCE and TARGET are a directory and s3://bucket or s3://bucket/prefix, or two of the latter. Files
    of the same size and time of change are taken as the same; the time is kept with the object, as rclone
    does it. Run again it copies nothing, and after a break only the rest. --delete comes last, when all
    else went well, and spares what a filter hides; try it with --dry-run first.

    \b
    Examples:
      holdfast sync ./site s3://www --delete
      holdfast sync s3://backup/photos ./photos
      holdfast sync ./data s3://lake/raw --include '*.parquet' --parallel 32
      holdfast sync s3://www s3://www-copy --dry-run
    """
    with connection.store() as store:
        _Round(connection, output, rest, store).run()


@click.command("diff")
@with_options(_ARGUMENTS[:3] + FILTER_OPTIONS)
@object_options
def diff(connection: Connection, output: Output, **rest: Any) -> None:
    """Print what differs: what sync would copy, and what --delete would remove.

    \b
    Examples:
      holdfast diff ./site s3://www
      holdfast diff s3://www s3://www-copy --checksum
      holdfast diff ./site s3://www --json | jq -r 'select(.change == "extra") | .target'
    """
    rest |= {"delete": True, "allow_empty": True, "dry_run": True, "verbose": True}
    rest |= {"parallel": PARALLEL, "quiet": False, "differences": True}
    with connection.store() as store:
        _Round(connection, output, rest, store).run()


@click.command("mirror")
@with_options(_ARGUMENTS + TRANSFER_OPTIONS)
@click.option("--watch", is_flag=True, help="Then follow the changes, until Ctrl-C.")
@click.option(
    "--interval",
    type=DURATION,
    default="2s",
    show_default=True,
    metavar="TIME",
    help="How often --watch looks.",
)
@object_options
def mirror(connection: Connection, output: Output, **rest: Any) -> None:
    """Sync, and with --watch keep on following a local directory.

    \b
    Examples:
      holdfast mirror ./photos s3://backup/photos --watch
      holdfast mirror ./inbox s3://inbox --watch --interval 10s --delete
    """
    if rest["watch"] and not isinstance(rest["source"], Local):
        raise click.UsageError("--watch follows a local directory")
    if rest["watch"] and rest["dry_run"]:
        raise click.UsageError("--watch and --dry-run don't go together; see `holdfast diff`")
    if rest["interval"] < 0.1:
        raise click.UsageError("--interval is at least 0.1s")
    with connection.store() as store:
        current = _Round(connection, output, rest, store)
        if not rest["watch"]:
            current.run()
            return
        _Watch(current, rest["interval"]).follow()


def _check(source: Place, target: Place) -> None:
    """Raises click.UsageError, Failure."""
    for place in (source, target):
        if isinstance(place, Remote):
            if not place.bucket:
                raise click.UsageError("give a bucket: s3://bucket or s3://bucket/prefix")
            if has_pattern(place.key):
                raise click.UsageError(f"{place}: no patterns here; see --include and --exclude")
    if isinstance(source, Local):
        if isinstance(target, Local):
            raise click.UsageError(
                f"one of the two is s3://bucket: did you mean {meant(str(target))}? For local copies "
                "there is rsync(1)"
            )
        if not os.path.isdir(source.path):
            raise Failure(f"{source}: no such directory")
    elif isinstance(target, Local):
        if os.path.exists(target.path) and not os.path.isdir(target.path):
            raise Failure(f"{target}: not a directory")
    else:
        one, other = source.directory(), target.directory()
        if one.bucket == other.bucket and (
            one.key.startswith(other.key) or other.key.startswith(one.key)
        ):
            raise click.UsageError("source and target lie within each other")


class _Round:
    """One comparison of both sides, and what follows from it."""

    def __init__(
        self, connection: Connection, output: Output, rest: dict[str, Any], store: ObjectStore
    ) -> None:
        from holdfast.cli.objects.plan import Side

        source, target = rest["source"], rest["target"]
        _check(source, target)
        check_bucket(store, source)
        check_bucket(store, target)
        self._connection = connection
        self._output = output
        self._store = store
        self.deletes: bool = rest["delete"]
        self._allow_empty: bool = rest["allow_empty"]
        self.options: Options = transfer_options(rest)
        self.options.differences = rest.get("differences", False)
        self.errors = Errors()
        self.filters = Filters(rest["include"], rest["exclude"])
        self.source: Side = Side(source, self.filters, self.errors, store)
        self.target: Side = Side(target, self.filters, self._on_target_error, store)

    def _on_target_error(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # else it is to be made
            self.errors(error)

    def run(self) -> None:
        """Raises Failure if anything failed."""
        outcome = self.transfer()
        if self.deletes and not (outcome.failed or self.errors.count):
            self._remove_extra(self._extra())
        elif self.deletes:
            say("nothing was removed, as not all went well")
        end(outcome, self.errors)

    def transfer(self, jobs: Iterator[Job] | None = None) -> Outcome:
        from holdfast.cli.objects.plan import sync_jobs
        from holdfast.cli.objects.run import run_jobs

        if jobs is None:
            if self.deletes and not self._allow_empty:
                self._check_not_empty()
            jobs = sync_jobs(self.source, self.target)
        return run_jobs(jobs, self._connection, self._output, self.options)

    def _check_not_empty(self) -> None:
        if next(self.source.entries(), None) is None:
            raise Failure(
                f"{self.source.place} is empty, so --delete would remove all that is in "
                f"{self.target.place}; if that is meant, add --allow-empty"
            )

    def _extra(self) -> Iterator[Entry]:
        """A pass of its own: what is kept in memory does not grow with what is to go."""
        from holdfast.cli.objects.plan import extra_entries

        entries = extra_entries(self.source, self.target)
        if self._allow_empty:
            return entries
        # the source may have vanished since: an unmounted disk looks just so
        self._check_not_empty()
        first = next(entries, None)
        return iter(()) if first is None else chain([first], entries)

    def _remove_extra(self, entries: Iterator[Entry]) -> None:
        if isinstance(self.target.place, Remote) and not self.options.differences:
            self.remove_keys(
                entry.place.key for entry in entries if isinstance(entry.place, Remote)
            )
            return
        for entry in entries:
            if self.errors.count:
                raise Failure("not all of the source could be read; nothing more was removed")
            self._remove_one(entry)

    def remove_keys(self, keys: Iterator[str]) -> None:
        """Raises Failure."""
        from holdfast.cli.objects.buckets import Removal

        assert isinstance(self.target.place, Remote)
        options = self.options
        removal = Removal(self._output, dry_run=options.dry_run, verbose=options.verbose)

        def checked() -> Iterator[tuple[str, str | None]]:
            for key in keys:
                if self.errors.count:
                    raise Failure("not all of the source could be read; nothing more was removed")
                yield key, None

        removal.batches(self._store, self.target.place.bucket, checked())
        if removal.done and not options.quiet and sys.stderr.isatty():
            say(f"{'would remove' if options.dry_run else 'removed'} {removal.done:,}")
        if removal.failed:
            raise Failure(f"{removal.failed:,} could not be removed")

    def _remove_one(self, entry: Entry) -> None:
        """A local file, with the directories that it leaves empty; or a line of `diff`."""
        options = self.options
        if isinstance(entry.place, Local) and not options.dry_run:
            os.unlink(entry.place.path)
            assert isinstance(self.target.place, Local)
            _remove_empty(os.path.dirname(entry.place.path), self.target.place.path)
        if not (options.dry_run or options.verbose or self._output.json):
            return
        status = "planned" if options.dry_run else "done"
        fields = {"action": "delete", "target": str(entry.place), "size": entry.size}
        word = "would remove: " if options.dry_run else "removed: "
        word = "extra:    " if options.differences else word
        text = self._output.style(printable(f"{word}{entry.place}"), "red")
        self._output.record(fields | {"status": status, "change": "extra"}, text)


def _remove_empty(path: str, root: str) -> None:
    top = os.path.abspath(root)
    while os.path.abspath(path) != top:
        try:
            os.rmdir(path)
        except OSError:
            return  # something is left in it
        path = os.path.dirname(path)


#: size and time of each file, by its relative name
_Tree = dict[str, tuple[int, int]]


class _Watch:
    """A local tree, looked at again and again. What failed is tried again at the next look."""

    def __init__(self, round_: _Round, interval: float) -> None:
        self._round = round_
        self._interval = interval

    def follow(self) -> None:
        """Until KeyboardInterrupt. Raises Failure, S3Error where it can't even begin."""
        from holdfast.cli.objects.failures import brief
        from holdfast.client.errors import S3Error

        current = self._round
        known: _Tree | None = self._look()
        try:
            current.run()
        except Failure as failure:
            say(failure.message)
            known = None
        current.options.verbose = True
        say(f"following {current.source.place}; Ctrl-C ends it")
        while True:
            time.sleep(self._interval)
            current.errors.count = 0
            now = self._look()
            if current.errors.count or now == known:
                continue
            try:
                if known is None:
                    current.run()  # compares all
                    known = now
                else:
                    known = self._apply(known, now)
            except Failure as failure:
                say(failure.message)
            except S3Error as error:
                say(brief(error))

    def _look(self) -> _Tree:
        """Size and time of each file. Raises Failure."""
        found: _Tree = {}
        for entry in self._round.source.entries():
            found[entry.relative] = entry.size, entry.modified_ns
            if len(found) > WATCHED_FILES_MAX:
                raise Failure(f"--watch follows at most {WATCHED_FILES_MAX:,} files")
        return found

    def _apply(self, before: _Tree, now: _Tree) -> _Tree:
        """What is known to be at the target afterwards."""
        from holdfast.cli.objects.plan import Job

        current = self._round
        source = current.source.place
        assert isinstance(source, Local)
        changed = [name for name, state in now.items() if before.get(name) != state]
        jobs = (
            Job(
                "upload",
                Local(os.path.join(source.path, name)),
                current.target.child(name),
                *now[name],
            )
            for name in changed
        )
        outcome = current.transfer(jobs)
        known = now
        if outcome.failed:
            known = {name: state for name, state in now.items() if before.get(name) == state}
        gone = sorted(name for name in before if name not in now)
        if gone and current.deletes:
            if not now:
                say(f"{source} became empty; nothing is removed because of that")
            else:
                self._remove(gone)
        return known

    def _remove(self, gone: list[str]) -> None:
        current = self._round
        places = [current.target.child(name) for name in gone]
        try:
            current.remove_keys(place.key for place in places if isinstance(place, Remote))
        except Failure as failure:
            say(failure.message)
