"""A committer in a thread with a store beside it: what the tests of this package run on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from holdfast.meta.commands import CreateBucket, InlineContent, PutObject
from holdfast.meta.sqlite.committer import Committer
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.store import SqliteMetaStore

T = TypeVar("T")
OWNER = "a" * 64
START_SECONDS_MAX = 30.0


def listening(directory: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "commit.sock"))
    listener.listen(64)
    return listener


def wait_for(condition: Any, seconds_max: float = START_SECONDS_MAX) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


class Running:
    """Context manager: `meta` is a started store, `run` drives it on its own loop."""

    def __init__(
        self, directory: Path, committer: type[Committer] = Committer, **options: Any
    ) -> None:
        self.directory = directory
        self.path = directory / "holdfast.db"
        self.counters = Counters.anonymous()
        self.listener = listening(directory)
        self.options: dict[str, Any] = {"durable": False, **options}
        self.committer_class = committer
        self.loop = asyncio.new_event_loop()
        self.failure: BaseException | None = None

    def __enter__(self) -> Running:
        self.start_committer()
        self.meta = self.open_store()
        return self

    def open_store(self, **options: Any) -> SqliteMetaStore:
        store = SqliteMetaStore(
            self.path, str(self.directory / "commit.sock"), self.counters, **options
        )
        self.loop.run_until_complete(_start(store))
        return store

    def start_committer(self) -> None:
        commits = self.counters.commits
        self.committer = self.committer_class(
            self.path, self.listener, self.counters, **self.options
        )
        self.failure = None
        self.thread = threading.Thread(target=self._run_committer, daemon=True)
        self.thread.start()
        wait_for(lambda: self.counters.commits > commits or self.failure)
        if self.failure is not None:
            raise self.failure

    def _run_committer(self) -> None:
        try:
            self.committer.run()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.failure = error

    def stop_committer(self) -> None:
        self.committer.stop()
        self.thread.join(START_SECONDS_MAX)
        assert not self.thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def create(self, name: str = "bucket") -> int:
        result = self.run(self.meta.submit(CreateBucket(name, OWNER, "us-east-1")))
        return result.bucket.id  # type: ignore[union-attr]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.run(self.meta.close())
        self.stop_committer()
        self.listener.close()
        self.loop.close()
        self.counters.close()
        if error is None and self.failure is not None:
            raise self.failure


async def _start(store: SqliteMetaStore) -> None:
    store.start()


def put(bucket_id: int, key: bytes, data: bytes) -> PutObject:
    return PutObject(bucket_id, key, len(data), "0" * 32, OWNER, InlineContent(data))
