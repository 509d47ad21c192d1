"""`import`: the command and its options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from holdfast.cli.failure import Failure
from holdfast.cli.importing.servers import is_url, source_of, target_of
from holdfast.cli.objects.connection import Connection, object_options
from holdfast.cli.objects.copying import options_of_transfers, with_options
from holdfast.cli.objects.output import Output
from holdfast.cli.objects.places import SCHEME, Filters

#: everything that can be brought over is there; something of it could not
PARTIAL = 3


@click.command("import")
@click.argument("source", metavar="SOURCE")
@click.argument("buckets", nargs=-1, metavar="[BUCKET]...")
@click.option("--to", "to", metavar="PROFILE|URL", help="The destination. Default: as everywhere.")
@with_options(options_of_transfers("key"))
@click.option("--merge", is_flag=True, help="Also into buckets that have objects of their own.")
@click.option(
    "--public",
    is_flag=True,
    help="Public buckets become public: lift the destination's public access block for them.",
)
@click.option(
    "--skip-broken", is_flag=True, help="Leave out versions that SOURCE can't read, for good."
)
@click.option("--verify", is_flag=True, help="Copy nothing: compare both sides' listings.")
@click.option("--content", is_flag=True, help="With --verify: compare all bytes and metadata, too.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the journals are kept. Default: ~/.local/state/holdfast/imports.",
)
@object_options
def import_(connection: Connection, output: Output, **rest: Any) -> None:
    """Bring buckets over from another S3 server, with all versions.

    SOURCE is a profile or a URL; its buckets, all or those that are named (patterns do, too), are made at
    the destination, with versions and delete markers in their order, metadata, tags, locks, policies.
    Each version is compared with what SOURCE says of it. Stopped or killed, the same command goes on; run
    later, it brings what is new. Version ids and times can't be kept; what could not be brought over is
    in the report.

    \b
    Examples:
      holdfast profile add minio --endpoint http://minio:9000
      holdfast import minio --dry-run
      holdfast import minio
      holdfast import minio photos 'logs-*' --to backup
      holdfast import minio --verify --content

    Exit codes: 0 all is there, 1 something failed, 3 all versions are there but the destination has no
    place for something else, 130 interrupted.
    """
    from holdfast.cli.importing.journal import default_state
    from holdfast.cli.importing.run import Import, Order

    source = source_of(rest["source"])
    target = target_of(rest["to"], connection)
    if rest["content"] and not rest["verify"]:
        raise click.UsageError("--content goes with --verify")
    if rest["verify"] and rest["dry_run"]:
        raise click.UsageError("--verify writes nothing as it is; leave out --dry-run")
    if not is_url(rest["source"]) and rest["source"].startswith(SCHEME):
        raise click.UsageError("SOURCE is a profile or URL; buckets come after it")
    buckets = [text.removeprefix(SCHEME).removesuffix("/") for text in rest["buckets"]]
    for bucket in buckets:
        if "/" in bucket:
            raise click.UsageError(f"{bucket}: a bucket alone; for keys there is --include")
    order = Order(
        source=source,
        target=target,
        buckets=buckets,
        filters=Filters(rest["include"], rest["exclude"]),
        state=(rest["state"] or default_state()).absolute(),
        **{
            name: rest[name]
            for name in (
                "parallel", "dry_run", "skip_broken", "merge", "public", "verify", "content", "verbose",
                "quiet",
            )
        },
    )  # fmt: skip
    work = Import(order, output)
    work.execute()
    if order.verify:
        if work.differences or work.report.failed:
            raise Failure("source and destination differ")
        return
    if work.report.failed:
        raise Failure("not all was brought over; run it again for the rest")
    if work.report.is_partial:
        sys.exit(PARTIAL)
