"""What a server takes: memory of its process tree as PSS, its CPU time, and bytes on disk.

PSS counts a page shared by n processes as 1/n in each, so the sum over a forked tree is what the
machine really gave (resident set sizes would count shared pages once per process). Linux only.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Self

_PROCESSES_MAX = 10_000
_SAMPLE_SECONDS = 0.1


def process_tree(root: int) -> list[int]:
    """The process and all its descendants alive now; empty when it is gone."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # the command's name may hold spaces and parentheses: the fields start behind the last
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    if not Path(f"/proc/{root}").exists():
        return []
    tree = [root]
    for pid in tree:
        tree += children.get(pid, ())
        if len(tree) > _PROCESSES_MAX:
            break
    return tree


def pss_bytes(root: int) -> int:
    """PSS of the process tree. Raises PermissionError for another user's processes."""
    total = 0
    for pid in process_tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total


def cpu_seconds(root: int) -> float:
    """User and system time of the process tree until now, of those that are alive."""
    ticks = 0
    for pid in process_tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def disk_bytes(directory: str) -> int:
    """Bytes allocated on disk below `directory`; a file linked twice counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for parent, _, files in os.walk(directory):
        for path in (parent, *(os.path.join(parent, name) for name in files)):
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * 512
    return total


def io_bytes(root: int) -> int:
    """What the process tree has read and written so far by system calls, files and sockets alike."""
    total = 0
    for pid in process_tree(root):
        try:
            counters = Path(f"/proc/{pid}/io").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        total += sum(
            int(count) for count in re.findall(r"^[rw]char: (\d+)$", counters, re.MULTILINE)
        )
    return total


class PeakPss:
    """The highest PSS of a process tree while the `with` lasts; without a pid all stays 0. Bytes."""

    def __init__(self, root: int | None) -> None:
        self.before = 0
        self.peak = 0
        self._root = root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-pss", daemon=True)

    def __enter__(self) -> Self:
        if self._root is not None:
            self.before = pss_bytes(self._root)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._root is not None:
            self._thread.join()

    def _sample(self) -> None:
        assert self._root is not None
        while not self._stop.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, pss_bytes(self._root))
