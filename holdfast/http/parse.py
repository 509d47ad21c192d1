"""The request head: RFC 9112 sections 2 to 6, taken strictly. What is ambiguous is refused.

Rule: a parser in front of this one (a proxy) and this one must never disagree on where a request
ends, so nothing is repaired: a line ends in CRLF, a field is `token:value`, a length is digits.
Strategy: one pass of `bytes.translate` deletes every byte that may stand in a line; what is left
must be exactly the line ends. So a NUL, a control character, a bare CR or a bare LF anywhere fails
one comparison, and the lines can then be split without a care.
Not httptools: with the ten headers of an SDK its callbacks alone take twice the time of all this,
and it lets through what `tests/http/test_parse.py` lists, so this check would still be needed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from holdfast.http.limits import Limits

#: `Head.length` of a chunked body
CHUNKED = -1

# field-vchar, SP, HTAB and obs-text: RFC 9110 5.5
_LINE_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([!-\"$-~]+) HTTP/([0-9]\.[0-9])")
_FIELD_NAME = re.compile(_TOKEN)
# uri-host [":" port], RFC 9110 7.2; no userinfo, and "," would let a joined repetition through
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+;=]*)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?]+)(.*)")
_BARE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?=[^\n])|(?<!\r)\n")

_METHOD_BYTES_MAX = 32
_LENGTH_DIGITS_MAX = 18  # below 2**63
_KNOWN_NAMES_MAX = 1024
_KNOWN_HOSTS_MAX = 1024
_KNOWN_BYTES_MAX = 128

#: fields whose repetition would let two readers see two different requests
SINGLETONS = frozenset(
    {
        "authorization",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "expect",
        "host",
        "range",
        "transfer-encoding",
        "x-amz-content-sha256",
        "x-amz-date",
    }
)

# names that were seen to be tokens -> lower case; bounded, so no client can make it grow
_known_names: dict[str, str] = {}
# the same for the values of Host
_known_hosts: set[str] = set()


class ProtocolError(Exception):
    """The client broke the protocol, or asked for more than a limit. Answered, then closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Head(NamedTuple):
    """A valid head. `length` in bytes, CHUNKED for the chunked coding, 0 when there is no body."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    length: int
    http10: bool
    keep_alive: bool
    expects_continue: bool


def _known_name(name: str) -> str:
    known = _known_names.get(name)
    if known is None:
        if not _FIELD_NAME.fullmatch(name):
            raise ProtocolError(400, "invalid header field name")
        known = name.lower()
        if len(_known_names) < _KNOWN_NAMES_MAX and len(name) <= _KNOWN_BYTES_MAX:
            _known_names[name] = known
    return known


def parse_fields(lines: list[str], fields_max: int) -> dict[str, str]:
    """Header or trailer lines -> lower-case name: value. Raises ProtocolError."""
    if len(lines) > fields_max:
        raise ProtocolError(431, "too many header fields")
    headers: dict[str, str] = {}
    known = _known_names.get
    for line in lines:
        try:
            name, value = line.split(":", 1)
        except ValueError:
            raise ProtocolError(400, "header line without a colon") from None
        name = known(name) or _known_name(name)
        value = value.strip(" \t")
        if name in headers:
            if name in SINGLETONS:
                raise ProtocolError(400, f"repeated header field {name}")
            value = f"{headers[name]},{value}"
        headers[name] = value
    return headers


def has_bad_bytes(data: bytes | bytearray, start: int = 0) -> bool:
    """Whether an unfinished head already holds what no head may hold; looked at from `start` on."""
    return _BARE.search(data, start) is not None


def too_long(data: bytes | bytearray, limits: Limits) -> ProtocolError | None:
    """What to say of a head without an end, once it is longer than a limit."""
    line_end = data.find(b"\r\n")
    if line_end < 0 and len(data) > limits.target_bytes_max + _METHOD_BYTES_MAX:
        return ProtocolError(414, "request target too long")
    if len(data) > limits.head_bytes_max:
        return ProtocolError(431, "header fields too large")
    return None


def _lines(head: bytes) -> list[str]:
    lines = head.decode("latin-1").split("\r\n")
    if len(head.translate(None, _LINE_BYTES)) != 2 * (len(lines) - 1):
        raise ProtocolError(400, "control character or bare line end in the head")
    if not lines[0]:
        # RFC 9112 2.2: one empty line before the request line is tolerated
        del lines[0]
    if not lines:
        raise ProtocolError(400, "empty head")
    return lines


def _request_line(line: str, limits: Limits) -> tuple[str, str, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise ProtocolError(400, "malformed request line")
    method, target, version = match.groups()
    if version not in ("1.1", "1.0"):
        raise ProtocolError(505, "HTTP version not supported")
    if len(method) > _METHOD_BYTES_MAX:
        raise ProtocolError(400, "method too long")
    if len(target) > limits.target_bytes_max:
        raise ProtocolError(414, "request target too long")
    return method, target, version


def _absolute(target: str, headers: dict[str, str]) -> str:
    """Absolute-form: its authority replaces Host, RFC 9112 3.2.2. Other forms are not served."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise ProtocolError(400, "unsupported form of the request target")
    authority, rest = match.groups()
    headers["host"] = authority
    return rest if rest.startswith("/") else f"/{rest}"


def _content_length(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _LENGTH_DIGITS_MAX:
        raise ProtocolError(400, "invalid Content-Length")
    return int(text)


def _framing(headers: dict[str, str], http10: bool) -> int:
    """The body's length, RFC 9112 6.3; anything ambiguous is refused."""
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is None:
        return 0 if length is None else _content_length(length)
    if length is not None:
        raise ProtocolError(400, "both Content-Length and Transfer-Encoding")
    if http10 or coding.lower() != "chunked":
        raise ProtocolError(400, "unsupported Transfer-Encoding")
    return CHUNKED


def _check_host(host: str) -> None:
    if not _HOST.fullmatch(host):
        raise ProtocolError(400, "invalid Host")
    if len(_known_hosts) < _KNOWN_HOSTS_MAX and len(host) <= _KNOWN_BYTES_MAX:
        _known_hosts.add(host)


def _keep_alive(headers: dict[str, str], http10: bool) -> bool:
    value = headers.get("connection")
    if value is None:
        return not http10
    options = [option.strip(" \t") for option in value.lower().split(",")]
    return "close" not in options and (not http10 or "keep-alive" in options)


def parse_head(head: bytes, limits: Limits) -> Head:
    """Parse a head without its final empty line. Raises ProtocolError: 400, 414, 431, 505."""
    if len(head) > limits.head_bytes_max:
        raise too_long(head, limits) or ProtocolError(431, "header fields too large")
    lines = _lines(head)
    method, target, version = _request_line(lines[0], limits)
    del lines[0]
    headers = parse_fields(lines, limits.header_fields_max)
    http10 = version == "1.0"
    if "host" not in headers and not http10:
        raise ProtocolError(400, "missing Host")
    if target[0] != "/":
        target = _absolute(target, headers)
    if headers.get("host", "") not in _known_hosts:
        _check_host(headers.get("host", ""))
    length = _framing(headers, http10)
    # any other expectation may be ignored (RFC 9110 10.1.1), and is, as by S3
    expects_continue = headers.get("expect", "").lower() == "100-continue" and not http10
    path, _, query = target.partition("?")
    keep_alive = _keep_alive(headers, http10)
    return Head(method, path, query, headers, length, http10, keep_alive, expects_continue)
