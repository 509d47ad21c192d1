"""A reader of HTTP/1.1 responses for a load client: status, length and end, as cheaply as can be.

It only finds where a response ends and whether it is complete; the bytes of a body are dropped
unless asked for. What it does not understand is an error, never a success.
RFC 9112, sections 4, 6 and 7.
"""

from __future__ import annotations

import re

HEAD_BYTES_MAX = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)


class ResponseError(Exception):
    """The peer answered something that is no HTTP/1.1 response that fits the request."""


class ResponseReader:
    """Reads one response at a time: `feed` until it returns True, then `begin` for the next."""

    __slots__ = (
        "_chunk_left",
        "_gathered",
        "_keep",
        "_left",
        "_no_body",
        "body",
        "body_bytes",
        "close",
        "status",
    )

    def __init__(self, *, no_body: bool = False, keep: bool = False) -> None:
        """no_body: the requests are HEAD. keep: gather each body in `body`."""
        self._no_body = no_body
        self._keep = keep
        self.body = bytearray()
        self.begin()

    def begin(self) -> None:
        """Forget the last response."""
        self.status = 0
        self.body_bytes = 0
        self.close = False
        self._left = 0
        self._chunk_left: int | None = None  # None: not chunked
        self._gathered = b""
        if self._keep:
            self.body.clear()

    def feed(self, buffer: bytearray, count: int) -> bool:
        """Take the first `count` bytes of `buffer`; True once the response is complete.

        Raises ResponseError for anything malformed and for bytes behind the response's end.
        """
        if self.status:
            return self._feed_body(buffer, 0, count)
        if self._gathered:
            buffer = bytearray(self._gathered) + buffer[:count]
            count = len(buffer)
        end = buffer.find(b"\r\n\r\n", 0, count)
        if end < 0:
            if count > HEAD_BYTES_MAX:
                raise ResponseError(f"no end of the response's head within {HEAD_BYTES_MAX} bytes")
            self._gathered = bytes(buffer[:count])
            return False
        self._gathered = b""
        self._read_head(buffer, end + 2)
        return self._feed_body(buffer, end + 4, count)

    def _read_head(self, buffer: bytearray, end: int) -> None:
        if not buffer.startswith(b"HTTP/1.1 ") or not buffer[9:12].isdigit():
            raise ResponseError(f"not an HTTP/1.1 response: {bytes(buffer[: min(end, 40)])!r}")
        self.status = int(buffer[9:12])
        if self.status < 200:
            raise ResponseError(f"interim response {self.status}, though none was asked for")
        self.close = _CLOSE.search(buffer, 0, end) is not None
        if self._no_body or self.status in (204, 304):
            return
        if length := _LENGTH.search(buffer, 0, end):
            self._left = int(length[1])
        elif _CHUNKED.search(buffer, 0, end):
            self._chunk_left = 0
        else:
            raise ResponseError("a response with neither Content-Length nor chunked coding")

    def _feed_body(self, buffer: bytearray, start: int, count: int) -> bool:
        if self._chunk_left is not None:
            return self._feed_chunks(buffer[start:count])
        got = count - start
        if got > self._left:
            raise ResponseError(f"{got - self._left} bytes behind the end of the response")
        if self._keep:
            self.body += buffer[start:count]
        self.body_bytes += got
        self._left -= got
        return self._left == 0

    def _feed_chunks(self, data: bytearray) -> bool:
        """RFC 9112, 7.1, without trailers. `_chunk_left` counts the CRLF of a chunk too."""
        data = bytearray(self._gathered) + data
        at = 0
        while True:
            if self._chunk_left:
                taken = min(self._chunk_left, len(data) - at)
                # the last two of a chunk are its CRLF
                content = max(0, min(taken, self._chunk_left - 2))
                self.body_bytes += content
                if self._keep:
                    self.body += data[at : at + content]
                at += taken
                self._chunk_left -= taken
            end = data.find(b"\r\n", at)
            if self._chunk_left or end < 0:
                self._gathered = bytes(data[at:])
                if len(self._gathered) > HEAD_BYTES_MAX:
                    raise ResponseError("a chunk's size line without an end")
                return False
            try:
                size = int(bytes(data[at:end]).partition(b";")[0], 16)
            except ValueError:
                raise ResponseError(f"bad chunk size {bytes(data[at:end])!r}") from None
            if size == 0:
                if len(data) < end + 4:
                    self._gathered = bytes(data[at:])
                    return False
                if data[end + 2 :] != b"\r\n":
                    raise ResponseError("trailers, or bytes behind the end of the response")
                return True
            self._chunk_left = size + 2
            at = end + 2
