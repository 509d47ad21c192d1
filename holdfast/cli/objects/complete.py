"""Shell completion: the scripts, and names of buckets and keys while typing."""

from __future__ import annotations

import click

from holdfast.cli.objects.connection import Connection
from holdfast.cli.objects.places import SCHEME, Remote, parse

CANDIDATES_MAX = 100
_SHELLS = ("bash", "fish", "zsh")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and names in a shell.

    Buckets and keys are asked for from the server of the default profile or environment (in bash not:
    it splits words at colons).

    \b
    Examples:
      eval "$(holdfast completion bash)"       # in ~/.bashrc
      eval "$(holdfast completion zsh)"        # in ~/.zshrc
      holdfast completion fish > ~/.config/fish/completions/holdfast.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, "holdfast", "_HOLDFAST_COMPLETE").source())


def candidates(incomplete: str) -> list[str]:
    """Buckets or keys that go on like that; none where the server can't be asked."""
    from holdfast.cli.failure import Failure
    from holdfast.client.errors import S3Error

    try:
        place = parse(incomplete)
        assert isinstance(place, Remote)
        with Connection().store() as store:
            if "/" not in incomplete[len(SCHEME) :]:
                buckets = store.list_buckets(place.bucket)
                return [
                    f"s3://{found.name}/"
                    for found, _ in zip(buckets, range(CANDIDATES_MAX), strict=False)
                ]
            listed = store.list_objects(*place, delimiter="/", limit=CANDIDATES_MAX)
            return [f"s3://{place.bucket}/{entry.key}" for entry in listed]
    except (S3Error, OSError, ValueError, Failure):
        return []
