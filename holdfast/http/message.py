"""Requests, bodies and responses: what the connection hands to a handler and takes back.

Rule: text from the wire is `str` decoded as latin-1, so that `.encode("latin-1")` gives back the
very bytes that were sent (a signature is computed over those). Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol


class ClientDisconnected(Exception):
    """The client went away, or was too slow, before its body was complete. Nobody is left to answer."""


class BodyTooLarge(Exception):
    """A body was longer than the caller's limit; the connection is closed after the answer."""


class BadBody(Exception):
    """The transfer coding of the body is broken (RFC 9112 section 7), or the client stopped sending
    before its end (section 8); answered 400, then closed."""


class Body(Protocol):
    """The bytes after the head. Pulled, never pushed: nothing is read ahead of the caller but one
    bounded buffer, so that an unread body holds the client back by TCP's own window.

    `length` is the declared Content-Length in bytes, None when the transfer coding is chunked.
    The first `fill` or `read` sends `100 Continue` when the client waits for it.
    """

    length: int | None

    def take(self) -> bytes | None:
        """The whole body, when all of it has already arrived, else None. Never waits."""

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises BodyTooLarge, ClientDisconnected or BadBody."""

    async def fill(self, view: memoryview) -> int:
        """Fill `view` from the body; returns when it is full or the body ends.

        Returns the number of bytes placed, less than len(view) only at the end of the body.
        The socket writes straight into `view` where it can. One caller at a time.
        Raises ClientDisconnected or BadBody; what was filled until then is to be thrown away.
        """


class Request:
    """One request. `path` and `query` are raw: still percent-encoded, split at the first `?`."""

    __slots__ = (
        "body",
        "headers",
        "id",
        "method",
        "path",
        "peer",
        "query",
        "received_at",
        "secure",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        body: Body,
        peer: str = "",
        secure: bool = False,
        received_at: float = 0.0,
        id: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        #: lower-case names; the values of a repeated field are joined by "," (RFC 9110 5.3)
        self.headers = headers
        self.body = body
        #: the address of the client, for the log
        self.peer = peer
        #: whether it came over TLS
        self.secure = secure
        #: seconds, from the loop's monotonic clock
        self.received_at = received_at
        #: the request id, 16 upper-case hexadecimal digits; set by the connection
        self.id = id


class Region(NamedTuple):
    """A stretch of an open file: what sendfile sends."""

    fd: int
    offset: int
    count: int  # type: ignore[assignment]  # tuple has a method of that name


class FileBody:
    """A body that is sent out of files, region after region (one a content unit).

    `length` is the sum of all regions in bytes. `regions` is asked for the next region only when
    the one before it was sent. `close` is called exactly once, after the last byte or a failure.
    """

    __slots__ = ("close", "length", "regions")

    def __init__(
        self,
        length: int,
        regions: Iterable[Region] | AsyncIterator[Region],
        close: Callable[[], None],
    ) -> None:
        self.length = length
        self.regions = regions
        self.close = close


class Response:
    """One response. The connection adds Date, Connection and, for bytes and files, Content-Length.

    `headers` are (name, value) pairs, sent as given; a CR or LF in one is a fault (500), never sent.
    A response to HEAD carries the body that GET would have: the connection counts it and keeps it.
    A HEAD without a body object gives its own Content-Length in `headers`.
    An async iterator is sent with the chunked transfer coding.
    """

    __slots__ = ("body", "close", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes | FileBody | AsyncIterator[bytes] = b"",
        close: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        #: close the connection after this response
        self.close = close


#: Answers one request. Driven by the connection: as far as it gets without waiting it runs at once,
#: without a task, so it must not use asyncio.current_task(), timeout(), wait_for() or TaskGroup
#: (futures, events and executors are fine). It never sees a cancellation: a client that goes away
#: shows itself as ClientDisconnected from the body, and only there.
Handler = Callable[[Request], Awaitable[Response]]
