"""`serve`, `config`, `fsck`: the server's own commands. Their options derive from the settings' table.

Rule: only what a command needs is imported, inside it, so that each starts at once. What goes wrong
is one line on standard error: status 2 for a wrong setting, 1 for everything else.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from holdfast.cli.failure import Failure, NotDone
from holdfast.cli.options import load_settings, settings_options
from holdfast.config import SETTINGS

if TYPE_CHECKING:
    from holdfast.maintenance.fsck import FsckReport


@click.command()
@settings_options()
def serve(config_file: str | None, **flags: object) -> None:
    """Serve the S3 API from the directory DATA, which is made when it is not there.

    Without DATA it is ./holdfast-data. The keys are made at the first start and printed.

    \b
    Examples:
      holdfast serve
      holdfast serve /srv/holdfast --listen 0.0.0.0:9000 --tls-cert cert.pem --tls-key key.pem
      holdfast serve /srv/holdfast --config /etc/holdfast.toml
    """
    settings = load_settings(config_file, flags).settings
    from functools import partial

    from holdfast.server import logs, welcome
    from holdfast.server.data import DataError
    from holdfast.server.listeners import ListenError
    from holdfast.server.serve import serve as run
    from holdfast.server.tls import TlsError

    logs.configure(settings.log_format)
    try:
        status = run(settings, partial(welcome.show, settings))
    except (DataError, ListenError, TlsError, OSError) as error:
        raise Failure(str(error)) from None
    sys.exit(status)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options()
def config(config_file: str | None, as_json: bool, **flags: object) -> None:
    """Print the effective settings and where each came from. Secrets are masked.

    \b
    Examples:
      holdfast config
      holdfast config /srv/holdfast --config /etc/holdfast.toml --json
    """
    settings, origins = load_settings(config_file, flags)
    rows = [(s.name, s.show(getattr(settings, s.name)), origins[s.name]) for s in SETTINGS]
    if as_json:
        import json

        document = {
            setting.name: {
                "value": setting.show(value) if setting.secret else value,
                "from": origins[setting.name],
            }
            for setting in SETTINGS
            for value in [getattr(settings, setting.name)]
        }
        click.echo(json.dumps(document, indent=1))
        return
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        click.echo(f"{name:{widths[0]}}  {value:{widths[1]}}  {origin}")


@click.command()
@click.option("--content", is_flag=True, help="Also read and verify every byte.")
@click.option("--reclaim", is_flag=True, help="Remove garbage now, if there is no damage.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options(frozenset())
def fsck(
    config_file: str | None, content: bool, reclaim: bool, as_json: bool, **flags: object
) -> None:
    """Check what DATA holds; no server may run. Status 0: no damage; 1: damage; 2: not checked.

    \b
    Examples:
      holdfast fsck /srv/holdfast
      holdfast fsck /srv/holdfast --content --json
    """
    settings = load_settings(config_file, flags).settings
    import asyncio
    import json

    from holdfast.server import logs
    from holdfast.server.data import DataError
    from holdfast.server.offline import check

    logs.configure(settings.log_format)
    progress = _progress if sys.stderr.isatty() else None
    try:
        report: FsckReport = asyncio.run(
            check(settings, content=content, reclaim=reclaim, progress=progress)
        )
    except (DataError, OSError) as error:
        raise NotDone(str(error)) from None
    if progress is not None:
        click.echo("\r\x1b[K", nl=False, err=True)
    click.echo(json.dumps(report.as_dict(), indent=1) if as_json else "\n".join(report.lines()))
    sys.exit(report.exit_code)


def _progress(blobs: int, bytes_read: int) -> None:
    click.echo(f"\r\x1b[K{blobs} blobs, {bytes_read} bytes", nl=False, err=True)
