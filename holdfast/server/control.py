"""The channel between the supervisor and one child: a socket pair, a byte for each message.

Rule: a child lives no longer than the supervisor. The kernel closes the supervisor's end however
it dies, and a thread of the child that waits for nothing else ends the process at once, whatever
its loop is doing. Stopping goes this way too and not by signals: a service manager or a terminal
sends SIGTERM and SIGINT to every process at once, and the committer must outlive the workers.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from functools import partial

READY = b"r"  # child: I serve
STOP = b"s"  # supervisor: finish what is under way and end
RELOAD = b"h"  # supervisor: read the certificate again, open the logs anew
COVER = b"c"  # supervisor: another of your kind can't be started; do its work too
UNCOVER = b"u"  # supervisor: it is back

#: the exit status of a child whose supervisor died
EXIT_ORPHANED = 3


class Control:
    """The child's end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def ready(self) -> None:
        try:
            self._sock.send(READY)
        except OSError:
            pass  # the supervisor is gone; `watch` sees it

    def watch(
        self,
        on_stop: Callable[[], None],
        on_reload: Callable[[], None] = lambda: None,
        on_cover: Callable[[bool], None] = lambda others: None,
    ) -> None:
        """Call back, from a thread of its own, for each message; end the process at the last."""
        actions: dict[bytes, Callable[[], None]] = {
            STOP: on_stop,
            RELOAD: on_reload,
            COVER: partial(on_cover, True),
            UNCOVER: partial(on_cover, False),
        }

        def wait() -> None:
            while True:
                try:
                    message = self._sock.recv(1)
                except OSError:
                    message = b""
                if not message:
                    os._exit(EXIT_ORPHANED)
                actions[message]()

        threading.Thread(target=wait, name="control", daemon=True).start()
