"""Response heads: status lines, fields, the cached Date.

Rule: nothing that a handler puts into a field can end the line: a CR, LF or NUL anywhere in the
joined head is a fault of ours (BadHeader, answered 500), never sent.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class BadHeader(ValueError):
    """A response field holds what no field may hold: a fault of the handler."""


def has_no_body(status: int) -> bool:
    """Whether a response with this status never has content or a length (RFC 9110 6.4.1)."""
    return status < 200 or status in (204, 304)


def reason_phrase(status: int) -> str:
    """`Not Found` for 404; empty for a status that has no name."""
    return HTTPStatus(status).phrase if status in _STATUS_LINES else ""


class DateCache:
    """The Date field's line, made anew once a second (RFC 9110 6.6.1)."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._line = ""

    def line(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = f"Date: {formatdate(second, usegmt=True)}\r\n"
        return self._line


def render_head(status: int, headers: list[tuple[str, str]], own_lines: str) -> bytes:
    """The whole head. `own_lines` are the connection's own fields, each with its CRLF.

    Raises BadHeader.
    """
    line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
    count = len(headers)
    if fields.count("\n") != count or fields.count("\r") != count or "\0" in fields:
        raise BadHeader("CR, LF or NUL in a response header")
    try:
        return f"{line}{own_lines}{fields}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise BadHeader("a response header is not latin-1") from None
