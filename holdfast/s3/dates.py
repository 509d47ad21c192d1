"""The three date formats of S3: RFC 9110 (headers), ISO 8601 (XML and x-amz headers)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache


@lru_cache(maxsize=4096)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


# A listing has a date on each row: often the same few seconds, or a thousand of them on a few days.
_SECONDS_A_DAY = 86_400
_SIXTY = [f"{number:02}" for number in range(60)]


@lru_cache(maxsize=4096)
def _iso_day(days: int) -> str:
    return time.strftime("%Y-%m-%dT", time.gmtime(days * _SECONDS_A_DAY))


@lru_cache(maxsize=4096)
def iso_second(seconds: int) -> str:
    """2026-01-31T12:00:00, of whole seconds."""
    days, second = divmod(seconds, _SECONDS_A_DAY)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return f"{_iso_day(days)}{_SIXTY[hour]}:{_SIXTY[minute]}:{_SIXTY[second]}"


def http_date(ms: int) -> str:
    """IMF-fixdate of RFC 9110 5.6.7; whole seconds, as S3 keeps them."""
    return _http_date(ms // 1000)


def iso_date(ms: int) -> str:
    """2026-01-31T12:00:00.000Z; whole seconds, so that it agrees with Last-Modified."""
    return f"{iso_second(ms // 1000)}.000Z"


def iso_moment(ms: int) -> str:
    """The same to the millisecond: until when something is retained."""
    return f"{iso_second(ms // 1000)}.{ms % 1000:03d}Z"


def parse_http_date(text: str) -> int | None:
    """Seconds since the epoch, or None: conditions with an invalid date are ignored."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


def parse_any_date(text: str) -> int | None:
    """Seconds since the epoch out of an HTTP or ISO 8601 date."""
    seconds = parse_http_date(text)
    if seconds is not None:
        return seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())
