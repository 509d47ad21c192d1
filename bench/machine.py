"""The machine that the figures come from, and what one durable write costs on it.

A figure without these is worth little: the sync time of the disk decides every durable PUT.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROBE_WRITES = 300
_PROBE_BYTES = 4096


@dataclass(frozen=True)
class Machine:
    """Facts in words, as they are printed."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    file_system: str
    python: str
    load_average: str  # before the run


@dataclass(frozen=True)
class SyncProbe:
    """Latencies of one durable 4 KiB append, in milliseconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    writes: int


def describe(directory: str) -> Machine:
    """directory: on the file system that the servers store on."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        file_system=_file_system(directory),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load_average=load_average(),
    )


def load_average() -> str:
    """Of 1, 5 and 15 minutes. High before the run: others took the cores from the servers."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def busy_seconds() -> float:
    """Processor time that all cores together have spent at work since the start (proc_stat(5))."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1] if found else platform.processor() or "unknown"


def _file_system(directory: str) -> str:
    """Type, device and options of the mount that holds `directory` (proc_pid_mountinfo(5))."""
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, tail = line.partition(" - ")
        if fields.split()[2] == wanted:
            kind, source, options = tail.split(" ", 2)
            return f"{kind} on {source} ({options})"
    return "unknown"


def probe_sync(directory: str, writes: int = PROBE_WRITES) -> SyncProbe:
    """Append 4 KiB with pwrite and fdatasync, again and again, as a log would be written."""
    block = os.urandom(_PROBE_BYTES)
    took: list[float] = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for i in range(writes):
            start = time.perf_counter()
            os.pwrite(file.fileno(), block, i * _PROBE_BYTES)
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - start) * 1000)
    took.sort()
    return SyncProbe(took[len(took) // 2], took[len(took) * 99 // 100], took[-1], writes)
