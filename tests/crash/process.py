"""A real `holdfast serve` with its children, to be killed. Only processes started here, or born of
them, are ever signalled, each by its pid."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from holdfast.config import load
from holdfast.maintenance.fsck import FsckReport
from holdfast.server import offline

ACCESS_KEY = "crashtest"
SECRET_KEY = "crash test secret"
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 60.0
#: how long children may outlive a killed supervisor
ORPHAN_SECONDS_MAX = 10.0
POLL_SECONDS = 0.02
_DEATH = re.compile(r"(\w+)(?: ?\d+)? \(pid (\d+)\) was killed by SIGKILL")


class ServerFault(Exception):
    """The server does not start, does not stop, or left processes behind."""


class ServerProcess:
    """`kills` counts what was killed, by role."""

    def __init__(self, data: Path, log: Path, arguments: tuple[str, ...] = ()) -> None:
        self.data = data
        self.log = log
        self.port = _free_port()
        self.kills: Counter[str] = Counter()
        self._arguments = arguments
        self._killed: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it is ready. Raises ServerFault."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")
        }
        environment |= {"HOLDFAST_ACCESS_KEY": ACCESS_KEY, "HOLDFAST_SECRET_KEY": SECRET_KEY}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "holdfast.cli.main", "serve", str(self.data),
                    "--listen", f"127.0.0.1:{self.port}", *self._arguments,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerFault(f"it does not become ready; its log ends:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/_holdfast/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_whole(self) -> None:
        """Until what was killed is back and answers."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._ready():
            if time.monotonic() > deadline:
                raise ServerFault(f"it does not become ready again:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def children(self) -> list[int]:
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in text.split()]

    def kill_child(self, number: int) -> None:
        """Kill one child; what it was is known from the log later."""
        children = self.children()
        if children:
            pid = children[number % len(children)]
            self._killed.add(pid)
            _kill(pid)

    def kill_all(self) -> None:
        """Everything in one moment: the whole session's process group."""
        children = self.children()
        os.killpg(self.pid, signal.SIGKILL)
        self._wait_gone(children)
        self.kills["everything"] += 1

    def kill_supervisor(self) -> None:
        """The supervisor alone; its children must end by themselves."""
        children = self.children()
        _kill(self.pid)
        self._wait_gone(children)
        self.kills["supervisor"] += 1

    def _wait_gone(self, children: list[int]) -> None:
        assert self._process is not None
        self._process.wait()
        deadline = time.monotonic() + ORPHAN_SECONDS_MAX
        while left := [pid for pid in children if _running(pid)]:
            if time.monotonic() > deadline:
                for pid in left:
                    _kill(pid)
                raise ServerFault(f"processes {left} outlived their supervisor")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """In order. Raises ServerFault when it does not end with status 0."""
        assert self._process is not None
        self._process.terminate()
        try:
            status = self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.destroy()
            raise ServerFault(f"it does not stop:\n{self.log_tail()}") from None
        if status != 0:
            raise ServerFault(f"it stopped with status {status}:\n{self.log_tail()}")

    def fsck(self, reclaim: bool) -> FsckReport:
        """Check the stopped server's DATA, every byte of it."""
        settings = load({"data": str(self.data)}, environ={}).settings
        return asyncio.run(offline.check(settings, content=True, reclaim=reclaim))

    def destroy(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def child_kills(self) -> Counter[str]:
        """The killed children by role, as the supervisor noted them."""
        deaths = _DEATH.findall(self.log.read_text(errors="replace"))
        return Counter(role for role, pid in deaths if int(pid) in self._killed)

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _running(pid: int) -> bool:
    """Whether it still runs: a zombie that waits for its reaper does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
