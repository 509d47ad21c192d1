"""What the client's coroutines stand on: connecting, waiting, running things beside each other.

Two implementations: `blocking.BlockingBackend` (plain sockets; the coroutines never suspend and are
run by `blocking.run` in the caller's thread, parallel work by threads) and `looped.LoopBackend`
(asyncio or uvloop). One code path above them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from holdfast.client.address import Target
from holdfast.client.wire import Stream

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")
CONNECT_SECONDS_MAX = 10.0
#: of reads of local files that are made on the loop itself, not in a thread
INLINE_BYTES_MAX = 256 * 1024


class Backend(Protocol):
    async def connect(self, target: Target, tls: ssl.SSLContext | None, timeout: float) -> Stream:
        """Raises OSError. `timeout` seconds is for each later send and receive."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Run what may block."""
        ...

    async def each(
        self,
        pull: Callable[[], Awaitable[T | None]],
        work: Callable[[T], Awaitable[None]],
        limit: int,
    ) -> None:
        """`work` on all that `pull` gives until None, at most `limit` at once. `pull` is never called
        while `limit` are at work, so what waits is bounded. After an error nothing more is begun; it
        is raised when all that had begun has ended."""
        ...
