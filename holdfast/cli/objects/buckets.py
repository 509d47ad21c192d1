"""`mb`, `rb` and `rm`: making buckets, and all that removes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.failure import Failure
from holdfast.cli.objects.connection import Connection, object_options
from holdfast.cli.objects.copying import FILTER_OPTIONS, with_options
from holdfast.cli.objects.output import Output, count, printable, say
from holdfast.cli.objects.places import (
    PLACE,
    Filters,
    Local,
    Place,
    Remote,
    bucket_only,
    has_pattern,
    matcher,
    remote,
    static_prefix,
)

if TYPE_CHECKING:
    from holdfast.client.store import ObjectStore

#: S3's bound of one DeleteObjects
BATCH_KEYS = 1000
#: deletes at once, each of a batch
BATCHES_AT_ONCE = 4


@click.command("mb")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="BUCKET...")
@click.option("--versioning", is_flag=True, help="Keep older versions of objects.")
@click.option("--object-lock", is_flag=True, help="Objects can be locked; implies versioning.")
@click.option("-p", "--exist-ok", is_flag=True, help="No error if the bucket is yours already.")
@object_options
def mb(
    connection: Connection,
    output: Output,
    places: tuple[Place, ...],
    versioning: bool,
    object_lock: bool,
    exist_ok: bool,
) -> None:
    """Make buckets.

    \b
    Examples:
      holdfast mb s3://docs
      holdfast mb s3://archive --versioning
      holdfast mb -p s3://logs s3://backup
    """
    names = [bucket_only(place) for place in places]
    with connection.store() as store:
        for name in names:
            store.create_bucket(
                name, versioning=versioning, object_lock=object_lock, exist_ok=exist_ok
            )
            if output.json:
                output.record({"action": "make", "target": f"s3://{name}", "status": "done"}, "")


@click.command("rb")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="BUCKET...")
@click.option("--force", is_flag=True, help="With all that is in it, every version included.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@object_options
def rb(
    connection: Connection, output: Output, places: tuple[Place, ...], force: bool, yes: bool
) -> None:
    """Remove buckets.

    \b
    Examples:
      holdfast rb s3://docs
      holdfast rb --force s3://scratch
    """
    from holdfast.client.errors import BucketNotEmpty

    names = [bucket_only(place) for place in places]
    if force:
        confirm(f"Remove {', '.join(names)} and every version of all that is in there?", yes)
    with connection.store() as store:
        for name in names:
            try:
                store.delete_bucket(name, force=force)
            except BucketNotEmpty:
                raise Failure(
                    f"bucket {name!r} is not empty (older versions and unfinished uploads count, "
                    f"too); to remove it with all that is in it: holdfast rb --force s3://{name}"
                ) from None
            if output.json:
                output.record({"action": "remove", "target": f"s3://{name}", "status": "done"}, "")


def confirm(question: str, yes: bool) -> None:
    """Asks on a terminal only: a script meant what it says."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not click.confirm(question, err=True):
        raise Failure("nothing was removed")


@click.command("rm")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="OBJECT...")
@click.option("-r", "--recursive", is_flag=True, help="All below a prefix or bucket.")
@with_options(FILTER_OPTIONS)
@click.option("--all-versions", is_flag=True, help="Every version, so that nothing can come back.")
@click.option("--version-id", metavar="ID", help="Just that version.")
@click.option("--bypass-governance", is_flag=True, help="Also what is locked in governance mode.")
@click.option("-f", "--force", is_flag=True, help="No error for what is not there.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be removed, do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask before recursive deletes.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line for each object.")
@object_options
def rm(connection: Connection, output: Output, places: tuple[Place, ...], **rest: Any) -> None:
    """Remove objects, a thousand in a request.

    Objects only, never local files: for these there is rm(1). In a bucket with versioning older
    versions stay; `holdfast restore` brings them back.

    \b
    Examples:
      holdfast rm s3://docs/draft.txt
      holdfast rm -r s3://logs/2024/ --dry-run
      holdfast rm -r --yes s3://logs/2024/ --include '*.gz'
      holdfast rm 's3://docs/*.tmp'
    """
    for place in places:
        if isinstance(place, Local) and os.path.lexists(place.path):
            raise click.UsageError(f"{place} is a local file; this removes objects only, see rm(1)")
    found = [remote(place, key=False) for place in places]
    recursive: bool = rest["recursive"]
    for place in found:
        if place.is_directory and not recursive:
            raise click.UsageError(f"{place}: add -r to remove all below it")
    if rest["version_id"] and (len(found) > 1 or recursive or has_pattern(found[0].key)):
        raise click.UsageError("--version-id is for one object")
    broad = [str(place) for place in found if recursive or has_pattern(place.key)]
    if broad and not rest["dry_run"]:
        what = "every version of all" if rest["all_versions"] else "all"
        confirm(f"Remove {what} that is in {', '.join(broad)}?", rest["yes"])
    removal = Removal(
        output,
        dry_run=rest["dry_run"],
        verbose=rest["verbose"],
        bypass=rest["bypass_governance"],
    )
    with connection.store() as store:
        for place in found:
            removal.batches(store, place.bucket, _keys(store, place, rest))
    if removal.failed:
        raise Failure(f"{removal.failed:,} could not be removed, {removal.done:,} were")
    if sys.stderr.isatty() and (broad or rest["verbose"]):
        word = "would be removed" if rest["dry_run"] else "removed"
        say(f"{count(removal.done, 'object')} {word}")


_Key = tuple[str, str | None]


def _keys(store: ObjectStore, place: Remote, rest: dict[str, Any]) -> Iterator[_Key]:
    """(key, version) of all that is to go. Raises NoSuchKey."""
    filters = Filters(rest["include"], rest["exclude"])
    if rest["version_id"]:
        yield place.key, rest["version_id"]
    elif has_pattern(place.key):
        matches = matcher(place.key)
        prefix = static_prefix(place.key)
        skip = prefix.rfind("/") + 1
        for key in _listed(store, place.bucket, prefix, rest):
            if matches(key[0]) and filters(key[0][skip:]):
                yield key
    elif rest["recursive"]:
        yield from _below(store, place, filters, rest)
    elif rest["all_versions"]:
        yield from [k for k in _listed(store, place.bucket, place.key, rest) if k[0] == place.key]
    elif rest["force"] or _exists(store, place):
        yield place.key, None


def _below(
    store: ObjectStore, place: Remote, filters: Filters, rest: dict[str, Any]
) -> Iterator[_Key]:
    from holdfast.client.errors import NoSuchKey

    folder = place.directory()
    empty = True
    for key in _listed(store, place.bucket, folder.key, rest):
        empty = False
        if filters(key[0][len(folder.key) :]):
            yield key
    if empty and place.key and not rest["force"]:
        if place.is_directory:
            raise NoSuchKey(resource=f"{place.bucket}/{place.key}")
        if _exists(store, place):
            yield place.key, None


def _exists(store: ObjectStore, place: Remote) -> bool:
    """Raises NoSuchKey. Who may not ask is believed."""
    from holdfast.client.errors import AccessDenied

    try:
        store.head_object(place.bucket, place.key)
    except AccessDenied as error:
        if error.code != "AccessDenied":
            raise
    return True


def _listed(store: ObjectStore, bucket: str, prefix: str, rest: dict[str, Any]) -> Iterator[_Key]:
    if rest["all_versions"]:
        for version in store.list_versions(bucket, prefix):
            yield version.key, version.version_id
    else:
        for entry in store.list_objects(bucket, prefix):
            yield entry.key, None


class Removal:
    """Batches on their way, and what came of them."""

    def __init__(
        self, output: Output, *, dry_run: bool, verbose: bool, bypass: bool = False
    ) -> None:
        self._output = output
        self._dry_run = dry_run
        self._tells = dry_run or verbose or output.json
        self._bypass = bypass
        self.done = self.failed = 0

    def batches(self, store: ObjectStore, bucket: str, keys: Iterable[_Key]) -> None:
        waiting = iter(keys)
        first = list(islice(waiting, BATCH_KEYS))
        if len(first) < BATCH_KEYS or self._dry_run:
            while first:
                self._remove(store, bucket, first)
                first = list(islice(waiting, BATCH_KEYS))
            return
        from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

        running: set[Future[None]] = set()
        with ThreadPoolExecutor(BATCHES_AT_ONCE) as threads:
            batch = first
            while batch:
                running.add(threads.submit(self._remove, store, bucket, batch))
                if len(running) >= BATCHES_AT_ONCE:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        future.result()
                batch = list(islice(waiting, BATCH_KEYS))
            for future in running:
                future.result()

    def _remove(self, store: ObjectStore, bucket: str, batch: list[_Key]) -> None:
        failed: dict[_Key, str] = {}
        if not self._dry_run:
            report = store.delete_many(bucket, batch, bypass_governance=self._bypass)
            for error in report.errors:
                failed[error.key, error.version_id or None] = f"{error.message} ({error.code})"
                say(f"s3://{bucket}/{error.key}: {error.message} ({error.code})")
        self.failed += len(failed)
        self.done += len(batch) - len(failed)
        if not self._tells:
            return
        status = "planned" if self._dry_run else "done"
        for key, version in batch:
            url = f"s3://{bucket}/{key}"
            fields = {"action": "delete", "target": url, "version_id": version or ""}
            problem = failed.get((key, version))
            if problem is None:
                word = "would remove" if self._dry_run else "removed"
                text = printable(f"{word}: {url}{f' version {version}' if version else ''}")
                self._output.record(fields | {"status": status}, text)
            elif self._output.json:
                self._output.record(fields | {"status": "failed", "error": problem}, "")
