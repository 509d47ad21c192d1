"""What can be said with an object, and the headers that say it.

Rule: names of arguments are S3's own in lower case; text that HTTP's headers can't carry goes as
UTF-8, as S3 stores it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypedDict

from holdfast.auth.canonical import percent_encode
from holdfast.client import checksums
from holdfast.client.errors import InvalidRequest
from holdfast.client.models import ObjectInfo

METADATA = "x-amz-meta-"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_DATE = re.compile(
    r"[A-Za-z]+, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT"
).fullmatch
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # RFC 9110 section 5.6.2


class WriteOptions(TypedDict, total=False):
    """Of put_object, copy_object, move_object and put_many."""

    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    content_type: str
    cache_control: str
    content_disposition: str
    content_encoding: str
    content_language: str
    expires: datetime
    storage_class: str
    acl: str
    if_match: str
    #: "*": only if there is no object of that key
    if_none_match: str
    lock_mode: str
    retain_until: datetime
    legal_hold: bool
    #: any other header
    headers: Mapping[str, str]


class ReadConditions(TypedDict, total=False):
    """Of get_object, head_object and download."""

    if_match: str
    if_none_match: str
    if_modified_since: datetime
    if_unmodified_since: datetime


_PLAIN = {
    "content_type": "content-type",
    "cache_control": "cache-control",
    "content_disposition": "content-disposition",
    "content_encoding": "content-encoding",
    "content_language": "content-language",
    "storage_class": "x-amz-storage-class",
    "acl": "x-amz-acl",
    "lock_mode": "x-amz-object-lock-mode",
}
#: on the request that makes the object visible, not on the one that begins a multipart upload
CONDITION_HEADERS = frozenset(("if-match", "if-none-match"))
_KNOWN = WriteOptions.__optional_keys__


def header_text(value: str) -> str:
    """UTF-8, as the latin-1 text that goes on the wire."""
    return value if value.isascii() else value.encode("utf-8").decode("latin-1")


def from_header(value: str) -> str:
    """UTF-8 or RFC 2047, as servers give what HTTP can't carry."""
    if value.startswith("=?") and value.endswith("?="):
        from email.header import decode_header, make_header

        try:
            return str(make_header(decode_header(value)))
        except (LookupError, ValueError):
            return value
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


def http_date(moment: datetime) -> str:
    """RFC 9110 section 5.6.7; strftime's names would be those of the locale."""
    at = _aware(moment).astimezone(UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} GMT"


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidRequest(message="a time without a zone could mean several; give it one")
    return moment


def iso(moment: datetime) -> str:
    return _aware(moment).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tag_header(tags: Mapping[str, str]) -> str:
    return "&".join(
        f"{percent_encode(name.encode())}={percent_encode(value.encode())}"
        for name, value in tags.items()
    )


def quoted(etag: str) -> str:
    return etag if etag in ("", "*") or etag.endswith('"') else f'"{etag}"'


def write_headers(options: WriteOptions) -> dict[str, str]:
    """Raises TypeError for a name that is none."""
    for name in options:
        if name not in _KNOWN:
            raise TypeError(f"unknown option {name!r}; there are {', '.join(sorted(_KNOWN))}")
    headers: dict[str, str] = {}
    for option, name in _PLAIN.items():
        value = options.get(option)
        if value is not None:
            headers[name] = header_text(str(value))
    for name, value in (options.get("metadata") or {}).items():
        headers[METADATA + name.lower()] = header_text(value)
    if options.get("tags"):
        headers["x-amz-tagging"] = tag_header(options["tags"])
    if "expires" in options:
        headers["expires"] = http_date(options["expires"])
    if "retain_until" in options:
        headers["x-amz-object-lock-retain-until-date"] = iso(options["retain_until"])
    if "legal_hold" in options:
        headers["x-amz-object-lock-legal-hold"] = "ON" if options["legal_hold"] else "OFF"
    if options.get("if_match"):
        headers["if-match"] = quoted(options["if_match"])
    if options.get("if_none_match"):
        headers["if-none-match"] = quoted(options["if_none_match"])
    for name, value in (options.get("headers") or {}).items():
        headers[name.lower()] = header_text(value)
    for name in headers:
        if not _TOKEN(name):
            raise InvalidRequest(message=f"{name!r} is no name of a header")
    return headers


def read_headers(conditions: ReadConditions) -> dict[str, str]:
    headers = {}
    for option in conditions:
        if option not in ReadConditions.__optional_keys__:
            raise TypeError(f"unknown option {option!r}")
    if conditions.get("if_match"):
        headers["if-match"] = quoted(conditions["if_match"])
    if conditions.get("if_none_match"):
        headers["if-none-match"] = quoted(conditions["if_none_match"])
    if "if_modified_since" in conditions:
        headers["if-modified-since"] = http_date(conditions["if_modified_since"])
    if "if_unmodified_since" in conditions:
        headers["if-unmodified-since"] = http_date(conditions["if_unmodified_since"])
    return headers


def http_time(value: str) -> datetime | None:
    match = _HTTP_DATE(value)
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        return datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(hour),
            int(minute),
            int(second),
            tzinfo=UTC,
        )
    except ValueError:
        return None


def object_info(bucket: str, key: str, headers: Mapping[str, str]) -> ObjectInfo:
    """What the head of an answer to GET or HEAD says."""
    total = headers.get("content-range", "").rpartition("/")[2]
    size = total if total.isdigit() else headers.get("content-length", "")
    metadata, sums = {}, {}
    for name, value in headers.items():
        if name.startswith(METADATA):
            metadata[name[len(METADATA) :]] = from_header(value)
        elif name in checksums.HEADERS:
            sums[checksums.HEADERS[name]] = value
    version_id = headers.get("x-amz-version-id", "")
    parts, tags = headers.get("x-amz-mp-parts-count", ""), headers.get("x-amz-tagging-count", "")
    return ObjectInfo(
        bucket,
        key,
        int(size) if size.isdigit() else -1,
        headers.get("etag", "").strip('"'),
        version_id,
        http_time(headers.get("last-modified", "")),
        headers.get("content-type", ""),
        metadata,
        headers.get("x-amz-storage-class", "STANDARD"),
        sums,
        headers.get("x-amz-checksum-type", ""),
        int(parts) if parts.isdigit() else 0,
        int(tags) if tags.isdigit() else 0,
        headers,
    )
