"""Object lock's rules on the way in: headers, retention periods, a bucket's default retention.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
What may be deleted or shortened is decided with the commit (meta); here is only what a request may
say. A year is 365 days.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from holdfast.meta.records import Bucket
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.documents import children, number, text
from holdfast.s3.errors import S3Error
from holdfast.s3.xml import element

#: the kind of the document that holds a bucket's ObjectLockConfiguration
KIND = "object-lock"
MODES = ("GOVERNANCE", "COMPLIANCE")
RETENTION_DAYS_MAX = 36_500
RETENTION_YEARS_MAX = 100
_DAY_MS = 24 * 3600 * 1000
#: what `datetime.fromisoformat` takes too, but is no moment
_DATE_ONLY = re.compile(r"[\d-]*\Z")


class Lock(NamedTuple):
    """What an object is made with. mode "": no retention."""

    mode: str = ""
    until_ms: int = 0
    legal_hold: bool = False


def lock_mode(value: str) -> str:
    """x-amz-object-lock-mode. Raises InvalidArgument."""
    if value not in MODES:
        raise S3Error(
            "InvalidArgument",
            "Unknown wormMode directive.",
            ArgumentName="x-amz-object-lock-mode",
            ArgumentValue=value,
        )
    return value


def parse_moment_ms(value: str) -> int | None:
    """Milliseconds of an ISO 8601 moment, UTC unless it says otherwise; None when it is none."""
    value = value.strip()
    try:
        if _DATE_ONLY.match(value):
            return None
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def retain_until(value: str) -> int:
    """x-amz-object-lock-retain-until-date, in milliseconds. Raises InvalidArgument."""
    moment = parse_moment_ms(value)
    if moment is None:
        raise S3Error(
            "InvalidArgument",
            "The retain until date must be provided in ISO 8601 format",
            ArgumentName="x-amz-object-lock-retain-until-date",
            ArgumentValue=value,
        )
    return moment


def legal_hold(value: str) -> bool:
    """x-amz-object-lock-legal-hold. Raises InvalidArgument."""
    if value not in ("ON", "OFF"):
        raise S3Error(
            "InvalidArgument",
            "Legal Hold must be either of 'ON' or 'OFF'",
            ArgumentName="x-amz-object-lock-legal-hold",
            ArgumentValue=value,
        )
    return value == "ON"


def bypass(value: str) -> bool:
    """x-amz-bypass-governance-retention. Raises InvalidArgument."""
    if value not in ("true", "false"):
        raise S3Error(
            "InvalidArgument",
            "The bypass of governance retention is true or false.",
            ArgumentName="x-amz-bypass-governance-retention",
            ArgumentValue=value,
        )
    return value == "true"


def check_until(until_ms: int, now_ms: int) -> None:
    """Raises InvalidArgument."""
    if until_ms <= now_ms:
        raise S3Error("InvalidArgument", "The retain until date must be in the future!")


async def lock_of(call: Call, bucket: Bucket, mode: str, until_ms: int, hold: bool | None) -> Lock:
    """What a new object gets: what the request asks for, else the bucket's default retention.

    Raises InvalidArgument, InvalidRequest (the bucket has no object lock).
    """
    if bool(mode) != bool(until_ms):
        raise S3Error(
            "InvalidArgument",
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
        )
    if not bucket.object_lock:
        if mode or hold is not None:
            raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
        return Lock()
    now_ms = int(call.services.now() * 1000)
    if mode:
        check_until(until_ms, now_ms)
        return Lock(mode, until_ms, bool(hold))
    configuration = await call.services.configurations.of(bucket)
    default = configuration.parsed(KIND, parse_configuration)
    if default is None:
        return Lock(legal_hold=bool(hold))
    return Lock(default.mode, now_ms + default.days * _DAY_MS, bool(hold))


class DefaultRetention(NamedTuple):
    mode: str
    days: int
    years: int  # 0 when it was given in days


def parse_configuration(body: bytes) -> DefaultRetention | None:
    """An ObjectLockConfiguration; None when it has no rule.

    Raises MalformedXML, InvalidRetentionPeriod.
    """
    root = children(
        xml.parse(body, "ObjectLockConfiguration"), frozenset(("ObjectLockEnabled", "Rule"))
    )
    if text(root, "ObjectLockEnabled") != "Enabled":
        raise S3Error("MalformedXML")
    if not root["Rule"]:
        return None
    rule = children(root["Rule"][0], frozenset(("DefaultRetention",)))
    if not rule["DefaultRetention"]:
        raise S3Error("MalformedXML")
    retention = children(rule["DefaultRetention"][0], frozenset(("Mode", "Days", "Years")))
    mode = text(retention, "Mode")
    if mode not in MODES or bool(retention["Days"]) == bool(retention["Years"]):
        raise S3Error("MalformedXML")
    unit = "Days" if retention["Days"] else "Years"
    if (text(retention, unit) or "").startswith("-"):
        raise S3Error("InvalidRetentionPeriod")
    count = number(retention, unit) or 0
    if not count:
        raise S3Error("InvalidRetentionPeriod")
    if count > (RETENTION_DAYS_MAX if unit == "Days" else RETENTION_YEARS_MAX):
        raise S3Error("InvalidRetentionPeriod", "Default retention period too large.")
    if unit == "Days":
        return DefaultRetention(mode, count, 0)
    return DefaultRetention(mode, 365 * count, count)


def write_configuration(default: DefaultRetention | None) -> bytes:
    rule = ""
    if default is not None:
        period = (
            element("Years", str(default.years))
            if default.years
            else element("Days", str(default.days))
        )
        rule = (
            f"<Rule><DefaultRetention>{element('Mode', default.mode)}{period}"
            "</DefaultRetention></Rule>"
        )
    return xml.document(
        "ObjectLockConfiguration", f"<ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}"
    )
