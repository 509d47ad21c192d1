"""Conditional requests and ranges on reads: RFC 9110 sections 13 and 14, as S3 applies them."""

from __future__ import annotations

import re
from typing import NamedTuple

from holdfast.meta.records import ObjectVersion
from holdfast.s3.dates import http_date, parse_any_date, parse_http_date
from holdfast.s3.errors import S3Error

_RANGE = re.compile(r"bytes=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*\Z")


def bare_etag(text: str) -> str:
    """An entity tag without its quotes; clients of S3 send both."""
    text = text.strip()
    if len(text) >= 2 and text[0] == '"' and text[-1] == '"':
        return text[1:-1]
    return text


def wanted_etag(text: str) -> str:
    """The If-Match of a write or delete, without quotes. Raises InvalidArgument when it names
    nothing: to the store an empty one is no condition at all."""
    etag = bare_etag(text)
    if not etag:
        raise S3Error("InvalidArgument", "The entity tag is empty.", ArgumentName="If-Match")
    return etag


def unwanted_etag(text: str) -> str:
    """The If-None-Match of a write, without quotes: `*`, or (beyond AWS, which documents only that)
    an entity tag, which then must not be the current one's. Raises InvalidArgument."""
    etag = bare_etag(text)
    if not etag:
        raise S3Error("InvalidArgument", "The entity tag is empty.", ArgumentName="If-None-Match")
    return etag


def create_only(text: str) -> str:
    """The If-None-Match of a renaming. Raises NotImplemented for all but `*`, as S3 does."""
    if text.strip() != "*":
        raise S3Error("NotImplemented", Header="If-None-Match")
    return "*"


def _names(condition: str, etag: str) -> bool:
    """Whether a list of entity tags (or `*`) names this one."""
    if condition.strip() == "*":
        return True
    return any(bare_etag(one.strip().removeprefix("W/")) == etag for one in condition.split(","))


class ReadConditions(NamedTuple):
    """ "" is no condition."""

    if_match: str = ""
    if_none_match: str = ""
    if_modified_since: str = ""
    if_unmodified_since: str = ""


def check_read(
    conditions: ReadConditions, version: ObjectVersion, *, copy_source: bool = False
) -> None:
    """In the order of RFC 9110 13.2.2. Raises PreconditionFailed, or NotModified (304); of a copy's
    source every failed condition is PreconditionFailed."""
    modified = version.modified_ms // 1000
    parse = parse_any_date if copy_source else parse_http_date
    if conditions.if_match:
        if not _names(conditions.if_match, version.etag):
            raise S3Error("PreconditionFailed", Condition="If-Match")
    elif conditions.if_unmodified_since:
        since = parse(conditions.if_unmodified_since)
        if since is not None and modified > since:
            raise S3Error("PreconditionFailed", Condition="If-Unmodified-Since")
    if conditions.if_none_match:
        if _names(conditions.if_none_match, version.etag):
            raise _not_modified(version, copy_source, "If-None-Match")
    elif conditions.if_modified_since:
        since = parse(conditions.if_modified_since)
        if since is not None and modified <= since:
            raise _not_modified(version, copy_source, "If-Modified-Since")


def _not_modified(version: ObjectVersion, copy_source: bool, condition: str) -> S3Error:
    if copy_source:
        return S3Error("PreconditionFailed", Condition=condition)
    error = S3Error("NotModified")
    error.headers = [
        ("ETag", f'"{version.etag}"'),
        ("Last-Modified", http_date(version.modified_ms)),
    ]
    return error


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """(first byte, number of bytes), or None where the whole is to be sent: an unknown unit, a bad
    syntax or several ranges are ignored (RFC 9110 14.2; S3 has no multipart/byteranges).

    Raises InvalidRange (416, with the size).
    """
    match = _RANGE.match(text)
    if match is None:
        return None
    first_text, last_text = match.groups()
    if not first_text:
        if not last_text:
            return None
        suffix = min(int(last_text), size)
        if suffix == 0:
            raise _unsatisfiable(text, size)
        return size - suffix, suffix
    first = int(first_text)
    last = int(last_text) if last_text else size - 1
    if last_text and last < first:
        return None
    if first >= size:
        raise _unsatisfiable(text, size)
    return first, min(last, size - 1) - first + 1


def _unsatisfiable(text: str, size: int) -> S3Error:
    error = S3Error("InvalidRange", RangeRequested=text, ActualObjectSize=str(size))
    error.headers = [("Content-Range", f"bytes */{size}")]
    return error


def if_range_holds(condition: str, version: ObjectVersion) -> bool:
    """RFC 9110 13.1.5: an entity tag (strong) or the exact date."""
    text = condition.strip()
    if text.startswith('"'):
        return bare_etag(text) == version.etag
    since = parse_http_date(text)
    return since is not None and since == version.modified_ms // 1000
