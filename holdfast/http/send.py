"""Response bodies that take time: files and streams. Coroutines driven by the connection.

Rule: a body that fails midway raises, and the connection is aborted: a client never sees a success
of the wrong length. Whatever happens, a FileBody's `close` is called exactly once.
Plain sockets get files by `os.sendfile` on a duplicate of the socket's descriptor (uvloop lets no
one else watch its own). It is begun only when the transport's write buffer is empty, and on EAGAIN
goes back to the loop: a slow reader holds no thread. What the page cache lacks is read into it by
the executor first, so that a slow disk holds up nobody else. TLS, and systems without sendfile,
read pieces in the executor.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
from collections.abc import AsyncIterator
from typing import Protocol

from holdfast.http.encode import LAST_CHUNK
from holdfast.http.limits import Limits
from holdfast.http.message import FileBody, Region

#: whether this system can send files from kernel to kernel
SENDFILE_AVAILABLE = hasattr(os, "sendfile")
_RWF_NOWAIT = getattr(os, "RWF_NOWAIT", 0)

_probe = bytearray(1)

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
        """Wait until the duplicate takes bytes."""


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
    limits = out.limits
    ready = 0
    while left:
        if not ready:
            ready = _cached(source, offset, min(left, limits.sendfile_turn_bytes_max), limits)
        if not ready:
            ready = min(left, limits.file_ahead_bytes)
            await out.loop.run_in_executor(None, _read_ahead, source, offset, ready)
        try:
            # asked for anew: it is closed, and its number given away, once the client is gone
            target = out.duplicate().fileno()
            sent = os.sendfile(target, source, offset, ready)
        except BlockingIOError:
            await out.writable()
            continue
        if not sent:
            raise ResponseBroken("the file is shorter than its region")
        offset += sent
        left -= sent
        ready -= sent
        out.sent_bytes += sent
        if left and not ready:
            await asyncio.sleep(0)  # the others' turn


def _cached(source: int, offset: int, count: int, limits: Limits) -> int:
    """How many of `count` bytes the page cache has, as far as the system can tell: a look at the
    first, and at one in `file_ahead_bytes`."""
    if not _RWF_NOWAIT:
        return count
    have = 0
    try:
        os.preadv(source, [_probe], offset, _RWF_NOWAIT)
        while have < count:
            piece = min(limits.file_ahead_bytes, count - have)
            os.preadv(source, [_probe], offset + have + piece - 1, _RWF_NOWAIT)
            have += piece
    except OSError as error:
        return have if error.errno == errno.EAGAIN else count
    return have


def _read_ahead(source: int, offset: int, count: int) -> None:
    """Have the page cache filled, nothing is copied. In a thread: `dispose` closes the descriptor
    only after it."""
    end = offset + count
    while offset < end and (read := os.sendfile(_null(), source, offset, end - offset)):
        offset += read


@functools.cache
def _null() -> int:
    return os.open(os.devnull, os.O_WRONLY)


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
