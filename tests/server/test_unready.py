"""A server that can't serve says so: not ready, not started, dying again and again."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from holdfast.http.body import WholeBody
from holdfast.http.message import Request
from holdfast.meta.contract import MetaUnavailable
from holdfast.server import health
from holdfast.server.health import Health
from holdfast.server.supervisor import CRASH_LOOP_DEATHS
from holdfast.testing.server import Server
from tests.conftest import ServeFactory
from tests.serving import ServeProcess, wait_for


def _ready(process: ServeProcess) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
    try:
        connection.request("GET", "/_holdfast/ready")
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        connection.close()


def test_not_ready_while_the_committer_does_not_answer(serve_process: ServeFactory) -> None:
    process = serve_process("--workers", "1")
    committer = process.children()[0]
    os.kill(committer, signal.SIGSTOP)
    try:
        wait_for(lambda: _ready(process) == (503, "not ready: the committer does not answer"))
        assert process.get("/_holdfast/live") == 200, "the worker itself is well"
    finally:
        os.kill(committer, signal.SIGCONT)
    wait_for(lambda: _ready(process) == (200, "ready"))
    os.kill(committer, signal.SIGKILL)
    wait_for(lambda: "committer is back" in process.output(), process.output)
    wait_for(lambda: _ready(process) == (200, "ready"))


def _ask(data: Path, ping: Callable[[], Awaitable[object]]) -> tuple[int, bytes]:
    async def main() -> tuple[int, bytes]:
        request = Request("GET", "/_holdfast/ready", "", {}, WholeBody(b""), id="00AA")
        response = await Health(data, ping).answer(request)
        assert isinstance(response.body, bytes)
        return response.status, response.body

    return asyncio.run(main())


async def _answers() -> None:
    pass


async def _fails() -> None:
    raise MetaUnavailable("the committer is away")


def test_a_committer_that_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert _ask(tmp_path, _answers) == (200, b"ready\n")
    assert _ask(tmp_path, _fails) == (503, b"not ready: the committer does not answer\n")
    assert "not ready: MetaUnavailable: the committer is away" in caplog.text


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "DISK_FREE_BYTES_MIN", 1 << 62)
    assert _ask(tmp_path, _answers) == (503, b"not ready: the disk is full\n")


@pytest.mark.parametrize("mode", [("--workers", "1"), ("--single-process",)])
def test_an_access_log_that_cannot_be_opened(
    serve_process: ServeFactory, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    log = tmp_path / "missing" / "access.log"
    process = serve_process(*mode, "--access-log", str(log), start=False)
    process.start(wait=False)
    assert process.process is not None
    assert process.process.wait(30) == 1
    expected = f"the access log {log} can't be opened: No such file or directory"
    assert process.output().strip() == f"holdfast: {expected}"


def test_an_access_log_that_is_a_directory(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="can't be opened: Is a directory"),
        Server(access_log=str(tmp_path)),
    ):
        pass


def test_a_child_that_dies_again_and_again(serve_process: ServeFactory, tmp_path: Path) -> None:
    """Here a worker that can't open its log any more; the other one goes on serving."""
    directory = tmp_path / "logs"
    directory.mkdir()
    process = serve_process("--workers", "2", "--access-log", str(directory / "access.log"))
    wait_for(lambda: "list_buckets" in process.output(), process.output)  # all of it is up
    worker = process.children()[1]
    directory.rename(tmp_path / "moved")
    os.kill(worker, signal.SIGKILL)
    said = re.compile(
        rf"CRITICAL holdfast.supervisor: worker \d died {CRASH_LOOP_DEATHS} times in a row; "
        r"the lines above say why. Next start in \d+\.\d\d s"
    )
    wait_for(lambda: said.search(process.output()), process.output)
    before = said.split(process.output())[0]
    assert "No such file or directory" in before
    assert f"died {CRASH_LOOP_DEATHS - 1} times" not in before, "one death is no loop"
    answers = [process.get("/_holdfast/live") for _ in range(20)]
    assert answers == [200] * 20, "no connection waits in the socket of the worker that is missing"
    directory.mkdir()
    wait_for(lambda: re.search(r"worker \d is back", process.output()), process.output)
    assert process.stop() == 0
