"""Real `holdfast serve` processes for tests. Only processes started here, or their children, are
ever signalled, each by its pid."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"
WAIT_SECONDS_MAX = 30.0
POLL_SECONDS = 0.01


class ServeProcess:
    """`holdfast serve` on a free port. `stdout` and `stderr` are files, read by `output`."""

    def __init__(self, directory: Path, arguments: tuple[str, ...], env: dict[str, str]) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.port = free_port()
        self.arguments = arguments
        self.environ = clean_environ() | env
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *, wait: bool = True) -> None:
        with (
            (self.directory / "stdout").open("ab") as stdout,
            (self.directory / "stderr").open("ab") as stderr,
        ):
            command = [sys.executable, "-m", "holdfast", "serve", str(self.data)]
            if "--listen" not in self.arguments:
                command += ["--listen", f"127.0.0.1:{self.port}"]
            self.process = subprocess.Popen(
                [*command, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self.environ,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        wait_for(lambda: self.get("/_holdfast/ready") == 200 or self._must_run(), self.output)

    def _must_run(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended:\n{self.output()}"
        return False

    def get(self, path: str) -> int:
        """The status of a GET; 0 when there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def output(self) -> str:
        return "".join(
            (self.directory / name).read_text(errors="replace")
            for name in ("stdout", "stderr")
            if (self.directory / name).exists()
        )

    def children(self) -> list[int]:
        """In the order in which they were started: committer, workers, maintenance."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return sorted(int(pid) for pid in text.split())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS_MAX)

    def destroy(self) -> None:
        """Whatever state it is in: children end with their supervisor."""
        if self.process is not None and self.process.poll() is None:
            children = self.children()
            self.process.kill()
            self.process.wait()
            wait_for(lambda: not any(runs(pid) for pid in children))

    def client_arguments(self) -> dict[str, Any]:
        return {
            "endpoint_url": self.endpoint,
            "region_name": "us-east-1",
            "aws_access_key_id": self.environ["HOLDFAST_ACCESS_KEY"],
            "aws_secret_access_key": self.environ["HOLDFAST_SECRET_KEY"],
        }


def clean_environ() -> dict[str, str]:
    """This process's environment with no setting of ours but the root keys."""
    environ = {name: value for name, value in os.environ.items() if "HOLDFAST_" not in name}
    environ["PYTHONPATH"] = str(ROOT)  # also where the package is not installed
    return environ | {"HOLDFAST_ACCESS_KEY": ACCESS_KEY, "HOLDFAST_SECRET_KEY": SECRET_KEY}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(condition: Any, explain: Any = lambda: "") -> None:
    """Until `condition()` is true; a test that waits too long fails with what `explain()` says."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain\n{explain()}"
        time.sleep(POLL_SECONDS)


def runs(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
