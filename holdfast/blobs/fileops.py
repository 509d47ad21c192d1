"""Every step that the blob layer takes on the file system goes through one `FileOps`.

Rule: no other module of this package calls `os` to change a file or a directory. So a test can put
a recorder or a fault between any two steps (holdfast.testing.fileops), and what is proven of the
recorded sequence is proven of the store. What a platform lacks is decided here, once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

#: whether the platform has O_DIRECT at all; a test sets it to False to hide it
O_DIRECT_AVAILABLE = hasattr(os, "O_DIRECT") and fcntl is not None
#: whether the platform has what segments need: holes that can be punched and found, vectored
#: writes, locks. Whether the file system has it is tried out (segments.py)
SEGMENTS_AVAILABLE = (
    sys.platform == "linux"
    and fcntl is not None
    and all(hasattr(os, name) for name in ("pwritev", "SEEK_DATA", "SEEK_HOLE"))
)
#: what transfers under O_DIRECT are aligned to: no file system in use asks for more
DIRECT_ALIGNMENT_BYTES = 4096

O_DIRECT = getattr(os, "O_DIRECT", 0)
O_NOATIME = getattr(os, "O_NOATIME", 0)
O_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
O_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
O_BINARY = getattr(os, "O_BINARY", 0)

#: ioctl_iflags(2): the generation of an inode, which differs when its number is used again
_FS_IOC_GETVERSION = 0x80087601
#: fallocate(2)
_KEEP_SIZE, _PUNCH_HOLE = 1, 2


class FileOps(Protocol):
    """The calls of `os` by the same names, positional arguments only; errors are OSError."""

    def open(self, path: str, flags: int, mode: int = 0o600, /) -> int: ...
    def close(self, fd: int, /) -> None: ...
    def pwrite(self, fd: int, data: memoryview, offset: int, /) -> int: ...
    def pwritev(self, fd: int, views: Sequence[memoryview], offset: int, /) -> int: ...
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

    def allocate(self, fd: int, offset: int, count: int, /) -> None:
        """Reserve blocks for a range, which becomes part of the file and reads as zeros."""

    def punch(self, fd: int, offset: int, count: int, /) -> None:
        """Give the blocks of a range back. It reads as zeros and is a hole; the size stays."""

    def lock(self, fd: int, /) -> bool:
        """Lock an open file for whoever has this description of it, until that is closed. False
        when another has it."""

    def seek_data(self, fd: int, offset: int, /) -> int | None:
        """Where the first data at or behind `offset` begins; None when none is left."""

    def seek_hole(self, fd: int, offset: int, /) -> int:
        """Where the data at `offset` ends; `offset` when there is none."""

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


@cache
def _fallocate() -> Callable[[int, int, int, int], None]:
    """fallocate(2), which `os` lacks: posix_fallocate writes zeros where it can't reserve."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

    def fallocate(fd: int, mode: int, offset: int, count: int) -> None:
        while call(fd, mode, offset, count):
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))

    return fallocate


def _allocate(fd: int, offset: int, count: int, /) -> None:
    _fallocate()(fd, 0, offset, count)


def _punch(fd: int, offset: int, count: int, /) -> None:
    _fallocate()(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, count)


def _lock(fd: int, /) -> bool:
    if not SEGMENTS_AVAILABLE:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _seek_data(fd: int, offset: int, /) -> int | None:
    if not SEGMENTS_AVAILABLE:
        return offset if offset < os.fstat(fd).st_size else None
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _seek_hole(fd: int, offset: int, /) -> int:
    if not SEGMENTS_AVAILABLE:
        return os.fstat(fd).st_size
    try:
        return os.lseek(fd, offset, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # cut off meanwhile
            return offset
        raise


def _pwritev(fd: int, views: Sequence[memoryview], offset: int, /) -> int:
    return os.pwritev(fd, views, offset)


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
    pwritev = staticmethod(_pwritev)
    ftruncate = staticmethod(os.ftruncate)
    fsync = staticmethod(os.fsync)
    fdatasync = staticmethod(getattr(os, "fdatasync", os.fsync))
    rename = staticmethod(os.rename)
    link = staticmethod(os.link)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)
    copy_range = staticmethod(_copy_range)
    allocate = staticmethod(_allocate)
    punch = staticmethod(_punch)
    lock = staticmethod(_lock)
    seek_data = staticmethod(_seek_data)
    seek_hole = staticmethod(_seek_hole)
    stop_direct = staticmethod(_stop_direct)
    identity = staticmethod(_identity)
    free_bytes = staticmethod(_free_bytes)


SYSTEM: FileOps = SystemFileOps()
