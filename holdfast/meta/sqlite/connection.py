"""One client's connection, on the committer's side: bounded buffers, frames in, answers out.

Rule: nothing more is read while a whole command waits unprocessed or too many answers wait unsent,
so a client can't make the committer's memory grow; the socket's own buffer holds it back.
"""

from __future__ import annotations

import socket

from holdfast.meta.sqlite.sessions import Session
from holdfast.meta.sqlite.wire import (
    COMMAND_BYTES_MAX,
    COMMAND_HEAD,
    HELLO,
    HELLO_BYTES,
)

UNREAD_BYTES_MAX = 1 << 20
UNSENT_BYTES_MAX = 8 << 20


class ProtocolError(Exception):
    """The client does not speak the protocol, or never reads; its connection is dropped."""


class ClientConnection:
    """`session_id` is known after the hello; `session` is set by the committer."""

    __slots__ = (
        "_at",
        "_received",
        "_unsent",
        "is_closed",
        "is_ready",
        "session",
        "session_id",
        "socket",
    )

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self.socket = connected
        self.session: Session | None = None
        self.session_id: bytes | None = None
        self.is_ready = False  # in the committer's queue
        self.is_closed = False
        self._received = bytearray()
        self._at = 0
        self._unsent = bytearray()

    def receive(self, buffer: memoryview) -> bool:
        """Take what has arrived, through `buffer`; whether there may be a command. Raises OSError
        when the client has closed: it has given up, so what it had sent before is not to be
        applied either."""
        if len(self._received) - self._at > UNREAD_BYTES_MAX and self._has_command():
            return True
        try:
            while True:
                count = self.socket.recv_into(buffer)
                if not count:
                    raise ConnectionResetError("the client has closed the connection")
                self._received += buffer[:count]
                if len(self._received) > UNREAD_BYTES_MAX:
                    break
        except BlockingIOError:
            pass
        if self.session_id is None and len(self._received) >= HELLO_BYTES:
            if not self._received.startswith(HELLO):
                raise ProtocolError("no hello")
            self.session_id = bytes(self._received[len(HELLO) : HELLO_BYTES])
            self._at = HELLO_BYTES
        return self.session_id is not None

    def _has_command(self) -> bool:
        if len(self._received) - self._at < COMMAND_HEAD.size:
            return False
        length = COMMAND_HEAD.unpack_from(self._received, self._at)[0]
        return len(self._received) - self._at >= COMMAND_HEAD.size + int(length)

    def next_command(self) -> tuple[int, int, bytes] | None:
        """(number, acknowledged, msgpack), or None when no whole command is there."""
        received, at = self._received, self._at
        if len(received) - at >= COMMAND_HEAD.size:
            length, number, acknowledged = COMMAND_HEAD.unpack_from(received, at)
            if length > COMMAND_BYTES_MAX:
                raise ProtocolError(f"a command of {length} bytes")
            start = at + COMMAND_HEAD.size
            if len(received) - start >= length:
                self._at = start + length
                return number, acknowledged, bytes(memoryview(received)[start : self._at])
        del received[:at]
        self._at = 0
        return None

    def queue(self, answer: bytes) -> None:
        self._unsent += answer

    def send(self) -> bool:
        """Send what is queued; whether all of it went. Raises OSError or ProtocolError."""
        unsent = self._unsent
        while unsent:
            try:
                sent = self.socket.send(unsent)
            except BlockingIOError:
                if len(unsent) > UNSENT_BYTES_MAX:
                    raise ProtocolError("the client does not read its answers") from None
                return False
            del unsent[:sent]
        return True

    def close(self) -> None:
        self.is_closed = True
        self.socket.close()
