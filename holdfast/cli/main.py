"""The `holdfast` command: the table of all commands.

Rule: starting one imports that one only; see `lazy`.
"""

from __future__ import annotations

import click

from holdfast import __version__
from holdfast.cli.lazy import Lazy, LazyGroup

_OBJECTS = "holdfast.cli.objects"
_FILES, _BUCKETS, _VERSIONS = "Files and objects", "Buckets", "Versions"
_SETUP, _SERVER = "This command", "Server"

COMMANDS: dict[str, Lazy] = {
    "ls": Lazy(f"{_OBJECTS}.listing:ls", _FILES, "List buckets, or what is in one."),
    "cp": Lazy(
        f"{_OBJECTS}.copying:cp", _FILES, "Copy files and objects, up, down or on the server."
    ),
    "mv": Lazy(
        f"{_OBJECTS}.copying:mv", _FILES, "Move files and objects: copy, then remove the source."
    ),
    "rm": Lazy(f"{_OBJECTS}.buckets:rm", _FILES, "Remove objects, a thousand in a request."),
    "sync": Lazy(
        f"{_OBJECTS}.syncing:sync", _FILES, "Make TARGET like SOURCE: copy what is new or changed."
    ),
    "diff": Lazy(
        f"{_OBJECTS}.syncing:diff",
        _FILES,
        "Print what differs: what sync would copy, and what --delete would remove.",
    ),
    "mirror": Lazy(
        f"{_OBJECTS}.syncing:mirror",
        _FILES,
        "Sync, and with --watch keep on following a local directory.",
    ),
    "cat": Lazy(f"{_OBJECTS}.reading:cat", _FILES, "Print objects, one after the other."),
    "stat": Lazy(
        f"{_OBJECTS}.reading:stat", _FILES, "Show all that is known of objects, or of a bucket."
    ),
    "find": Lazy(f"{_OBJECTS}.listing:find", _FILES, "Find objects by name, size and age."),
    "du": Lazy(
        f"{_OBJECTS}.listing:du", _FILES, "Sum up sizes: of every bucket, or of what is named."
    ),
    "tree": Lazy(f"{_OBJECTS}.listing:tree", _FILES, "Draw what is there as a tree."),
    "tag": Lazy(f"{_OBJECTS}.reading:tag", _FILES, "Show, add or remove the tags of an object."),
    "presign": Lazy(
        f"{_OBJECTS}.reading:presign",
        _FILES,
        "Make a URL that lets anybody read or write one object for a while.",
    ),
    "import": Lazy(
        "holdfast.cli.importing.command:import_",
        _BUCKETS,
        "Bring buckets over from another S3 server, with all versions.",
    ),
    "mb": Lazy(f"{_OBJECTS}.buckets:mb", _BUCKETS, "Make buckets."),
    "rb": Lazy(f"{_OBJECTS}.buckets:rb", _BUCKETS, "Remove buckets."),
    "versions": Lazy(
        f"{_OBJECTS}.versions:versions",
        _VERSIONS,
        "List all versions of objects, the newest first.",
    ),
    "restore": Lazy(f"{_OBJECTS}.versions:restore", _VERSIONS, "Bring older versions back."),
    "profile": Lazy(f"{_OBJECTS}.profiles:profile", _SETUP, "Servers and keys, kept under a name."),
    "completion": Lazy(
        f"{_OBJECTS}.complete:completion",
        _SETUP,
        "Print the script that completes commands, options and names in a shell.",
    ),
    "version": Lazy("holdfast.cli.version:version", _SETUP, "Print the version."),
    "serve": Lazy(
        "holdfast.cli.operate:serve",
        _SERVER,
        "Serve the S3 API from the directory DATA, which is made when it is not there.",
    ),
    "user": Lazy(
        "holdfast.cli.user:user", _SERVER, "Users with buckets and access keys of their own."
    ),
    "config": Lazy(
        "holdfast.cli.operate:config",
        _SERVER,
        "Print the effective settings and where each came from.",
    ),
    "fsck": Lazy("holdfast.cli.operate:fsck", _SERVER, "Check what DATA holds; no server may run."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="holdfast %(version)s")
def main() -> None:
    """Holdfast, an S3-compatible object store: its server, and commands for any S3 server.

    \b
    Examples:
      holdfast serve                             # a server on this machine
      holdfast profile add default               # which server and keys to use
      holdfast mb s3://photos
      holdfast cp -r ./pictures s3://photos/2026
      holdfast ls s3://photos/2026/

    Objects are named s3://bucket/key. Exit codes: 0 done, 1 something failed, 2 wrong usage,
    130 interrupted. `holdfast COMMAND --help` teaches the rest.
    """


if __name__ == "__main__":
    main()
