"""Whole numbers in headers, queries and XML: digits only, and few of them."""

from __future__ import annotations

#: enough for any size in bytes that S3 knows, and of no cost to convert
DIGITS_MAX = 19


def whole_number(text: str) -> int | None:
    """None for everything but 1 to 19 ASCII digits (int() takes signs, blanks, other scripts)."""
    if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX:
        return int(text)
    return None
