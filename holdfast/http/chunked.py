"""The chunked transfer coding, RFC 9112 section 7.1, decoded without being lenient.

Rule: a size is hexadecimal digits only, an extension is printable and bounded, each line ends in
CRLF, trailers are bounded, checked like header fields, and dropped. Anything else is BadBody.
"""

from __future__ import annotations

import enum
import re

from holdfast.http.limits import Limits
from holdfast.http.message import BadBody
from holdfast.http.parse import ProtocolError, has_bad_bytes, parse_fields

# no white space before ";" (RFC 9112 7.1.1 allows it only as "bad"), 15 digits stay below 2**60
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e]*)?")


class _At(enum.Enum):
    SIZE = 1
    DATA = 2
    DATA_END = 3
    TRAILER = 4
    END = 5


class ChunkedDecoder:
    """Finds the data in the bytes of a chunked body. Holds the undecoded bytes in `raw`.

    `run` is how many bytes of data come next without any framing; while `raw` is empty the socket
    may write them straight to where they are wanted (then `skip` tells of it).
    """

    __slots__ = ("_at", "_limits", "_trailer_bytes", "_trailers", "raw", "run")

    def __init__(self, limits: Limits) -> None:
        self.raw = bytearray()
        self.run = 0
        self._at = _At.SIZE
        self._limits = limits
        self._trailer_bytes = 0
        self._trailers: list[str] = []

    @property
    def ended(self) -> bool:
        """Whether the last chunk and its trailers are behind us; `raw` then belongs to others."""
        return self._at is _At.END

    def skip(self, count: int) -> None:
        """`count` bytes of the run were taken by another way than `decode`."""
        self.run -= count
        if not self.run:
            self._at = _At.DATA_END

    def decode(self, view: memoryview) -> int:
        """Move data out of `raw` into `view`; returns the number of bytes. Raises BadBody.

        Stops when `view` is full, `raw` holds nothing complete any more, or the body has ended.
        With a full view it still goes on over framing, so that the end is seen with the last byte.
        """
        raw = self.raw
        start = filled = 0
        try:
            while self._at is not _At.END:
                if self._at is _At.DATA:
                    count = min(self.run, len(view) - filled, len(raw) - start)
                    if not count:
                        break
                    with memoryview(raw) as source:
                        view[filled : filled + count] = source[start : start + count]
                    filled += count
                    start += count
                    self.skip(count)
                else:
                    next_start = self._framing(start)
                    if next_start is None:
                        break
                    start = next_start
        finally:
            del raw[:start]
        return filled

    def _framing(self, start: int) -> int | None:
        """Read one line of framing at `start`; where the next begins, None when it is not there."""
        raw = self.raw
        if self._at is _At.DATA_END:
            if len(raw) - start < 2:
                if len(raw) > start and raw[start] != 0x0D:
                    raise BadBody("chunk data not followed by CRLF")
                return None
            if raw[start : start + 2] != b"\r\n":
                raise BadBody("chunk data not followed by CRLF")
            self._at = _At.SIZE
            return start + 2
        size = self._at is _At.SIZE
        bound = self._limits.chunk_line_bytes_max if size else self._limits.trailer_bytes_max
        end = raw.find(b"\r\n", start, start + bound + 2)
        if end < 0:
            if len(raw) - start > bound:
                raise BadBody("chunk line or trailer too long")
            if has_bad_bytes(raw, start):
                raise BadBody("control character or bare line end in the chunk framing")
            return None
        line = bytes(raw[start:end])
        if size:
            self._size_line(line)
        else:
            self._trailer_line(line)
        return end + 2

    def _size_line(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise BadBody("invalid chunk size")
        self.run = int(match[1], 16)
        self._at = _At.DATA if self.run else _At.TRAILER

    def _trailer_line(self, line: bytes) -> None:
        if line:
            self._trailer_bytes += len(line) + 2
            if self._trailer_bytes > self._limits.trailer_bytes_max or has_bad_bytes(line):
                raise BadBody("invalid trailer")
            self._trailers.append(line.decode("latin-1"))
            return
        try:
            parse_fields(self._trailers, self._limits.header_fields_max)
        except ProtocolError as error:
            raise BadBody(f"invalid trailer: {error.reason}") from None
        self._at = _At.END
