"""Tells the service manager that the server is ready: sd_notify(3), for units of Type=notify."""

from __future__ import annotations

import logging
import os
import socket

_log = logging.getLogger("holdfast.server")


def notify_ready() -> None:
    """READY=1 to the datagram socket that NOTIFY_SOCKET names; without one, nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            sock.send(b"READY=1")
    except OSError as error:
        _log.warning("the service manager can't be told that the server is ready: %s", error)
