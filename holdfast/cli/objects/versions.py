"""`versions` and `restore`: what was, and bringing it back.

Rule: restoring copies an older version onto its key, as the newest one; history is never removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.failure import Failure
from holdfast.cli.objects.connection import Connection, object_options
from holdfast.cli.objects.copying import FILTER_OPTIONS, with_options
from holdfast.cli.objects.output import (
    DURATION,
    Output,
    count,
    human,
    iso,
    local_time,
    printable,
    say,
)
from holdfast.cli.objects.places import (
    PLACE,
    Filters,
    Place,
    Remote,
    has_pattern,
    matcher,
    remote,
    static_prefix,
)

if TYPE_CHECKING:
    from holdfast.client.models import VersionEntry
    from holdfast.client.store import ObjectStore

#: copies at once; nothing travels
RESTORES_AT_ONCE = 8
#: versions of one key that are looked through
VERSIONS_MAX = 100_000


def _history(store: ObjectStore, place: Remote, filters: Filters) -> Iterator[list[VersionEntry]]:
    """The versions of each key that a name stands for, the newest first."""
    key = place.key
    pattern = has_pattern(key)
    matches = matcher(key) if pattern else None
    prefix = static_prefix(key)
    skip = prefix.rfind("/") + 1 if pattern or not place.is_directory else len(prefix)
    group: list[VersionEntry] = []
    for version in store.list_versions(place.bucket, prefix):
        if matches is not None and not matches(version.key):
            continue
        if matches is None and not place.is_directory and version.key != key:
            if version.key > key:
                break
            continue
        if not filters(version.key[skip:]):
            continue
        if group and group[0].key != version.key:
            yield group
            group = []
        if len(group) < VERSIONS_MAX:
            group.append(version)
    if group:
        yield group


def _wanted(place: Place, recursive: bool) -> Remote:
    found = remote(place, key=False)
    return found.directory() if recursive and not has_pattern(found.key) else found


@click.command("versions")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="PLACE...")
@click.option("-r", "--recursive", is_flag=True, help="Of all below a prefix.")
@with_options(FILTER_OPTIONS)
@object_options
def versions(
    connection: Connection, output: Output, places: tuple[Place, ...], **rest: Any
) -> None:
    """List all versions of objects, the newest first.

    \b
    Examples:
      holdfast versions s3://docs/report.txt
      holdfast versions -r s3://docs/2026
      holdfast versions s3://docs/report.txt --json | jq -r .version_id
    """
    filters = Filters(rest["include"], rest["exclude"])
    with connection.store() as store:
        for place in places:
            wanted = _wanted(place, rest["recursive"])
            found = False
            for group in _history(store, wanted, filters):
                found = True
                for version in group:
                    _print(output, wanted.bucket, version)
            if not found and wanted.key:
                raise _missing(wanted)


def _missing(place: Remote) -> Exception:
    from holdfast.client.errors import NoSuchKey

    return NoSuchKey(resource=f"{place.bucket}/{place.key}")


def _print(output: Output, bucket: str, version: VersionEntry) -> None:
    fields = {
        "type": "delete-marker" if version.is_delete_marker else "version",
        "url": f"s3://{bucket}/{version.key}",
        "bucket": bucket,
        "key": version.key,
        "version_id": version.version_id,
        "is_latest": version.is_latest,
        "size": version.size,
        "last_modified": iso(version.last_modified) if version.last_modified else "",
        "etag": version.etag,
    }
    size = "DELETED" if version.is_delete_marker else human(version.size)
    latest = output.style("latest", "green") if version.is_latest else "      "
    text = (
        f"{output.dim(local_time(version.last_modified))}  {size:>10}  {latest}  "
        f"{version.version_id:32}  {printable(version.key)}"
    )
    output.record(fields, text)


def _moment(text: str) -> datetime:
    """A time, or how long ago. Raises click.UsageError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            ago = DURATION.convert(text, None, None)
        except click.UsageError:
            raise click.UsageError(
                f"--at {text}: give a time such as 2026-11-20T12:00, or how long ago, such as 2h"
            ) from None
        return datetime.now(UTC) - timedelta(seconds=ago)
    return found.astimezone(UTC)  # without a zone it is local time


@click.command("restore")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="PLACE...")
@click.option("--version-id", metavar="ID", help="That version, of one object.")
@click.option(
    "--at", "at", metavar="TIME", help="As it was then: 2026-11-20T12:00, or 2h for two hours ago."
)
@click.option("-r", "--recursive", is_flag=True, help="All below a prefix.")
@with_options(FILTER_OPTIONS)
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be restored, do nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line for each object.")
@object_options
def restore(connection: Connection, output: Output, places: tuple[Place, ...], **rest: Any) -> None:
    """Bring older versions back.

    Of one object: the version before the newest, or before its deletion. With -r or a pattern: what was
    deleted. With --at: each as it was then; what came later stays. The older version is copied to be the
    newest, so that this can be undone as well.

    \b
    Examples:
      holdfast restore s3://docs/report.txt
      holdfast restore s3://docs/report.txt --version-id 3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY
      holdfast restore -r s3://docs/2026 --at 2h --dry-run
    """
    wanted = [_wanted(place, rest["recursive"]) for place in places]
    many = len(wanted) > 1 or any(p.is_directory or has_pattern(p.key) for p in wanted)
    if rest["version_id"] and (many or rest["at"]):
        raise click.UsageError("--version-id is for one object, without --at")
    if any(place.is_directory for place in wanted) and not rest["recursive"]:
        raise click.UsageError("add -r to restore all below a prefix")
    at = _moment(rest["at"]) if rest["at"] else None
    filters = Filters(rest["include"], rest["exclude"])
    restored = failed = 0
    with connection.store() as store:
        for place in wanted:
            one = not (place.is_directory or has_pattern(place.key))
            groups = _history(store, place, filters)
            chosen = (
                (group, version)
                for group in groups
                if (version := _chosen(group, rest["version_id"], at, one)) is not None
            )
            done, wrong = _copy_all(store, place.bucket, chosen, output, rest)
            if one and not done and not wrong:
                _explain_nothing(store, place, rest["version_id"])
            restored, failed = restored + done, failed + wrong
    if failed:
        raise Failure(f"{failed:,} could not be restored, {restored:,} were")
    if not output.json and not rest["dry_run"]:
        say(f"restored {count(restored, 'object')}")


def _chosen(
    group: list[VersionEntry], version_id: str | None, at: datetime | None, one: bool
) -> VersionEntry | None:
    """None where nothing is to be done."""
    latest = group[0]
    if version_id:
        found = [v for v in group if v.version_id == version_id]
    elif at is not None:
        found = [v for v in group if v.last_modified is not None and v.last_modified <= at][:1]
    elif latest.is_delete_marker:
        found = [v for v in group if not v.is_delete_marker]
    else:
        found = [v for v in group[1:] if not v.is_delete_marker] if one else []
    if not found or found[0].is_delete_marker or found[0] is latest:
        return None
    return found[0]


def _explain_nothing(store: ObjectStore, place: Remote, version_id: str | None) -> None:
    group = next(_history(store, place, Filters()), None)
    if group is None:
        raise _missing(place)
    if version_id and not any(v.version_id == version_id for v in group):
        raise Failure(
            f"{place} has no version {version_id}; `holdfast versions {place}` lists them"
        )
    raise Failure(f"{place} has no older version to bring back; `holdfast versions {place}`")


def _copy_all(
    store: ObjectStore,
    bucket: str,
    chosen: Iterator[tuple[list[VersionEntry], VersionEntry]],
    output: Output,
    rest: dict[str, Any],
) -> tuple[int, int]:
    """(restored, failed)."""
    from concurrent.futures import ThreadPoolExecutor
    from itertools import islice

    from holdfast.cli.objects.failures import brief
    from holdfast.client.errors import S3Error

    def one(version: VersionEntry) -> S3Error | None:
        if rest["dry_run"]:
            return None
        try:
            key, version_id = version.key, version.version_id
            store.copy_object(bucket, key, bucket, key, version_id=version_id)
        except S3Error as error:
            return error
        return None

    done = failed = 0
    with ThreadPoolExecutor(RESTORES_AT_ONCE) as threads:
        while batch := [version for _, version in islice(chosen, 1000)]:
            for version, error in zip(batch, threads.map(one, batch), strict=True):
                done, failed = done + (error is None), failed + (error is not None)
                url = f"s3://{bucket}/{version.key}"
                fields = {"action": "restore", "target": url, "version_id": version.version_id}
                status = "failed" if error else "planned" if rest["dry_run"] else "done"
                if error is not None:
                    fields["error"] = brief(error)
                    say(f"{url}: {brief(error)}")
                if output.json or (error is None and (rest["dry_run"] or rest["verbose"])):
                    word = "would restore" if rest["dry_run"] else "restored"
                    when = local_time(version.last_modified)
                    text = f"{word}: {url} as of {when} ({version.version_id})"
                    output.record(fields | {"status": status}, printable(text))
    return done, failed
