"""What a server takes: memory of its process tree as PSS, its CPU time, and bytes on disk; and which
process it is.

PSS counts a page shared by n processes as 1/n in each, so the sum over a forked tree is what the
machine really gave (resident set sizes would count shared pages once per process). Linux only.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

_PROCESSES_MAX = 10_000
_SAMPLE_SECONDS = 0.1
_SECTOR_BYTES = 512  # of the kernel's counters, whatever the device's
_LISTEN = "0A"


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
    return sum(_pss_of(pid) for pid in process_tree(root))


def _pss_of(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it ended meanwhile
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def cpu_seconds(root: int) -> float:
    """Processor time of the process tree until now, of the processes that are alive.

    The scheduler's own count of nanoseconds (proc/<pid>/task/*/schedstat) knows only the threads that
    live, the process's total also those that ended, but in hundredths of a second: the larger one.
    """
    total = 0.0
    for pid in process_tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            tasks = [int(line.split()[0]) for line in _each_task(pid, "schedstat")]
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        total += max(ticks, sum(tasks) / 1e9)
    return total


def _each_task(pid: int, name: str) -> Iterator[str]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            yield (task / name).read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended meanwhile


def written_bytes(root: int) -> int:
    """What the process tree has made dirty in the page cache or written directly (proc_pid_io(5)).

    Raises PermissionError for another user's processes."""
    total = 0
    for pid in process_tree(root):
        try:
            counters = Path(f"/proc/{pid}/io").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found = re.search(r"^write_bytes: (\d+)$", counters, re.MULTILINE)
        total += int(found[1]) if found else 0
    return total


def device_bytes(directory: str) -> int | None:
    """Bytes written so far, by anybody, to the device under `directory`; None where none is known."""
    number = os.stat(directory).st_dev
    wanted = [str(os.major(number)), str(os.minor(number))]
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if fields[:2] == wanted:
            return int(fields[9]) * _SECTOR_BYTES
    return None


def listeners(port: int) -> set[int]:
    """The processes of this machine that hold a socket listening on this TCP port, as far as they are
    ours to see."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if inodes and entry.name.isdigit() and _holds(entry, inodes.__contains__)
    }


def listener_pid(port: int) -> int | None:
    """The first process of the tree that listens on this TCP port; None where it is not to be seen, or
    is this very process."""
    found = listeners(port)
    for pid in sorted(found):
        if pid == os.getpid():
            return None
        if _parent(pid) not in found:
            return pid
    return None


def pss_by_role(root: int, port: int) -> dict[str, int]:
    """PSS of the process tree in bytes, by what its processes do as far as their open files tell:
    supervisor, committer, worker, other."""
    roles: dict[str, int] = {}
    listening = listeners(port)
    for pid in process_tree(root):
        if pid == root:
            role = "supervisor"
        elif _holds(Path(f"/proc/{pid}"), lambda path: path.endswith("-committer")):
            role = "committer"
        else:
            role = "worker" if pid in listening else "other"
        roles[role] = roles.get(role, 0) + _pss_of(pid)
    return roles


def _holds(process: Path, wanted: Callable[[str], bool]) -> bool:
    try:
        with os.scandir(process / "fd") as entries:
            return any(wanted(_target(entry.path)) for entry in entries)
    except OSError:  # not ours to see, or gone
        return False


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


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
                total += status.st_blocks * _SECTOR_BYTES
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
