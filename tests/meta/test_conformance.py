"""Both implementations join the conformance suite."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from holdfast.testing.memory_meta import MemoryMetaStore
from holdfast.testing.meta_suite import MetaSuite, StoreUnderTest
from tests.meta.running import Running

T = TypeVar("T")


class _InMemory:
    def __init__(self) -> None:
        self.meta = MemoryMetaStore()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Nothing in memory ever waits."""
        try:
            work.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result
        raise AssertionError("it waited")


class TestMemory(MetaSuite):
    @pytest.fixture
    def store(self) -> StoreUnderTest:
        return _InMemory()


class TestSqlite(MetaSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[StoreUnderTest]:
        with Running(tmp_path) as running:
            yield running


class TestSqliteWithRecentReads(MetaSuite):
    """What is kept in memory of earlier reads changes nothing."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[StoreUnderTest]:
        with Running(tmp_path) as running:
            running.run(running.meta.close())
            running.meta = running.open_store(recent_bytes_max=1 << 20)
            yield running
