"""`cp` and `mv`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.failure import Command, Failure
from holdfast.cli.objects.connection import Connection, object_options
from holdfast.cli.objects.output import Output, say
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
    from holdfast.cli.objects.run import Outcome
    from holdfast.cli.objects.transfer import Options
    from holdfast.client.options import WriteOptions
    from holdfast.client.store import ObjectStore

PARALLEL = 32
PARALLEL_MAX = 256
_PAIR = "NAME=VALUE"

Option = Callable[[Any], Any]


def options_of_filters(noun: str) -> tuple[Option, ...]:
    return (
        click.option(
            "--include",
            multiple=True,
            metavar="PATTERN",
            help=f"Only {noun}s that match, e.g. '*.txt'. Repeatable.",
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="PATTERN",
            help=f"No {noun}s that match, e.g. .git. Repeatable.",
        ),
    )


def options_of_transfers(noun: str) -> tuple[Option, ...]:
    """`noun`: what is transferred, one at a time."""
    return (
        *options_of_filters(noun),
        click.option("-n", "--dry-run", is_flag=True, help="Print what would be done, do nothing."),
        click.option(
            "--parallel",
            type=click.IntRange(1, PARALLEL_MAX),
            default=PARALLEL,
            show_default=True,
            metavar="N",
            help=f"{noun.capitalize()}s at once.",
        ),
        click.option("-v", "--verbose", is_flag=True, help=f"Print a line for each {noun}."),
        click.option("-q", "--quiet", is_flag=True, help="No progress bars; errors only."),
    )


FILTER_OPTIONS = options_of_filters("file")
TRANSFER_OPTIONS = options_of_transfers("file")
_WRITE_OPTIONS = (
    click.option("--content-type", metavar="TYPE", help="Otherwise by the name's ending."),
    click.option("--cache-control", metavar="TEXT", help="For browsers, e.g. max-age=3600."),
    click.option("--storage-class", metavar="NAME", help="Otherwise STANDARD."),
    click.option("--metadata", multiple=True, metavar=_PAIR, help="Of your own. Repeatable."),
    click.option(
        "--tag", "tags", multiple=True, metavar=_PAIR, help="Tags of objects. Repeatable."
    ),
)


def with_options(options: tuple[Option, ...]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """Raises click.UsageError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.UsageError(f"{option}: {text!r} is not {_PAIR}")
        found[name] = value
    return found


def _write_options(rest: dict[str, Any]) -> WriteOptions:
    write: WriteOptions = {}
    if rest["content_type"]:
        write["content_type"] = rest["content_type"]
    if rest["cache_control"]:
        write["cache_control"] = rest["cache_control"]
    if rest["storage_class"]:
        write["storage_class"] = rest["storage_class"]
    if rest["metadata"]:
        write["metadata"] = pairs(rest["metadata"], "--metadata")
    if rest["tags"]:
        write["tags"] = pairs(rest["tags"], "--tag")
    return write


def transfer_options(rest: dict[str, Any]) -> Options:
    from holdfast.cli.objects.transfer import Options

    return Options(
        parallel=rest["parallel"],
        dry_run=rest["dry_run"],
        checksum=rest.get("checksum", False),
        verbose=rest["verbose"],
        quiet=rest["quiet"],
    )


def check_bucket(store: ObjectStore, place: Place) -> None:
    """Before anything is read: is there a server, are the keys right, is there such a bucket?
    Whoever may only write is refused the question, which is no reason to stop."""
    from holdfast.client.errors import AccessDenied, NoSuchBucket, S3Error

    if not isinstance(place, Remote):
        return
    try:
        # a listing, not a HEAD: its refusal says why
        if next(store.list_objects(place.bucket, limit=1), None) is None:
            return
    except NoSuchBucket:
        raise
    except AccessDenied as error:
        if error.code != "AccessDenied":
            raise
    except S3Error as error:
        if not error.status:
            raise


class Errors:
    """What could not be read while the plan was made."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: OSError) -> None:
        from holdfast.cli.objects.failures import local_error

        self.count += 1
        say(local_error(error))


def end(outcome: Outcome, errors: Errors) -> None:
    """Ends with status 1 if anything failed."""
    failed = outcome.failed + errors.count
    if failed:
        raise Failure(f"{failed:,} failed, {outcome.done:,} done; run it again for the rest")


_COPY_ARGUMENTS = (
    click.argument("sources", nargs=-1, required=True, type=PLACE, metavar="SOURCE..."),
    click.argument("target", type=PLACE),
    click.option("-r", "--recursive", is_flag=True, help="All below a directory or prefix."),
    *TRANSFER_OPTIONS,
)


@click.command("cp")
@with_options(_COPY_ARGUMENTS + _WRITE_OPTIONS)
@object_options
def cp(connection: Connection, output: Output, **rest: Any) -> None:
    """Copy files and objects, up, down or on the server.

    A TARGET that ends in / is a place to go into, any other one is the new name. With -r the content of
    SOURCE goes into TARGET; with several sources each keeps its own name. Quote patterns: * stays within
    one name, ** crosses slashes. A file's time goes with it. When a large transfer broke, run the command
    again and it goes on from there.

    \b
    Examples:
      holdfast cp report.pdf s3://docs/2026/
      holdfast cp -r ./photos s3://backup/photos --exclude '*.tmp'
      holdfast cp 's3://logs/2026/**/*.gz' ./logs/
      tar c ./site | holdfast cp - s3://backup/site.tar
    """
    _copy(connection, output, rest, move=False)


@click.command("mv")
@with_options(_COPY_ARGUMENTS + _WRITE_OPTIONS)
@object_options
def mv(connection: Connection, output: Output, **rest: Any) -> None:
    """Move files and objects: copy, then remove the source.

    A source is removed only when its copy is whole, and only if it did not change meanwhile.

    \b
    Examples:
      holdfast mv s3://docs/draft.txt s3://docs/final.txt
      holdfast mv -r ./outbox s3://inbox/2026 --include '*.csv'
      holdfast mv -n 's3://logs/*.gz' s3://archive/logs/
    """
    _copy(connection, output, rest, move=True)


def _copy(connection: Connection, output: Output, rest: dict[str, Any], *, move: bool) -> None:
    sources: tuple[Place, ...] = rest["sources"]
    target: Place = rest["target"]
    places = [*sources, target]
    if not any(isinstance(place, Remote) for place in places):
        raise click.UsageError(
            f"one of the two is s3://bucket/key: did you mean {meant(str(target))}? For local copies "
            "there is cp(1)"
        )
    if any(isinstance(place, Remote) and not place.bucket for place in places):
        raise click.UsageError("s3:// alone has no bucket: give s3://bucket/key")
    if isinstance(target, Local) and all(isinstance(place, Local) for place in sources):
        raise click.UsageError("the target is to be s3://bucket/key")
    if isinstance(target, Local) and any(isinstance(place, Local) for place in sources):
        raise click.UsageError("a local source and a local target: for that there is cp(1)")
    if isinstance(target, Remote) and has_pattern(target.key):
        raise click.UsageError(f"{target}: a target is no pattern")
    write = _write_options(rest)
    if _through_a_stream(connection, output, sources, target, write, rest, move=move):
        return
    from holdfast.cli.objects.plan import Sources, copy_jobs
    from holdfast.cli.objects.run import run_jobs

    errors = Errors()
    with connection.store() as store:
        check_bucket(store, target)
        filters = Filters(rest["include"], rest["exclude"])
        found = Sources(sources, filters, errors, recursive=rest["recursive"], store=store)
        options = transfer_options(rest)
        options.write = write
        outcome = run_jobs(copy_jobs(found, target, move=move), connection, output, options)
    end(outcome, errors)


def _through_a_stream(
    connection: Connection,
    output: Output,
    sources: tuple[Place, ...],
    target: Place,
    write: WriteOptions,
    rest: dict[str, Any],
    *,
    move: bool,
) -> bool:
    """Standard input and output, pipes and devices: in order, in this thread. Whether it was one."""
    first = sources[0]
    if isinstance(target, Local) and target.is_stream:
        if move or len(sources) > 1 or rest["recursive"] or rest["dry_run"]:
            raise click.UsageError("to standard output goes one object; see also `holdfast cat`")
        from holdfast.cli.objects.reading import send_out

        assert isinstance(first, Remote)
        with connection.store() as store:
            send_out(store, first)
        return True
    streams = [place for place in sources if isinstance(place, Local) and _is_pipe(place)]
    if not streams:
        return False
    if len(sources) > 1 or move or rest["dry_run"]:
        raise click.UsageError(f"{streams[0]}: a stream is copied alone")
    assert isinstance(first, Local) and isinstance(target, Remote)  # noqa: PT018
    if target.is_directory:
        raise click.UsageError(f"{target}: what comes from a stream needs a key, not a prefix")
    with connection.store() as store:
        check_bucket(store, target)
        file = sys.stdin.buffer if first.is_stream else open(first.path, "rb")  # noqa: SIM115
        try:
            result = store.put_object(target.bucket, target.key, file, **write)
        finally:
            file.close()
    if output.json:
        fields = {"action": "upload", "source": str(first), "target": str(target)}
        output.record(fields | {"size": result.size, "status": "done"}, "")
    return True


def _is_pipe(place: Local) -> bool:
    import stat

    if place.is_stream:
        return True
    try:
        mode = os.stat(place.path).st_mode
    except OSError:
        return False  # said later, with its reason
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
