"""Names of places: `s3://bucket/key`, local paths and `-`; patterns and filters over them.

Rule: text becomes a place once, here. In a pattern `*` and `?` stay within one name between slashes,
`**` crosses them, and `[*]` is a star itself. A filter without a slash is held against every name on
the way to a file, one with a slash against the whole relative path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

SCHEME = "s3://"
_SPECIAL = re.compile(r"[*?\[]")


class Remote(NamedTuple):
    """`key` "" is the bucket, `bucket` "" all of them."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}" if self.bucket else SCHEME

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def is_directory(self) -> bool:
        """By its name alone."""
        return not self.key or self.key.endswith("/")

    def directory(self) -> Remote:
        return self if self.is_directory else Remote(self.bucket, self.key + "/")


class Local(NamedTuple):
    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def is_stream(self) -> bool:
        return self.path == "-"


Place = Remote | Local


if TYPE_CHECKING:
    _Type = click.ParamType[Place]
else:  # older clicks have no parameter there
    _Type = click.ParamType


class PlaceType(_Type):
    """An argument that is a place."""

    name = "place"

    def convert(self, value: object, param: click.Parameter | None, ctx: object) -> Place:
        if isinstance(value, (Remote, Local)):
            return value
        try:
            return parse(str(value))
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        if incomplete.startswith(SCHEME):
            from holdfast.cli.objects.complete import candidates

            return [CompletionItem(text) for text in candidates(incomplete)]
        return [CompletionItem(incomplete, type="file")]


PLACE = PlaceType()


def parse(text: str) -> Place:
    """Raises ValueError."""
    if text[:5].lower() == SCHEME:
        bucket, _, key = text[5:].partition("/")
        if not bucket and key:
            raise ValueError(f"{text}: the bucket is missing, as in s3://bucket/key")
        return Remote(bucket, key)
    if re.match(r"(?i)s3:", text):
        raise ValueError(f"{text}: objects are named s3://bucket/key; did you mean {meant(text)}?")
    if re.match(r"(?i)https?://", text):
        raise ValueError(
            f"{text}: objects are named s3://bucket/key, and the server by --endpoint URL"
        )
    if not text:
        raise ValueError("an empty path; give s3://bucket/key, a local path, or -")
    return Local(text)


def meant(path: str) -> str:
    """How a bucket or an object is named, of a path that was perhaps meant as one."""
    return SCHEME + re.sub(r"(?i)^s3:*/+", "", path).removeprefix("./").lstrip("/")


def remote(place: Place, *, key: bool = True) -> Remote:
    """Raises click.UsageError for what is not an object's (`key`) or a bucket's name."""
    if isinstance(place, Local) and (os.path.exists(place.path) or place.is_stream):
        raise click.UsageError(
            f"{place} is a local path; this command takes s3://bucket{'/key' if key else ''} only"
        )
    if isinstance(place, Local):
        raise click.UsageError(f"{place} is a local path; did you mean {meant(place.path)}?")
    if not place.bucket or (key and not place.key):
        raise click.UsageError(f"{place}: give s3://bucket{'/key' if key else ''}")
    return place


def bucket_only(place: Place) -> str:
    found = remote(place, key=False)
    if found.key:
        raise click.UsageError(f"{found}: give a bucket alone, s3://{found.bucket}")
    return found.bucket


def has_pattern(text: str) -> bool:
    return _SPECIAL.search(text) is not None


def static_prefix(pattern: str) -> str:
    """What every match begins with."""
    found = _SPECIAL.search(pattern)
    return pattern[: found.start()] if found else pattern


def matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(f"(?s:{_expression(pattern)})").fullmatch


def _expression(pattern: str) -> str:
    out = []
    at = 0
    while at < len(pattern):
        here = pattern[at]
        at += 1
        if here == "*":
            if pattern[at : at + 2] == "*/":
                out.append("(?:.*/)?")
                at += 2
            elif pattern[at : at + 1] == "*":
                out.append(".*")
                at += 1
            else:
                out.append("[^/]*")
        elif here == "?":
            out.append("[^/]")
        elif here == "[" and (end := pattern.find("]", at + 1)) > 0:
            inner = pattern[at:end].replace("\\", "\\\\").replace("[", "\\[")
            inner = "^" + inner[1:] if inner[0] == "!" else inner.replace("^", "\\^")
            out.append(f"[{inner}]")
            at = end + 1
        else:
            out.append(re.escape(here))
    return "".join(out)


class Filters:
    """--include and --exclude."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = [_filter(pattern) for pattern in include]
        self._exclude = [_filter(pattern) for pattern in exclude]

    def __call__(self, relative: str) -> bool:
        if self._include and not any(matches(relative) for matches in self._include):
            return False
        return not any(matches(relative) for matches in self._exclude)

    def prunes(self, relative: str) -> bool:
        """Whether nothing below that directory can pass."""
        return any(matches(relative) for matches in self._exclude)


def _filter(pattern: str) -> Callable[[str], bool]:
    pattern = pattern.removesuffix("/")
    if "/" in pattern:
        whole = re.compile(f"(?s:{_expression(pattern.removeprefix('/'))})(?:/.*)?", re.DOTALL)
        return lambda relative: whole.fullmatch(relative) is not None
    name = matcher(pattern)
    return lambda relative: any(name(part) for part in relative.split("/"))


def safe_join(root: str, relative: str) -> str:
    """The local path of a key's rest. Raises ValueError for one that no file can have, or that would
    lie outside of `root`."""
    parts = relative.split("/")
    if "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{relative!r} can't be a local file's name")
    return os.path.join(root, *parts)
