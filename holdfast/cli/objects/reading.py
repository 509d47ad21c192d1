"""`cat`, `stat`, `presign`, `tag`: one object at a time."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.objects.connection import Connection, object_options
from holdfast.cli.objects.output import DURATION, Output, human, iso, printable
from holdfast.cli.objects.places import PLACE, Place, Remote, has_pattern, remote

if TYPE_CHECKING:
    from holdfast.client.reading import Range
    from holdfast.client.store import ObjectStore

PRESIGN_SECONDS_MAX = 7 * 86400
_VERSION = click.option("--version-id", metavar="ID", help="An older version.")
_RANGE = re.compile(r"(\d*)-(\d*)").fullmatch


def send_out(
    store: ObjectStore,
    place: Remote,
    *,
    version_id: str | None = None,
    range: Range | None = None,
) -> None:
    """An object to standard output."""
    out = sys.stdout.buffer
    with store.get_object(place.bucket, place.key, version_id=version_id, range=range) as stream:
        buffer = memoryview(bytearray(1024 * 1024))
        while size := stream.readinto(buffer):
            out.write(buffer[:size])
    out.flush()


def _range(text: str | None) -> Range | None:
    """First and last byte, as in HTTP: 0-99, 100-, -100."""
    if text is None:
        return None
    match = _RANGE(text)
    if match is None or not (match[1] or match[2]):
        raise click.UsageError(f"--range {text}: give FIRST-LAST, FIRST- or -LAST_BYTES")
    if not match[1]:
        return -int(match[2]), None
    return int(match[1]), int(match[2]) + 1 if match[2] else None


@click.command("cat")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="OBJECT...")
@click.option("--range", "wanted", metavar="FIRST-LAST", help="Bytes; 100- and -100 work, too.")
@_VERSION
@object_options
def cat(
    connection: Connection,
    output: Output,
    places: tuple[Place, ...],
    wanted: str | None,
    version_id: str | None,
) -> None:
    """Print objects, one after the other.

    \b
    Examples:
      holdfast cat s3://docs/notes.txt
      holdfast cat 's3://logs/2026-11-*.gz' | zcat | grep ERROR
      holdfast cat s3://disk/image.raw --range 0-511 | xxd
    """
    from holdfast.cli.objects.places import Filters
    from holdfast.cli.objects.plan import matching

    part = _range(wanted)
    with connection.store() as store:
        for place in places:
            found = remote(place)
            if not has_pattern(found.key):
                send_out(store, found, version_id=version_id, range=part)
                continue
            for entry in matching(store, found, Filters()):
                assert isinstance(entry.place, Remote)
                send_out(store, entry.place, range=part)


@click.command("stat")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="OBJECT...")
@_VERSION
@object_options
def stat(
    connection: Connection, output: Output, places: tuple[Place, ...], version_id: str | None
) -> None:
    """Show all that is known of objects, or of a bucket.

    \b
    Examples:
      holdfast stat s3://docs/notes.txt
      holdfast stat s3://docs
      holdfast stat s3://docs/notes.txt --json | jq .metadata
    """
    with connection.store() as store:
        for place in places:
            found = remote(place, key=False)
            fields = (
                _object(store, found, version_id) if found.key else _bucket(store, found.bucket)
            )
            width = max(map(len, fields))
            lines = [
                f"{output.dim(f'{name:{width}}')}  {printable(_shown(name, value))}"
                for name, value in fields.items()
                if value not in ("", None, {}, 0) or name == "size"
            ]
            output.record(fields, "\n".join(lines))


def _shown(name: str, value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={text}" for key, text in value.items())
    if name == "size":
        return f"{value} ({human(int(str(value)))})"
    return str(value)


def _object(store: ObjectStore, place: Remote, version_id: str | None) -> dict[str, Any]:
    info = store.head_object(place.bucket, place.key, version_id=version_id)
    return {
        "url": str(place),
        "type": "object",
        "bucket": place.bucket,
        "key": place.key,
        "size": info.size,
        "last_modified": iso(info.last_modified) if info.last_modified else "",
        "etag": info.etag,
        "content_type": info.content_type,
        "storage_class": info.storage_class,
        "version_id": info.version_id,
        "checksums": dict(info.checksums),
        "parts": info.parts_count,
        "metadata": dict(info.metadata),
        "tags": info.tag_count,
    }


def _bucket(store: ObjectStore, bucket: str) -> dict[str, Any]:
    region = store.bucket_region(bucket)
    created = next((b.created for b in store.list_buckets(bucket) if b.name == bucket), None)
    return {
        "url": f"s3://{bucket}",
        "type": "bucket",
        "bucket": bucket,
        "region": region,
        "created": iso(created) if created else "",
        "versioning": store.get_versioning(bucket) or "Unversioned",
    }


@click.command("presign")
@click.argument("place", type=PLACE, metavar="OBJECT")
@click.option(
    "--expires",
    type=DURATION,
    default="1h",
    show_default=True,
    metavar="TIME",
    help="How long it works: 10m, 12h, at most 7d.",
)
@click.option(
    "--method",
    type=click.Choice(["get", "put", "post"]),
    default="get",
    show_default=True,
    help="To read, to write, or a form for browsers.",
)
@_VERSION
@object_options
def presign(
    connection: Connection,
    output: Output,
    place: Place,
    expires: float,
    method: str,
    version_id: str | None,
) -> None:
    """Make a URL that lets anybody read or write one object for a while.

    \b
    Examples:
      holdfast presign s3://docs/report.pdf --expires 2d
      curl -T report.pdf "$(holdfast presign s3://docs/report.pdf --method put)"
      holdfast presign 's3://inbox/${filename}' --method post --json
    """
    found = remote(place)
    if not 1 <= expires <= PRESIGN_SECONDS_MAX:
        raise click.UsageError("--expires is 1s to 7d")
    with connection.store() as store:
        fields: dict[str, Any] = {"method": method.upper(), "expires_seconds": int(expires)}
        if method == "post":
            form = store.presign_post(*found, expires=int(expires))
            fields |= {"url": form.url, "fields": form.fields}
            names = [f"  -F {_quoted(f'{name}={text}')}" for name, text in form.fields.items()]
            text = " \\\n".join([f"curl {form.url}", *names, "  -F file=@FILE"])
        elif method == "put":
            fields["url"] = text = store.presign_put(*found, expires=int(expires))
        else:
            url = store.presign_get(*found, expires=int(expires), version_id=version_id)
            fields["url"] = text = url
    output.record(fields, text)


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(text)


@click.command("tag")
@click.argument("place", type=PLACE, metavar="OBJECT")
@click.argument("pairs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--remove", multiple=True, metavar="NAME", help="Take one away. Repeatable.")
@click.option("--clear", is_flag=True, help="Take all away first.")
@_VERSION
@object_options
def tag(
    connection: Connection,
    output: Output,
    place: Place,
    pairs: tuple[str, ...],
    remove: tuple[str, ...],
    clear: bool,
    version_id: str | None,
) -> None:
    """Show, add or remove the tags of an object.

    \b
    Examples:
      holdfast tag s3://docs/report.pdf
      holdfast tag s3://docs/report.pdf team=sales year=2026
      holdfast tag s3://docs/report.pdf --remove year
    """
    from holdfast.cli.objects.copying import pairs as parsed

    found = remote(place)
    added = parsed(pairs, "tag")
    with connection.store() as store:
        tags = {} if clear else store.get_tags(*found, version_id=version_id)
        if added or remove or clear:
            tags = {name: text for name, text in tags.items() if name not in remove} | added
            store.set_tags(*found, tags, version_id=version_id)
    lines = [printable(f"{name}={text}") for name, text in sorted(tags.items())]
    if output.json or lines:
        output.record({"url": str(found), "tags": tags}, "\n".join(lines))
