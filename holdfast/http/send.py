"""Response bodies that take time: files and streams. Coroutines driven by the connection.

Rule: a body that fails midway raises, and the connection is aborted: a client never sees a success
of the wrong length. Whatever happens, a FileBody's `close` is called exactly once.
Plain sockets get files by `os.sendfile` on a duplicate of the socket's descriptor (uvloop lets no
one else watch its own). It is begun only when the transport's write buffer is empty, and on EAGAIN
goes back to the loop: a slow reader holds no thread. TLS, and systems without sendfile, read
pieces in the executor.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from typing import Protocol

from holdfast.http.encode import LAST_CHUNK
from holdfast.http.limits import Limits
from holdfast.http.message import FileBody, Region

#: whether this system can send files from kernel to kernel
SENDFILE_AVAILABLE = hasattr(os, "sendfile")

# lets the head share a packet with the first bytes of the file
_MSG_MORE = getattr(socket, "MSG_MORE", 0)


class ResponseBroken(Exception):
    """The body can't be sent as it was promised: a fault of ours. The connection is aborted."""


class Output(Protocol):
    """What a sender asks of its connection. Each raises ConnectionError once the client is gone."""

    limits: Limits
    loop: asyncio.AbstractEventLoop
    secure: bool
    #: bytes of the body handed over so far
    sent_bytes: int
    writing_paused: bool

    def write(self, data: bytes) -> None: ...

    def duplicate(self) -> socket.socket:
        """The duplicate of the socket; it belongs to the connection."""

    async def drained(self) -> None:
        """Wait until the write buffer is low."""

    async def flushed(self) -> None:
        """Wait until the write buffer is empty."""

    async def writable(self) -> None:
        """Give way to others, then wait until the duplicate takes bytes."""


async def send_file(out: Output, head: bytes, body: FileBody) -> None:
    """Head, then every region. Raises ResponseBroken, ConnectionError, OSError."""
    left = body.length
    try:
        direct = SENDFILE_AVAILABLE and not out.secure
        if direct:
            await _send_head(out, head, more=left > 0)
        else:
            out.write(head)
        send = _sendfile if direct else _send_pieces
        if isinstance(body.regions, AsyncIterator):
            async for region in body.regions:
                left -= region.count
                if left < 0:
                    break
                await send(out, region)
        else:
            for region in body.regions:
                left -= region.count
                if left < 0:
                    break
                await send(out, region)
        if left:
            raise ResponseBroken(f"the regions differ from the length by {left} bytes")
    finally:
        await dispose(body)


async def send_stream(out: Output, head: bytes, body: AsyncIterator[bytes], chunked: bool) -> None:
    """Head, then each part as a chunk (RFC 9112 7.1), or bare when the close ends the body."""
    try:
        out.write(head)
        async for part in body:
            if not part:
                continue
            out.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            out.sent_bytes += len(part)
            if out.writing_paused:
                await out.drained()
        if chunked:
            out.write(LAST_CHUNK)
    finally:
        await dispose(body)


async def dispose(body: bytes | FileBody | AsyncIterator[bytes]) -> None:
    """Let go of what a body holds, sent or not."""
    if isinstance(body, FileBody):
        try:
            await _close_iterator(body.regions)
        finally:
            body.close()
    else:
        await _close_iterator(body)


async def _close_iterator(iterator: object) -> None:
    if (aclose := getattr(iterator, "aclose", None)) is not None:
        await aclose()
    elif (close := getattr(iterator, "close", None)) is not None:
        close()


async def _send_head(out: Output, head: bytes, more: bool) -> None:
    await out.flushed()
    try:
        sent = out.duplicate().send(head, _MSG_MORE if more else 0)
    except BlockingIOError:
        sent = 0
    if sent < len(head):
        out.write(head[sent:])
        await out.flushed()


async def _sendfile(out: Output, region: Region) -> None:
    source, offset, left = region
    target = out.duplicate().fileno()
    turn_bytes = out.limits.sendfile_turn_bytes_max
    turn_left = turn_bytes
    while left:
        try:
            sent = os.sendfile(target, source, offset, min(left, turn_left))
        except BlockingIOError:
            await out.writable()
            turn_left = turn_bytes
            continue
        if not sent:
            raise ResponseBroken("the file is shorter than its region")
        offset += sent
        left -= sent
        out.sent_bytes += sent
        turn_left -= sent
        if left and not turn_left:
            await out.writable()
            turn_left = turn_bytes


async def _send_pieces(out: Output, region: Region) -> None:
    source, offset, left = region
    piece_bytes = out.limits.file_piece_bytes
    while left:
        # the descriptor stays open until the read is back: `dispose` comes after it
        data = await out.loop.run_in_executor(
            None, os.pread, source, min(left, piece_bytes), offset
        )
        if not data:
            raise ResponseBroken("the file is shorter than its region")
        out.write(data)
        offset += len(data)
        left -= len(data)
        out.sent_bytes += len(data)
        if out.writing_paused:
            await out.drained()
