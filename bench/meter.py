"""What a run costs its server: processor time, memory, bytes written. Of servers on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench import memory
from bench.endpoint import Endpoint

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Cost:
    """Of one run; None where it could not be measured.

    written_bytes: what the server's processes wrote, as the kernel counts it for each process.
    device_bytes: what went to the disk meanwhile, for whomever.
    """

    cpu_seconds: float | None = None
    pss_bytes: int | None = None
    written_bytes: int | None = None
    device_bytes: int | None = None


class Meter:
    """Reads the counters of a process tree and of a disk: `start`, then `stop`."""

    def __init__(self, pid: int | None, directory: Path) -> None:
        self._pid = pid
        self._directory = str(directory)
        self._before = Cost()

    def start(self) -> None:
        self._before = self._read()

    def stop(self, *, stores: bool) -> Cost:
        """stores: content was to be stored, so what is written is of interest; waits for it."""
        now, before = self._read(), self._before
        written = device = None
        if stores:
            os.sync()
            after = self._read()
            written = _since(after.written_bytes, before.written_bytes)
            device = _since(after.device_bytes, before.device_bytes)
        pss = memory.pss_bytes(self._pid) if now.cpu_seconds is not None and self._pid else None
        cpu = _since(now.cpu_seconds, before.cpu_seconds)
        return Cost(cpu, pss, written, device)

    def _read(self) -> Cost:
        cpu = written = None
        if self._pid is not None:
            try:
                cpu, written = memory.cpu_seconds(self._pid), memory.written_bytes(self._pid)
            except PermissionError:
                self._pid = None  # another user's
        return Cost(cpu, None, written, memory.device_bytes(self._directory))


def _since(now: Number | None, before: Number | None) -> Number | None:
    return None if now is None or before is None else now - before


def find_pid(endpoint: Endpoint) -> int | None:
    """The server's first process, where it is on this machine and ours to see."""
    return memory.listener_pid(endpoint.address.port) if endpoint.is_local else None
