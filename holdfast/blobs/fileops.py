"""Every step that the blob layer takes on the file system goes through one `FileOps`.

Rule: no other module of this package calls `os` to change a file or a directory. So a test can put
a recorder or a fault between any two steps (holdfast.testing.fileops), and what is proven of the
recorded sequence is proven of the store. What a platform lacks is decided here, once.
"""

from __future__ import annotations

import os
import struct
from typing import Protocol

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

#: whether the platform has O_DIRECT at all; a test sets it to False to hide it
O_DIRECT_AVAILABLE = hasattr(os, "O_DIRECT") and fcntl is not None
#: what transfers under O_DIRECT are aligned to: no file system in use asks for more
DIRECT_ALIGNMENT_BYTES = 4096

O_DIRECT = getattr(os, "O_DIRECT", 0)
O_NOATIME = getattr(os, "O_NOATIME", 0)
O_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
O_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
O_BINARY = getattr(os, "O_BINARY", 0)

#: ioctl_iflags(2): the generation of an inode, which differs when its number is used again
_FS_IOC_GETVERSION = 0x80087601


class FileOps(Protocol):
    """The calls of `os` by the same names, positional arguments only; errors are OSError."""

    def open(self, path: str, flags: int, mode: int = 0o600, /) -> int: ...
    def close(self, fd: int, /) -> None: ...
    def pwrite(self, fd: int, data: memoryview, offset: int, /) -> int: ...
    def ftruncate(self, fd: int, size: int, /) -> None: ...
    def fsync(self, fd: int, /) -> None: ...
    def fdatasync(self, fd: int, /) -> None: ...
    def rename(self, source: str, target: str, /) -> None: ...
    def link(self, source: str, target: str, /) -> None: ...
    def unlink(self, path: str, /) -> None: ...
    def mkdir(self, path: str, mode: int = 0o700, /) -> None: ...
    def rmdir(self, path: str, /) -> None: ...

    def copy_range(self, source: int, target: int, count: int, offset: int, /) -> int:
        """Copy at most `count` bytes at `offset` of one file to the same offset of another."""

    def stop_direct(self, fd: int, /) -> None:
        """Take O_DIRECT off an open file."""

    def identity(self, fd: int, /) -> tuple[int, int] | None:
        """What no other file of this file system ever was; None if it can't be told."""

    def free_bytes(self, path: str, /) -> int: ...


def _copy_range(source: int, target: int, count: int, offset: int, /) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, count, offset, offset)
        except OSError:
            pass  # not on this pair of files; what is really wrong shows itself again below
    data = os.pread(source, min(count, _COPY_BYTES), offset)
    return os.pwrite(target, data, offset)


def _stop_direct(fd: int, /) -> None:
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~O_DIRECT)


def _identity(fd: int, /) -> tuple[int, int] | None:
    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETVERSION, bytes(8))
    except (OSError, AttributeError):
        return None
    return os.fstat(fd).st_ino, struct.unpack("=Q", answer)[0]


def _free_bytes(path: str, /) -> int:
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize


_COPY_BYTES = 1 << 20


class SystemFileOps:
    """The operating system's own functions, with nothing in between."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    pwrite = staticmethod(os.pwrite)
    ftruncate = staticmethod(os.ftruncate)
    fsync = staticmethod(os.fsync)
    fdatasync = staticmethod(getattr(os, "fdatasync", os.fsync))
    rename = staticmethod(os.rename)
    link = staticmethod(os.link)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)
    copy_range = staticmethod(_copy_range)
    stop_direct = staticmethod(_stop_direct)
    identity = staticmethod(_identity)
    free_bytes = staticmethod(_free_bytes)


SYSTEM: FileOps = SystemFileOps()
