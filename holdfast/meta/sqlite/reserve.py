"""Room on the disk that is kept back, so that a full disk can still delete and checkpoint.

While the reserve is held the store takes every command. When a commit finds no room, the reserve is
given up: what makes room goes on, what needs room is refused, until there is enough free space to
hold the reserve again.
"""

from __future__ import annotations

import os
from pathlib import Path

RESERVE_BYTES = 64 << 20
_WRITE_BYTES = 1 << 20


class ReserveFile:
    """The file at `path`. `size_bytes` 0: there is no reserve, and `hold` always succeeds."""

    def __init__(self, path: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = path
        self.size_bytes = size_bytes
        self.held = False

    def hold(self) -> bool:
        """Take the room, if twice as much is free. Returns whether it is held; never raises."""
        try:
            if self.held or self.size_bytes == 0 or self._is_allocated():
                self.held = True
            elif self._free_bytes() >= 2 * self.size_bytes:
                self._allocate()
                self.held = True
        except OSError:
            self.release()
        return self.held

    def release(self) -> None:
        """Give the room back to the file system. Never raises."""
        self.held = False
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            pass

    def _is_allocated(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        return found.st_size == self.size_bytes and found.st_blocks * 512 >= self.size_bytes

    def _free_bytes(self) -> int:
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize

    def _allocate(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, self.size_bytes)
            else:
                for _ in range(0, self.size_bytes, _WRITE_BYTES):
                    os.write(descriptor, bytes(_WRITE_BYTES))
        finally:
            os.close(descriptor)
