"""Every bound and time-out of the HTTP side, in one place. Nothing is unbounded.

Each name ends in its unit. Time-outs are looked at by one coarse sweep per worker, so they fire up
to `sweep_seconds` late.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one worker grants its clients. The defaults suit S3 clients of every kind."""

    #: connections of one worker; beyond it a client gets 503
    connections_max: int = 10_000

    #: request line and header fields together
    head_bytes_max: int = 32 * 1024
    #: a key of 1,024 bytes percent-encoded, and a presigned query with a session token
    target_bytes_max: int = 16 * 1024
    header_fields_max: int = 100

    #: the receive buffer that all connections of a worker share
    recv_buffer_bytes: int = 256 * 1024
    #: received but not yet asked for, per connection: unread body and pipelined requests
    read_ahead_bytes_max: int = 64 * 1024
    #: pipelined requests answered before the other connections get their turn
    pipelined_per_turn_max: int = 16

    #: a chunk's size line with its extensions, RFC 9112 7.1.1
    chunk_line_bytes_max: int = 256
    trailer_bytes_max: int = 8 * 1024

    #: read and thrown away of a body that the handler left unread, to keep the connection
    unread_body_drain_bytes_max: int = 256 * 1024
    #: thrown away behind a last answer, so that a reset does not destroy it (RFC 9112 9.6)
    linger_bytes_max: int = 16 * 1024 * 1024
    linger_seconds: float = 5.0

    #: above it the producer of a response waits
    write_buffer_bytes: int = 64 * 1024
    #: a response up to this size leaves in one piece with its head
    join_bytes_max: int = 64 * 1024
    #: sent out of one file before the other connections get their turn
    sendfile_turn_bytes_max: int = 4 * 1024 * 1024
    #: how often sendfile looks whether the page cache has the file, and what is read if it has not
    file_ahead_bytes: int = 1024 * 1024
    #: read from a file at once where sendfile can't be used
    file_piece_bytes: int = 256 * 1024

    #: between two requests
    idle_seconds: float = 75.0
    #: from the first byte of a head to its last
    head_seconds: float = 20.0
    #: a body of which nothing arrives although it is waited for
    body_seconds: float = 30.0
    #: a body that trickles: least average rate over the time it was waited for, after a grace
    body_bytes_per_second_min: int = 1024
    body_rate_grace_seconds: float = 30.0
    #: a response of which the client takes nothing
    write_seconds: float = 60.0
    #: a client that takes it in drops: least average rate over the time it was waited for
    write_bytes_per_second_min: int = 256
    write_rate_grace_seconds: float = 60.0
    sweep_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.read_ahead_bytes_max <= self.recv_buffer_bytes:
            raise ValueError("read_ahead_bytes_max must be in 1..recv_buffer_bytes")
        if self.target_bytes_max > self.head_bytes_max:
            raise ValueError("target_bytes_max must not exceed head_bytes_max")
        if self.file_ahead_bytes < 1:
            raise ValueError("file_ahead_bytes must be at least 1")
