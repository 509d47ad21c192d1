"""From `exec` to the first answer: start a server, ask until it answers, stop it again.

The answer asked for is a signed ListBuckets with status 200, so that a listener that accepts but
cannot serve yet does not count. A server is started in a session of its own and ended by its
process group: what it forks ends with it.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from typing import IO

from bench.endpoint import Endpoint, EndpointError

START_SECONDS_MAX = 60.0
_STOP_SECONDS_MAX = 15.0
_POLL_SECONDS = 0.002
_LOG_BYTES_SHOWN = 2000


class Server:
    """A server process that the bench started. `started_seconds` is what it took to answer."""

    def __init__(self, endpoint: Endpoint, command: str) -> None:
        """Start it and wait for its first answer. Raises EndpointError with its last output."""
        self._name = endpoint.name
        if _listens(endpoint):
            raise EndpointError(
                f"{endpoint.name}: something already listens on {endpoint.host}; stop it, "
                f"or leave out --start {endpoint.name}=… to measure what is running"
            )
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop)
        began = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                shlex.split(command),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise EndpointError(f"{endpoint.name}: can't run {command!r}: {error}") from error
        try:
            self._wait(endpoint, began + START_SECONDS_MAX)
        except BaseException:
            self.stop()
            raise
        self.started_seconds = time.perf_counter() - began

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM, then after 15 s SIGKILL, to the whole process group."""
        try:
            os.killpg(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        try:
            self._process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()

    def _wait(self, endpoint: Endpoint, give_up: float) -> None:
        while time.perf_counter() < give_up:
            if _listens(endpoint):
                try:
                    if endpoint.call("GET", "/", timeout=START_SECONDS_MAX)[0] == 200:
                        return
                except EndpointError:
                    pass
            if self._process.poll() is not None:
                raise EndpointError(
                    f"{self._name}: ended with status {self._process.returncode} instead of "
                    f"serving. Its last output:\n{self._output()}"
                )
            time.sleep(_POLL_SECONDS)
        raise EndpointError(
            f"{self._name}: no 200 to a signed ListBuckets within {START_SECONDS_MAX:.0f} s. "
            f"Its last output:\n{self._output()}"
        )

    def _output(self) -> str:
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _LOG_BYTES_SHOWN))
        return self._log.read().decode(errors="replace")


def _listens(endpoint: Endpoint) -> bool:
    try:
        socket.create_connection((endpoint.address.host, endpoint.address.port), 1).close()
    except OSError:
        return False
    return True
