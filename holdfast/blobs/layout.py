"""Where a blob lies, and how the directories on the way to it come, stay durable and go.

    buckets/<bucket>-<id>/ab/cd/<sha256 in hex>-<n in hex>
    buckets/<bucket>-<id>/segments/<number in hex>          (segments.py)

Rule: a directory's entry is trusted to be on the disk only if this process synced its parent since
the directory was made, by whomever: another process may have made it a moment ago and not yet
synced. So what is remembered is the directory's identity (inode and generation), which changes
when a remover takes the empty directory away and someone makes it again. Where the file system
can't tell identities, nothing is remembered and every ancestor is synced each time.
A directory with a blob in it can't go, so once the file lies in its place the way up to it stands
still, and can be looked at and synced without a lock.
"""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import Future

from holdfast.blobs.contract import BlobAddress
from holdfast.blobs.fileops import O_CLOEXEC, O_DIRECTORY, FileOps

#: directories whose durable identity is remembered (some 200 bytes each)
KNOWN_DIRECTORIES_MAX = 16_384
_DIRECTORY_FLAGS = os.O_RDONLY | O_DIRECTORY | O_CLOEXEC
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)
#: the directory of a bucket's segments; no pair of hexadecimal digits
SEGMENTS = "segments"
_HEX = frozenset("0123456789abcdef")


def check_bucket_dir(name: str) -> None:
    """Raise ValueError unless `name` is one plain path component."""
    if not name or name.startswith(".") or "/" in name or "\0" in name or os.sep in name:
        raise ValueError(f"not a bucket directory: {name!r}")


def file_name(sha256_hex: str, n: int) -> str:
    return f"{sha256_hex}-{n:x}"


def parse_file_name(name: str) -> tuple[bytes, int] | None:
    """(sha256, n) of a file name as `file_name` makes it, None for any other."""
    digest, dash, number = name.partition("-")
    if len(digest) != 64 or not dash or not 0 < len(number) <= 16:
        return None
    if not (_HEX.issuperset(digest) and _HEX.issuperset(number)):
        return None
    n = int(number, 16)
    return (bytes.fromhex(digest), n) if number == f"{n:x}" else None


def parse_segment_name(name: str) -> int | None:
    if not 0 < len(name) <= 16 or not _HEX.issuperset(name):
        return None
    number = int(name, 16)
    return number if name == f"{number:x}" else None


class SharedSyncs:
    """Directory syncs that wait at the same time for the same directory are done once for all.

    A sync that has begun is never joined: it may have passed the entry that the caller needs.
    """

    def __init__(self, ops: FileOps) -> None:
        self._ops = ops
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}
        self._next: dict[str, Future[None]] = {}

    def sync(self, path: str) -> None:
        with self._lock:
            joined = self._next.get(path)
            running = self._running.get(path)
            mine: Future[None] = Future()
            if running is None:
                self._running[path] = mine
            elif joined is None:
                self._next[path] = mine
        if joined is not None:
            joined.result()
            return
        if running is not None:
            running.exception()  # waits; its failure is its own callers' affair
            with self._lock:
                self._running[path] = self._next.pop(path)
        self._lead(path, mine)

    def _lead(self, path: str, mine: Future[None]) -> None:
        error: BaseException | None = None
        try:
            fd = self._ops.open(path, _DIRECTORY_FLAGS)
            try:
                self._ops.fsync(fd)
            finally:
                self._ops.close(fd)
        except BaseException as e:
            error = e
            raise
        finally:
            with self._lock:
                # The one that waits puts itself in this place; without one it becomes free.
                if path not in self._next:
                    del self._running[path]
            if error is None:
                mine.set_result(None)
            else:
                mine.set_exception(error)


class Directories:
    """The directory tree of one store. Every method blocks and is safe in any thread."""

    def __init__(self, root: str, ops: FileOps, durable: bool) -> None:
        self.buckets = f"{root}/buckets"
        self.tmp = f"{root}/tmp"
        self._root = root
        self._ops = ops
        self._durable = durable
        self._syncs = SharedSyncs(ops)
        self._known: dict[str, tuple[int, int]] = {}

    def bucket(self, bucket_dir: str) -> str:
        check_bucket_dir(bucket_dir)
        return f"{self.buckets}/{bucket_dir}"

    def path(self, address: BlobAddress) -> str:
        digest = address.sha256.hex()
        if len(digest) != 64 or address.n < 0:
            raise ValueError("not a blob address")
        name = file_name(digest, address.n)
        return f"{self.bucket(address.bucket_dir)}/{digest[:2]}/{digest[2:4]}/{name}"

    def prepare(self) -> None:
        """Make the root, `buckets/` and `tmp/`, durably."""
        self._make_durably(self._root)
        for path in (self.buckets, self.tmp):
            self._make(path)
        if self._durable:
            # Also when they were there: an earlier start may have been cut off before its syncs.
            self._syncs.sync(self._root)
            self._syncs.sync(os.path.dirname(self._root))

    def _make_durably(self, path: str) -> None:
        parent = os.path.dirname(path)
        try:
            self._ops.mkdir(path, 0o700)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._make_durably(parent)
            self._ops.mkdir(path, 0o700)
        if self._durable:
            self._syncs.sync(parent)

    def segments(self, bucket_dir: str) -> str:
        return f"{self.bucket(bucket_dir)}/{SEGMENTS}"

    def segment(self, bucket_dir: str, number: int) -> str:
        return f"{self.bucket(bucket_dir)}/{SEGMENTS}/{number:x}"

    def make_for(self, path: str) -> None:
        """Make the directories from the bucket's down to that of a blob or segment at `path`.

        One of them may go again at once; the caller tries again.
        """
        missing = []
        directory = path.rpartition("/")[0]
        while directory != self.buckets:
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        try:
            self._make(missing[0])
        except FileNotFoundError:
            self._make(missing.pop())
            try:
                while missing:
                    self._make(missing.pop())
            except FileNotFoundError:
                pass  # a remover was quicker

    def _make(self, path: str) -> None:
        try:
            self._ops.mkdir(path, 0o700)
        except FileExistsError:
            pass

    def sync_for(self, path: str) -> None:
        """Make every directory entry on the way to the blob at `path`, and its own, durable."""
        directory = path.rpartition("/")[0]
        made: list[tuple[str, tuple[int, int]]] = []
        while True:
            identity = self._identity(directory)
            self._syncs.sync(directory)
            if directory == self.buckets:
                break
            if identity is not None:
                if self._known.get(directory) == identity:
                    break
                made.append((directory, identity))
            directory = directory.rpartition("/")[0]
        for known, identity in made:
            if len(self._known) >= KNOWN_DIRECTORIES_MAX:
                self._known.clear()
            self._known[known] = identity

    def _identity(self, path: str) -> tuple[int, int] | None:
        fd = self._ops.open(path, _DIRECTORY_FLAGS)
        try:
            return self._ops.identity(fd)
        finally:
            self._ops.close(fd)

    def remove(self, path: str) -> None:
        """Remove a blob's file or a segment, and those of its directories that are empty then.

        Idempotent.
        """
        try:
            self._ops.unlink(path)
        except FileNotFoundError:
            pass
        directory = path.rpartition("/")[0]
        while directory != self.buckets and self.remove_empty(directory):
            directory = directory.rpartition("/")[0]

    def remove_empty(self, directory: str) -> bool:
        """Whether the directory is gone now. False when something lies in it."""
        try:
            self._ops.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in _NOT_EMPTY:
                return False
            raise
        return True
