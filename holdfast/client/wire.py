"""HTTP/1.1 from the client's side, over anything that sends and receives bytes.

Rule: coroutines that only await the connection they were given. On a blocking connection they run to
their end in one step, without a loop (see `blocking`); on an event loop they suspend (see `looped`).
Bodies are read into the caller's buffers; nothing is kept but the head and what came with it.
Framing: RFC 9112 section 6. A length that is unclear ends the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from holdfast.client.address import Buffer

HEAD_BYTES_MAX = 64 * 1024
#: pieces in which a body is sent: progress, and a time-out for each
SEND_BYTES = 1024 * 1024
#: a body at most this large goes with its head in one send
JOIN_BYTES_MAX = 64 * 1024
#: what of an unread body is read for the sake of keeping the connection
DRAIN_BYTES_MAX = 64 * 1024


class HttpError(Exception):
    """The connection is of no more use: cut, timed out, or not HTTP. `sent`: whether any byte of the
    request may have been seen."""

    def __init__(self, message: str, *, sent: bool = True, fresh: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
        #: False: the connection had waited idle and was found closed before any byte came back
        self.fresh = fresh


class Stream(Protocol):
    """A connected socket. Both raise OSError (TimeoutError for a time-out)."""

    async def send(self, data: Buffer) -> None: ...

    async def recv_into(self, view: memoryview) -> int:
        """At least one byte, or 0 at the end."""
        ...

    async def wait_readable(self, seconds: float) -> bool:
        """Whether there is something to read, or the end, within the time."""
        ...

    def is_idle(self) -> bool:
        """Open, and nothing has arrived."""
        ...

    def close(self) -> None: ...


class Http:
    """One connection, one request at a time."""

    __slots__ = ("_buffer", "_end", "_pos", "_view", "stream", "used")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.used = False
        self._buffer = bytearray(HEAD_BYTES_MAX)
        self._view = memoryview(self._buffer)
        self._pos = self._end = 0

    async def request(
        self,
        method: str,
        head: bytes,
        body: tuple[Buffer, ...] = (),
        *,
        on_sent: Callable[[int], None] | None = None,
        expect_seconds: float = 0.0,
    ) -> Answer:
        """Send, and read the answer's head. `expect_seconds` > 0: with `Expect: 100-continue`, and
        wait that long before sending the body anyway. Raises HttpError."""
        again, self.used = self.used, True
        try:
            early = await self._send(head, body, on_sent, expect_seconds)
            answer = early or await self._answer_head()
        except (OSError, EOFError, ValueError) as error:
            self.stream.close()
            reason = str(error) or type(error).__name__
            untouched = again and self._end == self._pos
            raise HttpError(reason, fresh=not untouched) from error
        except BaseException:
            self.stream.close()
            raise
        return Answer(self, method, *answer)

    async def _send(
        self,
        head: bytes,
        body: tuple[Buffer, ...],
        on_sent: Callable[[int], None] | None,
        expect_seconds: float,
    ) -> tuple[int, dict[str, str]] | None:
        """The head of an answer that came instead of 100 Continue."""
        total = sum([len(piece) for piece in body])
        if total <= JOIN_BYTES_MAX and not expect_seconds:
            await self.stream.send(b"".join((head, *body)) if body else head)
            if on_sent is not None and total:
                on_sent(total)
            return None
        if expect_seconds:
            head = head[:-2] + b"expect: 100-continue\r\n\r\n"
        await self.stream.send(head)
        if expect_seconds and await self.stream.wait_readable(expect_seconds):
            answer = await self._answer_head(skip_continue=False)
            if answer[0] != 100:
                answer[1]["connection"] = "close"  # the body is missing: no next request here
                return answer
        for piece in body:
            view = memoryview(piece)
            for start in range(0, len(view), SEND_BYTES):
                part = view[start : start + SEND_BYTES]
                try:
                    await self.stream.send(part)
                except OSError:
                    return await self._early_answer()
                if on_sent is not None:
                    on_sent(len(part))
        return None

    async def _early_answer(self) -> tuple[int, dict[str, str]]:
        """A refusal that was sent before the body had ended, if it can still be read."""
        status, headers = await self._answer_head()
        headers["connection"] = "close"
        return status, headers

    async def _answer_head(self, skip_continue: bool = True) -> tuple[int, dict[str, str]]:
        while True:
            at = self._buffer.find(b"\r\n\r\n", self._pos, self._end)
            if at < 0:
                await self._more()
                continue
            status, headers = parse_head(bytes(self._view[self._pos : at]))
            self._pos = at + 4
            if status >= 200 or not skip_continue:
                return status, headers

    async def _more(self) -> None:
        if self._pos:
            rest = bytes(self._view[self._pos : self._end])
            self._buffer[: len(rest)] = rest
            self._pos, self._end = 0, len(rest)
        if self._end == len(self._buffer):
            raise ValueError("a line or head of the answer is too long")
        count = await self.stream.recv_into(self._view[self._end :])
        if not count:
            raise EOFError("the connection was closed")
        self._end += count

    async def read_line(self) -> bytes:
        while (at := self._buffer.find(b"\r\n", self._pos, self._end)) < 0:
            await self._more()
        line = bytes(self._view[self._pos : at])
        self._pos = at + 2
        return line

    async def read_some(self, view: memoryview) -> int:
        """Out of what is buffered, else from the connection, straight into `view`."""
        have = self._end - self._pos
        if have:
            count = min(have, len(view))
            view[:count] = self._view[self._pos : self._pos + count]
            self._pos += count
            return count
        return await self.stream.recv_into(view)

    def is_reusable(self) -> bool:
        return self._pos == self._end and self.stream.is_idle()

    def close(self) -> None:
        self.stream.close()


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """(status, headers by lower-case name). Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    if not (first.startswith("HTTP/1.") and first[8:9] == " " and first[9:12].isdigit()):
        raise ValueError("the answer is not HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("the answer has a header without a colon")
        name, value = name.lower(), value.strip(" \t")
        if name in headers:
            if name == "content-length" and headers[name] != value:
                raise ValueError("the answer has two lengths")
            if name != "content-length":
                value = f"{headers[name]}, {value}"
        headers[name] = value
    if first[7:8] == "0" and headers.get("connection", "").lower() != "keep-alive":
        headers["connection"] = "close"
    return int(first[9:12]), headers


_UNTIL_CLOSE = -1
_CHUNKED = -2


class Answer:
    """A head that was read, and a body that can be. `done` is called once, with the connection,
    when the body has ended and the connection can serve again."""

    __slots__ = ("_chunk", "_http", "_left", "done", "headers", "status")

    def __init__(self, http: Http, method: str, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers: Mapping[str, str] = headers
        self.done: Callable[[Http], None] | None = None
        self._http: Http | None = http
        self._chunk = 0
        self._left = _framing(method, status, headers)

    def begin(self, done: Callable[[Http], None]) -> None:
        """Say who gets the connection; at once, if there is no body."""
        self.done = done
        if self._left == 0:
            self._release()

    async def readinto(self, view: memoryview) -> int:
        """0 at the end only. Raises HttpError when the connection ends before the body does."""
        http = self._http
        if http is None or not view:
            return 0
        try:
            if self._left == _CHUNKED:
                return await self._read_chunked(http, view)
            wanted = view if self._left == _UNTIL_CLOSE else view[: self._left]
            count = await http.read_some(wanted)
            if not count:
                if self._left != _UNTIL_CLOSE:
                    raise EOFError("the connection was cut before the end of the body")
                self.close()
                return 0
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise HttpError(str(error) or type(error).__name__) from error
        except BaseException:
            self.close()
            raise
        if self._left > 0:
            self._left -= count
            if not self._left:
                self._release()
        return count

    async def _read_chunked(self, http: Http, view: memoryview) -> int:
        """RFC 9112 section 7.1; trailers are skipped."""
        if not self._chunk:
            size = (await http.read_line()).partition(b";")[0].strip()
            self._chunk = int(size, 16)
            if self._chunk < 0:
                raise ValueError("a chunk has a bad size")
            if not self._chunk:
                while await http.read_line():
                    pass
                self._left = 0
                self._release()
                return 0
        count = await http.read_some(view[: self._chunk])
        if not count:
            raise EOFError("the connection was cut before the end of the body")
        self._chunk -= count
        if not self._chunk and await http.read_line():
            raise ValueError("a chunk does not end where it should")
        return count

    async def read(self, bytes_max: int) -> bytes:
        """All of it. Raises HttpError, also when it is larger than `bytes_max`."""
        out = bytearray(min(bytes_max, max(self._left, 0) or 64 * 1024))
        size = 0
        while self._http is not None:
            if size == len(out):
                if self._left == 0:
                    break
                if size >= bytes_max:
                    self.close()
                    raise HttpError("the answer is too large")
                out.extend(bytes(min(size or 1, bytes_max - size)))
            with memoryview(out) as view:
                count = await self.readinto(view[size:])
            if not count:
                break
            size += count
        return bytes(memoryview(out)[:size])

    async def finish(self) -> None:
        """Nobody wants the rest: read it if it is short, so that the connection can serve again."""
        if self._http is None:
            return
        if 0 <= self._left <= DRAIN_BYTES_MAX:
            scratch = memoryview(bytearray(max(self._left, 1)))
            try:
                while await self.readinto(scratch):
                    pass
            except HttpError:
                pass
        self.close()

    def close(self) -> None:
        """At once; a connection that still has a body on it is closed."""
        http, self._http = self._http, None
        if http is not None:
            if self._left == 0:
                self._http = http
                self._release()
            else:
                http.close()

    def _release(self) -> None:
        http, self._http = self._http, None
        if http is None:
            return
        if self.headers.get("connection", "").lower() == "close" or self.done is None:
            http.close()
        else:
            self.done(http)


def _framing(method: str, status: int, headers: Mapping[str, str]) -> int:
    if method == "HEAD" or status in (204, 304):
        return 0
    coding = headers.get("transfer-encoding")
    if coding is not None:
        return _CHUNKED if coding.lower() == "chunked" else _UNTIL_CLOSE
    length = headers.get("content-length")
    if length is None:
        return _UNTIL_CLOSE
    if not (length.isascii() and length.isdigit()):
        return _UNTIL_CLOSE
    return int(length)
