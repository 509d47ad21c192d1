"""The whole store: reads of this process, writes through the committer."""

from __future__ import annotations

from pathlib import Path

from holdfast.meta.commands import Command, Result
from holdfast.meta.sqlite.client import ANSWER_SECONDS_MAX, CommitterClient
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.reader import SqliteReader


class SqliteMetaStore(SqliteReader):
    """Implements MetaStore. `address`: the committer's Unix socket. `start` it inside the loop.

    Made after forking, once the committer runs (`counters.commits` has moved).
    """

    def __init__(
        self,
        path: Path,
        address: str,
        counters: Counters,
        *,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
        recent_bytes_max: int = 0,
    ) -> None:
        super().__init__(path, counters, recent_bytes_max=recent_bytes_max)
        self._client = CommitterClient(address, answer_seconds_max=answer_seconds_max)

    def start(self) -> None:
        self._client.start()

    async def close(self) -> None:
        await self._client.close()
        self.close_reader()

    async def submit(self, command: Command) -> Result:
        return await self._client.submit(command)

    async def submit_all(self, commands: list[Command]) -> list[Result]:
        return await self._client.submit_all(commands)
