"""What the log learns of a request once it is over."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.http.message import Request


class AccessRecord(NamedTuple):
    """One answered, refused or broken-off request."""

    #: None when its head could not be read
    request: Request | None
    method: str
    target: str
    status: int
    #: of the response's body, as handed to the system
    bytes_sent: int
    #: from the complete head to the last byte handed over
    seconds: float
    request_id: str
    #: why it was refused or broken off; empty when all went well
    error: str


def access_record(
    request: Request | None,
    status: int,
    bytes_sent: int,
    seconds: float,
    request_id: str,
    error: str,
) -> AccessRecord:
    """The record of a request, None when its head was refused."""
    method = target = ""
    if request is not None:
        method = request.method
        target = f"{request.path}?{request.query}" if request.query else request.path
    return AccessRecord(request, method, target, status, bytes_sent, seconds, request_id, error)
