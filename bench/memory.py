"""What a server occupies: memory of its process tree as PSS, and bytes on disk.

PSS counts a page shared by n processes as 1/n in each, so the sum over a forked tree is what the
machine really gave (resident set sizes would count shared pages once per process). Linux only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_PROCESSES_MAX = 10_000


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
