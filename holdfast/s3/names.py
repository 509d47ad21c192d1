"""Names: buckets, keys, version ids, upload ids, ETags, and what makes them valid.

Bucket rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache

from holdfast.s3.errors import S3Error
from holdfast.s3.numbers import whole_number

KEY_BYTES_MAX = 1024
PART_NUMBER_MAX = 10_000

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]\Z")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}\Z")
_RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def is_bucket_name(name: str) -> bool:
    """Whether a general purpose bucket may be created under this name."""
    return (
        _BUCKET.match(name) is not None
        and ".." not in name
        and _IPV4.match(name) is None
        and not name.startswith(_RESERVED_PREFIXES)
        and not name.endswith(_RESERVED_SUFFIXES)
    )


def check_key(key: bytes) -> None:
    """Raises KeyTooLongError or InvalidURI (S3 keys are UTF-8)."""
    if len(key) > KEY_BYTES_MAX:
        raise S3Error("KeyTooLongError", MaxSizeAllowed=str(KEY_BYTES_MAX), Size=str(len(key)))
    if not key.isascii():
        try:
            key.decode("utf-8")
        except UnicodeDecodeError:
            raise S3Error("InvalidURI", "Object keys must be valid UTF-8.") from None


def _b32(data: bytes) -> str:
    return base64.b32hexencode(data).decode("ascii").rstrip("=").lower()


def _unb32(text: str, size: int) -> bytes | None:
    """None when `text` is not what _b32 makes of `size` bytes."""
    padded = text.upper() + "=" * (-len(text) % 8)
    try:
        data = base64.b32hexdecode(padded)
    except ValueError:
        return None
    return data if len(data) == size and _b32(data) == text else None


def encode_upload_id(upload_id: int, token: bytes) -> str:
    """16 bytes, base32hex: sorts by the time of initiation, can't be guessed."""
    return _b32(upload_id.to_bytes(8, "big") + token)


def decode_upload_id(text: str) -> tuple[int, bytes] | None:
    data = _unb32(text, 16)
    return None if data is None else (int.from_bytes(data[:8], "big"), data[8:])


def part_number(text: str) -> int:
    """Raises InvalidArgument."""
    number = whole_number(text)
    if number is None or not 1 <= number <= PART_NUMBER_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=text,
        )
    return number


# Two digits of base32hex at once: a listing of versions has an id on each row.
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]


@lru_cache(maxsize=4096)
def _b32_high(bits: int) -> str:
    """The first 9 digits of 13: the same for all versions of half a second."""
    pairs = [_PAIRS[bits >> shift & 1023] for shift in (30, 20, 10, 0)]
    return _DIGITS[bits >> 40] + "".join(pairs)


def encode_version_id(seq: int, is_null: bool) -> str:
    """8 bytes, base32hex: sorts by time, URL-safe; `null` for the null version, as in S3."""
    if is_null:
        return "null"
    bits = seq << 1  # 13 digits have 65 bits
    return f"{_b32_high(bits >> 20)}{_PAIRS[bits >> 10 & 1023]}{_PAIRS[bits & 1023]}"


def version_seq(text: str) -> int:
    """What the commands call a version: 0 for "" (the current one), -1 for `null`, else its seq.
    Raises InvalidArgument."""
    if not text:
        return 0
    if text == "null":
        return -1
    data = _unb32(text, 8)
    seq = 0 if data is None else int.from_bytes(data, "big")
    if not 0 < seq < 1 << 63:
        raise S3Error(
            "InvalidArgument",
            "Invalid version id specified",
            ArgumentName="versionId",
            ArgumentValue=text,
        )
    return seq


def encode_token(data: bytes) -> str:
    """A continuation token: opaque to the client, URL-safe."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def decode_token(text: str) -> bytes | None:
    try:
        return base64.b64decode(
            text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
        )
    except ValueError:
        return None
