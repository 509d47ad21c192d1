"""Fixtures for everybody: a server in this process, and real server processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.testing.server import Server
from tests.serving import ServeProcess

ServeFactory = Callable[..., ServeProcess]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server in this process for the whole session; make your own buckets."""
    with Server() as running:
        yield running


@pytest.fixture
def serve_process(tmp_path: Path) -> Iterator[ServeFactory]:
    """serve_process(*arguments, env={…}, start=True): a real `holdfast serve` on a free port, with
    DATA in tmp_path/serveN/data, ready; killed at the end."""
    started: list[ServeProcess] = []

    def factory(
        *arguments: str, env: dict[str, str] | None = None, start: bool = True
    ) -> ServeProcess:
        directory = tmp_path / f"serve{len(started)}"
        directory.mkdir()
        process = ServeProcess(directory, arguments, env or {})
        started.append(process)
        if start:
            process.start()
        return process

    yield factory
    for process in started:
        process.destroy()
