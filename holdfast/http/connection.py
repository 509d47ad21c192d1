"""One client's connection: bytes in, requests to the handler, responses out, strictly in order.

Strategy: all connections of a worker receive into one shared buffer; what `buffer_updated` leaves
unconsumed is kept per connection, bounded, and beyond the bound the connection stops reading. The
handler runs at once, inside the callback that completed the head, without a task. One request is
under way at a time; pipelined ones wait in `_pending`.
States, in order: IDLE -> HEAD -> BUSY -> (DISCARD ->) IDLE, or -> (LINGER ->) CLOSING -> LOST.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from holdfast.http.access import access_record
from holdfast.http.body import EMPTY_BODY, ChunkedBody, LengthBody, WholeBody, WireBody
from holdfast.http.drive import drive
from holdfast.http.encode import CONTINUE, BadHeader, has_no_body, render_head
from holdfast.http.flow import (
    BUSY,
    CLOSING,
    DISCARD,
    HEAD,
    IDLE,
    LINGER,
    LOST,
    FlowControl,
)
from holdfast.http.message import (
    BadBody,
    Body,
    BodyTooLarge,
    ClientDisconnected,
    FileBody,
    Request,
    Response,
)
from holdfast.http.parse import ProtocolError, has_bad_bytes, parse_head, too_long
from holdfast.http.send import dispose, send_file, send_stream

if TYPE_CHECKING:
    from holdfast.http.server import HttpServer

logger = logging.getLogger("holdfast.http")

_HEAD_END = b"\r\n\r\n"
# beyond connections_max, so many more are answered 503 at a time; the next ones are just cut
_REFUSED_CONNECTIONS_MAX = 64


class Connection(FlowControl):
    """The protocol of one connection; its bodies' Feeder and its senders' Output."""

    __slots__ = (
        "_advancing",
        "_body",
        "_busy",
        "_deadline",
        "_direct",
        "_discarded_bytes",
        "_expects_continue",
        "_head_only",
        "_http10",
        "_keep_alive",
        "_peer",
        "_pending",
        "_pending_start",
        "_request",
        "_request_id",
        "_server",
        "_started_at",
        "_status",
        "_waited_seconds",
    )

    def __init__(self, server: HttpServer, secure: bool) -> None:
        super().__init__(server.loop, server.limits, secure)
        self._server = server
        self._pending: bytes | bytearray = b""
        self._pending_start = 0
        self._advancing = False
        self._direct = False
        self._body: WireBody | None = None
        self._discarded_bytes = 0
        # of the request under way
        self._busy = False
        self._request: Request | None = None
        self._request_id = ""
        self._started_at = 0.0
        self._keep_alive = True
        self._http10 = False
        self._head_only = False
        self._expects_continue = False
        self._status = 0
        # of the sweep
        self._deadline = 0.0
        self._waited_seconds = 0.0

    # the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast(asyncio.Transport, transport)
        server, limits = self._server, self.limits
        stream.set_write_buffer_limits(high=limits.write_buffer_bytes)
        peer = stream.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        count = len(server.connections)
        server.add(self)
        self._deadline = server.now + limits.idle_seconds
        if count >= limits.connections_max + _REFUSED_CONNECTIONS_MAX:
            self.abort("too many connections")
        elif count >= limits.connections_max:
            self._refuse(503, "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._pending = b""
        if self._body is not None:
            self._body.fail(ClientDisconnected("the client closed the connection"))
        if not self._busy:
            self._server.remove(self)

    def eof_received(self) -> bool:
        """The client sends no more. What it has sent is still answered (RFC 9112 9.6), but on TLS."""
        self._eof = True
        if self._body is not None:
            fault = BadBody if self._state == BUSY and not self.secure else ClientDisconnected
            self._body.fail(fault("The request body terminated unexpectedly"))
        if self._state == BUSY or (self._state == IDLE and self._pending):
            return not self.secure
        self._state = max(self._state, CLOSING)
        return False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._state <= HEAD and self._pending:
            self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:
        body = self._body
        if body is not None:
            self._direct = False
            view = body.direct_view()
            if view is not None:
                self._direct = True
                return view
            if self._state != BUSY:
                return self._server.recv_view
        elif self._state == LINGER:
            return self._server.recv_view
        return self._server.recv_view_small

    def buffer_updated(self, nbytes: int) -> None:
        if self._body is not None:
            self._body_bytes(self._body, nbytes)
        elif self._state == IDLE and not self._pending:
            self._first_bytes(nbytes)
        elif self._state <= BUSY:
            self._keep(nbytes)
        elif self._state == LINGER:
            self._discarded_bytes += nbytes
            if self._discarded_bytes > self.limits.linger_bytes_max:
                self.abort("the client goes on sending")

    # receiving

    def _first_bytes(self, nbytes: int) -> None:
        """The usual case: a whole head at once, perhaps with its body, in the shared buffer."""
        server = self._server
        view = server.recv_view
        end = server.recv_buffer.find(_HEAD_END, 0, nbytes)
        if end < 0:
            self._pending = bytearray(view[:nbytes])
            self._pending_start = 0
            self._partial_head(0)
            return
        body_start = end + 4
        if nbytes > body_start:
            self._pending = bytes(view[body_start:nbytes])
            self._pending_start = 0
        self._dispatch(bytes(view[:end]))

    def _keep(self, nbytes: int) -> None:
        """Bytes of later requests, or the rest of a head."""
        pending = self._pending
        if isinstance(pending, bytes):
            pending = self._pending = bytearray(pending)
        del pending[: self._pending_start]
        self._pending_start = 0
        known = len(pending)
        pending += self._server.recv_view[:nbytes]
        if self._state == HEAD:
            if pending.find(_HEAD_END, max(0, known - 3)) < 0:
                self._partial_head(known)
            else:
                self._advance()
        elif len(pending) >= self.limits.read_ahead_bytes_max:
            self._pause_reading()

    def _partial_head(self, known: int) -> None:
        """A head without its end; its first `known` bytes were looked at before."""
        pending = self._pending
        if self._state != HEAD:
            self._state = HEAD
            self._deadline = self._server.now + self.limits.head_seconds
        error = too_long(pending, self.limits)
        if error is None and has_bad_bytes(pending, max(0, known - 1)):
            error = ProtocolError(400, "control character or bare line end in the head")
        if error is not None:
            self._refuse(error.status, error.reason)

    def _advance(self) -> None:
        """Answer pipelined requests, as many as one turn may."""
        if self._advancing:
            return
        self._advancing = True
        try:
            for _ in range(self.limits.pipelined_per_turn_max):
                if self._state > HEAD or self.writing_paused or not self._pending:
                    break
                start = self._pending_start
                end = self._pending.find(_HEAD_END, start)
                if end < 0:
                    self._pending = bytearray(self._pending[start:])
                    self._pending_start = 0
                    self._partial_head(0)
                    break
                head = bytes(self._pending[start:end])
                self._consume(end + 4)
                self._dispatch(head)
            else:
                self.loop.call_soon(self._advance)
        finally:
            self._advancing = False
        if self._eof and (self._state == HEAD or (self._state == IDLE and not self._pending)):
            self._close()
        elif (
            self._reading_paused
            and self._body is None
            and len(self._pending) - self._pending_start < self.limits.read_ahead_bytes_max
        ):
            self._resume_reading()

    def _consume(self, start: int) -> None:
        """The pending bytes before `start` are done with."""
        if start == len(self._pending):
            self._pending = b""
            start = 0
        self._pending_start = start

    def _body_bytes(self, body: WireBody, nbytes: int) -> None:
        if self._direct:
            body.advance(nbytes)
            return
        data = self._server.recv_view[:nbytes]
        used = body.receive(data)
        if used < nbytes:
            self._pending = bytes(data[used:])
            self._pending_start = 0
        if self._state == DISCARD:
            self._discard(nbytes)
        elif self._body is body and body.held_bytes >= self.limits.read_ahead_bytes_max:
            self._pause_reading()

    def _discard(self, nbytes: int) -> None:
        """Throw away the rest of an unread body; beyond the bound, the connection too."""
        body = self._body
        self._discarded_bytes += nbytes
        try:
            if body is not None:
                body.discard()
        except BadBody:
            self._shut()
            return
        if self._body is None:
            self._idle()
        elif self._eof or self._discarded_bytes > self.limits.unread_body_drain_bytes_max:
            self._shut()

    # for the bodies (Feeder)

    def new_waiter(self) -> asyncio.Future[int]:
        if self._expects_continue:
            self._expects_continue = False
            if self._state == BUSY:
                self._transport.write(CONTINUE)
        self._mark = -1
        self._resume_reading()
        return self.loop.create_future()

    def hold_reading(self) -> None:
        self._pause_reading()

    def body_complete(self, surplus: bytes) -> None:
        self._body = None
        self._expects_continue = False
        if surplus:
            self._pending = surplus
            self._pending_start = 0

    def close_after_response(self) -> None:
        self._keep_alive = False

    # requests

    def _dispatch(self, head: bytes) -> None:
        server = self._server
        self._begin()
        try:
            parsed = parse_head(head, self.limits)
        except ProtocolError as error:
            self._refuse(error.status, error.reason)
            return
        method, path, query, headers, length, http10, keep_alive, expects_continue = parsed
        self._keep_alive = keep_alive
        self._http10 = http10
        self._head_only = method == "HEAD"
        self._expects_continue = expects_continue
        body = self._new_body(length) if length else EMPTY_BODY
        if expects_continue and not length:
            # nothing to hold back, so it could be left out; but botocore, which asks for it with
            # empty bodies too, takes the next answer apart wrongly after one without it
            self._expects_continue = False
            self._transport.write(CONTINUE)
        self._request = request = Request(
            method,
            path,
            query,
            headers,
            body,
            self._peer,
            self.secure,
            self._started_at,
            self._request_id,
        )
        try:
            awaitable = server.handler(request)
        except Exception as error:  # noqa: BLE001 - _fail logs it
            self._fail(error)
            return
        drive(awaitable, self.loop, self._handled)

    def _begin(self) -> None:
        """A request, good or bad, is under way."""
        self._state = BUSY
        self._busy = True
        self._request = None
        self._request_id = self._server.new_request_id()
        self._started_at = self.loop.time()
        self._error = ""
        self._status = 0
        self._waited_seconds = 0.0
        self._unread_seconds = 0.0
        self.sent_bytes = 0

    def _new_body(self, length: int) -> Body:
        pending, start = self._pending, self._pending_start
        available = len(pending) - start
        if 0 < length <= available:
            self._consume(start + length)
            self._expects_continue = False
            return WholeBody(bytes(pending[start : start + length]))
        body = ChunkedBody(self, self.limits) if length < 0 else LengthBody(self, length)
        self._body = body
        if available:
            self._pending = b""
            self._pending_start = 0
            with memoryview(pending) as view:
                body.receive(view[start:])
            if body.held_bytes >= self.limits.read_ahead_bytes_max:
                self._pause_reading()
        return body

    def _handled(self, result: Any, error: BaseException | None) -> None:
        """The handler has ended."""
        if error is None and not isinstance(result, Response):
            error = TypeError(f"the handler returned {type(result).__name__}, not a Response")
        if error is not None:
            self._fail(error)
        else:
            self._respond(result)

    def _fail(self, error: BaseException) -> None:
        """Answer for a handler that raised."""
        if isinstance(error, ClientDisconnected):
            self.abort(str(error) or "the client is gone")
            self._finish()
        elif isinstance(error, BadBody):
            self._respond_error(400, str(error))
        elif isinstance(error, BodyTooLarge):
            self._respond_error(413, str(error))
        else:
            logger.error("request %s failed", self._request_id, exc_info=error)
            self._respond_error(500, "internal error")

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what is no valid request, and close."""
        if not self._busy:
            self._begin()
        self._http10 = self._head_only = False
        self._respond_error(status, reason)

    def _respond_error(self, status: int, reason: str) -> None:
        self._keep_alive = False
        if self._error:
            # the answer to the first fault was faulty itself
            self._respond(Response(status, [], b"", close=True))
            return
        self._error = reason
        try:
            response = self._server.error_response(status, reason, self._request_id)
        except Exception:
            logger.exception("no error response for request %s", self._request_id)
            response = Response(status, [], b"")
        self._respond(response)

    # responses

    def _respond(self, response: Response) -> None:
        body = response.body
        self._status = status = response.status
        if self._state != BUSY:
            self._error = self._error or "the client is gone"
            drive(dispose(body), self.loop, self._disposed)
            self._finish()
            return
        head_only = self._head_only or has_no_body(status)
        try:
            head = render_head(status, response.headers, self._own_lines(response))
        except BadHeader as error:
            drive(dispose(body), self.loop, self._disposed)
            self._fail(error)
            return
        if isinstance(body, bytes):
            self._send_bytes(head, b"" if head_only else body)
            self._finish()
        elif head_only:
            self._transport.write(head)
            drive(dispose(body), self.loop, self._disposed)
            self._finish()
        elif isinstance(body, FileBody):
            drive(send_file(self, head, body), self.loop, self._sent)
        else:
            drive(send_stream(self, head, body, not self._http10), self.loop, self._sent)

    def _own_lines(self, response: Response) -> str:
        """The connection's own fields; decides whether the connection is kept."""
        body = response.body
        lines = self._server.date.line()
        bodiless = has_no_body(response.status)
        keep_alive = self._keep_alive and not response.close and not self._server.draining
        if isinstance(body, (bytes, FileBody)):
            length = len(body) if isinstance(body, bytes) else body.length
            if not bodiless and (length or not self._head_only or not _has_length(response)):
                lines = f"{lines}Content-Length: {length}\r\n"
        elif not bodiless and not self._http10:
            lines = f"{lines}Transfer-Encoding: chunked\r\n"
        elif not bodiless and not self._head_only:
            keep_alive = False
        if keep_alive and self._body is not None:
            keep_alive = self._can_drain(self._body)
        self._keep_alive = keep_alive
        if not keep_alive:
            return f"{lines}Connection: close\r\n"
        return f"{lines}Connection: keep-alive\r\n" if self._http10 else lines

    def _can_drain(self, body: WireBody) -> bool:
        """Whether what the handler left of a body may be read and thrown away."""
        if self._expects_continue or self._eof:
            return False
        left = body.left if isinstance(body, LengthBody) else 0
        return left <= self.limits.unread_body_drain_bytes_max

    def _send_bytes(self, head: bytes, body: bytes) -> None:
        size = len(body)
        self.sent_bytes = size
        if not size:
            self._transport.write(head)
        elif size <= self.limits.join_bytes_max:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def _sent(self, _result: Any, error: BaseException | None) -> None:
        """A sender has ended."""
        if error is not None:
            if self._state == LOST or isinstance(error, ConnectionError):
                self.abort("the client is gone")
            else:
                logger.error("response to request %s broke off", self._request_id, exc_info=error)
                self.abort(f"response broken: {error}")
        self._finish()

    def _disposed(self, _result: Any, error: BaseException | None) -> None:
        if error is not None:
            logger.error("body of request %s not closed", self._request_id, exc_info=error)

    def _finish(self) -> None:
        """The request under way is over."""
        server = self._server
        if server.log is not None:
            seconds = self.loop.time() - self._started_at
            server.log(
                access_record(
                    self._request,
                    self._status,
                    self.sent_bytes,
                    seconds,
                    self._request_id,
                    self._error,
                )
            )
        self._busy = False
        self._request = None
        state = self._state
        if state == LOST:
            server.remove(self)
        elif state == BUSY:
            if not self._keep_alive:
                self._shut()
            elif self._body is None:
                self._idle()
            elif self._body.waiting:  # of a task that the handler left behind
                self._shut()
            else:
                self._state = DISCARD
                self._deadline = server.now + self.limits.body_seconds
                self._discarded_bytes = 0
                self._resume_reading()
                self._discard(0)

    def _idle(self) -> None:
        """Ready for the next request, which may be here already."""
        self._state = IDLE
        server = self._server
        self._deadline = server.now + self.limits.idle_seconds
        if self._pending or self._eof or self._reading_paused:
            self._advance()
        elif server.draining:
            self._close()

    # closing

    def close_if_idle(self) -> None:
        """The server drains: go, unless a request has begun."""
        if self._state == IDLE and not self._pending:
            self._close()

    def _shut(self) -> None:
        """No further request: close, but not before the client could read the answer."""
        if self._eof or (self._body is None and not self._pending and not self._error):
            self._close()
            return
        self._state = LINGER
        if self._body is not None:
            self._body.fail(ClientDisconnected("the response was sent"))
            self._body = None
        self._pending = b""
        self._discarded_bytes = 0
        self._mark = -1
        self._deadline = self._server.now + self.limits.linger_seconds
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._resume_reading()

    # the sweep

    def check(self, now: float, elapsed_seconds: float) -> None:
        """Enforce the time-outs; both in seconds, `elapsed_seconds` since the last call."""
        state = self._state
        if self.writing_paused or self._writable_waiter is not None or state == CLOSING:
            self._check_reader(now, elapsed_seconds)
        elif state == BUSY:
            if self._body is not None and self._body.waiting:
                self._check_body(self._body, now, elapsed_seconds)
        elif state == IDLE:
            if now > self._deadline or self._server.draining:
                self._close()
        elif now > self._deadline:
            if state == HEAD:
                self._refuse(408, "the request head did not come in time")
            else:
                self.abort("the client neither ends nor closes")

    def _check_body(self, body: WireBody, now: float, elapsed_seconds: float) -> None:
        limits = self.limits
        self._waited_seconds += elapsed_seconds
        due_bytes = 0.0
        if self._waited_seconds > limits.body_rate_grace_seconds:
            due_bytes = self._waited_seconds * limits.body_bytes_per_second_min
        if body.received < due_bytes or self._stalls(now, body.received, limits.body_seconds):
            self._error = "the client was too slow with its body"
            body.fail(ClientDisconnected(self._error))


def _has_length(response: Response) -> bool:
    """Whether the handler gave a Content-Length of its own (a HEAD without a body object)."""
    return any(len(n) == 14 and n.lower() == "content-length" for n, _ in response.headers)
