"""What went wrong, in one line that says what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from holdfast.cli.failure import Failure
from holdfast.cli.objects.connection import Connection
from holdfast.cli.objects.output import printable
from holdfast.cli.objects.places import meant
from holdfast.client.errors import (
    AccessDenied,
    ConnectionFailed,
    CredentialsNotFound,
    ExpiredToken,
    InvalidAccessKeyId,
    NoSuchBucket,
    NoSuchKey,
    RequestTimeTooSkewed,
    S3Error,
    SignatureDoesNotMatch,
)

#: paths that were perhaps meant as s3://
_S3_LIKE = re.compile(r"(?i)s3:*/+[^/]").match
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
#: names looked through for near ones
NEAR_NAMES_MAX = 1000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: of these, every further request would fail alike
FATAL = (
    CredentialsNotFound,
    ExpiredToken,
    InvalidAccessKeyId,
    NoSuchBucket,
    RequestTimeTooSkewed,
    SignatureDoesNotMatch,
)


@contextlib.contextmanager
def failing_in_one_line(connection: Connection) -> Iterator[None]:
    """Raises Failure."""
    try:
        yield
    except BrokenPipeError:
        raise
    except S3Error as error:
        raise Failure(printable(explain(error, connection))) from None
    except OSError as error:
        raise Failure(printable(local_error(error))) from None


_LOCAL_HINTS = {
    errno.EACCES: "look at its owner and rights with `ls -ld`",
    errno.ENOSPC: "free some space on this machine, and run the command again",
    errno.EDQUOT: "free some space on this machine, and run the command again",
    errno.EROFS: "name a directory that can be written to",
    errno.EMFILE: "run it with a smaller --parallel, or raise `ulimit -n`",
}


def is_full(error: Exception) -> bool:
    """Whether there is no room, here or at the server: then all others would fail alike."""
    if isinstance(error, S3Error):
        return error.code == "InsufficientStorage"
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def local_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    path = str(error.filename or "")
    if isinstance(error, FileNotFoundError) and _S3_LIKE(path):
        reason += f"; did you mean {meant(path)}?"
    elif hint := _LOCAL_HINTS.get(error.errno or 0):
        reason += f"; {hint}"
    return f"{path}: {reason}" if path else reason


def explain(error: S3Error, connection: Connection) -> str:
    """The whole of it, with a look at what is near where that helps."""
    if isinstance(error, ConnectionFailed):
        return _unreachable(error, connection)
    if isinstance(error, CredentialsNotFound):
        return _no_keys(error, connection)
    if isinstance(error, InvalidAccessKeyId):
        return (
            f"{_server(connection)} does not know the access key of {connection.origin()}. "
            "Choose other keys with --profile, or another server with --endpoint."
        )
    if isinstance(error, SignatureDoesNotMatch):
        origin = connection.origin()
        anew = "there" if "environment" in origin else "with `holdfast profile add`"
        return (
            f"the secret key of {origin} is wrong for {_server(connection)}. Set it anew {anew}, or "
            "choose others with --profile."
        )
    if isinstance(error, NoSuchBucket):
        bucket = error.resource.partition("/")[0]
        near = _near_buckets(bucket, connection)
        return f"no bucket {bucket!r}.{near} Make it with: holdfast mb s3://{bucket}"
    if error.code == "InvalidBucketName":
        return (
            f"{error.resource!r} can't be a bucket's name: 3 to 63 lower-case letters, digits, "
            "dots and hyphens, beginning and ending with a letter or digit."
        )
    if isinstance(error, NoSuchKey):
        return _no_key(error, connection)
    return brief(error)


def _no_keys(error: CredentialsNotFound, connection: Connection) -> str:
    name = connection.profile or os.environ.get("HOLDFAST_PROFILE")
    if name is None:
        return (
            f"{error.message}. Keep some with `holdfast profile add default`, or set "
            "HOLDFAST_ACCESS_KEY and HOLDFAST_SECRET_KEY (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY do, too)."
        )
    from holdfast.cli.objects.profiles import load_profiles

    known = ", ".join(sorted(load_profiles())) or "none yet"
    return (
        f"{error.message}, nor in `holdfast profile list` (there: {known}). Keep it with: "
        f"holdfast profile add {name}"
    )


def brief(error: Exception) -> str:
    """Without asking the server for more: for one line among many."""
    if isinstance(error, S3Error):
        code = "" if error.code in error.message else f" ({error.code})"
        message = error.message.rstrip(".") or "no message"
        hint = error.hint if isinstance(error, AccessDenied) or not error.status else ""
        hint = hint.replace("call again with resume=True", "run the command again")
        return f"{message}{code}. {hint}".strip()
    return local_error(error) if isinstance(error, OSError) else str(error)


def _server(connection: Connection) -> str:
    return connection.arguments().get("url") or "the server"


def _unreachable(error: ConnectionFailed, connection: Connection) -> str:
    url = _server(connection)
    host = urlsplit(url).hostname or ""
    reason = _ERRNO.sub("", error.message.partition(": ")[2] or error.message)
    if "WRONG_VERSION_NUMBER" in reason:
        plain = url.replace("https:", "http:", 1)
        return f"what answers at {url} does not speak TLS. Try --endpoint {plain}"
    if host in _LOOPBACK:
        port = urlsplit(url).port or 9000
        listen = "" if port == 9000 else f" --listen {host}:{port}"
        todo = f"Start one there with: holdfast serve{listen}"
    else:
        todo = "Check the address and the network"
    return f"no server answers at {url} ({reason}). {todo}; or name another one by --endpoint."


def _near(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches
    from itertools import islice

    found = get_close_matches(name, list(islice(names, NEAR_NAMES_MAX)), 3, 0.6)
    return f" Near it: {', '.join(found)}." if found else ""


def _near_buckets(bucket: str, connection: Connection) -> str:
    try:
        with connection.store() as store:
            names = [found.name for found in store.list_buckets()]
    except S3Error:
        return ""
    if not names:
        return " There is none yet."
    return _near(bucket, names) or (
        f" There are: {', '.join(names[:10])}{' …' if len(names) > 10 else ''}."
    )


def _no_key(error: NoSuchKey, connection: Connection) -> str:
    bucket, _, key = error.resource.partition("/")
    try:
        with connection.store() as store:
            if not store.bucket_exists(bucket):
                missing = NoSuchBucket(resource=bucket)
                return explain(missing, connection)
            folder = key.rstrip("/") + "/"
            if any(store.list_objects(bucket, folder, limit=1)):
                return f"s3://{bucket}/{key} is a prefix, not an object; add -r for all below it."
            parent = key.rstrip("/").rpartition("/")[0]
            prefix = f"{parent}/" if parent else ""
            found = store.list_objects(bucket, prefix, delimiter="/", limit=NEAR_NAMES_MAX)
            near = _near(key, [entry.key for entry in found])
    except S3Error:
        near = ""
    return f"no object s3://{bucket}/{key}.{near} `holdfast ls s3://{bucket}` shows what is there."
