"""File operations that are recorded or fail, and a model of what a power cut leaves of them.

The model is the least that POSIX promises: the bytes of a file are as of its last sync, the entries
of a directory (made, renamed, linked, unlinked) as of the directory's last sync. Whatever else was
done may be lost, all of it or any part of it, whatever the order. Real file systems lose less; a
store that survives this survives them.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from holdfast.blobs.fileops import FileOps, SystemFileOps

T = TypeVar("T")
BLOCK_BYTES = 4096


def _no_sync(fd: int, /) -> None:
    pass


class UnsyncedFileOps(SystemFileOps):
    """Syncs nothing: enough, and much faster, where it is not the real disk that loses power."""

    fsync = fdatasync = staticmethod(_no_sync)  # type: ignore[assignment]


UNSYNCED: FileOps = UnsyncedFileOps()


class _Stepping:
    """Forwards everything; what changes the disk goes through `_step`."""

    def __init__(self, inner: FileOps = UNSYNCED) -> None:
        self._inner = inner

    def _step(self, kind: str, call: Callable[[], T], *details: object) -> T:
        """Do one step. `details` name its objects: paths, descriptors, the result of `call`."""
        return call()

    def open(self, path: str, flags: int, mode: int = 0o600, /) -> int:
        kind = "create" if flags & os.O_CREAT else "open"
        return self._step(kind, lambda: self._inner.open(path, flags, mode), path)

    def close(self, fd: int, /) -> None:
        self._step("close", lambda: self._inner.close(fd), fd)

    def pwrite(self, fd: int, data: memoryview, offset: int, /) -> int:
        return self._step("write", lambda: self._inner.pwrite(fd, data, offset), fd, data, offset)

    def pwritev(self, fd: int, views: Sequence[memoryview], offset: int, /) -> int:
        return self._step(
            "write", lambda: self._inner.pwritev(fd, views, offset), fd, list(views), offset
        )

    def allocate(self, fd: int, offset: int, count: int, /) -> None:
        self._step("allocate", lambda: self._inner.allocate(fd, offset, count), fd, offset + count)

    def punch(self, fd: int, offset: int, count: int, /) -> None:
        self._step("punch", lambda: self._inner.punch(fd, offset, count), fd, offset, count)

    def lock(self, fd: int, /) -> bool:
        return self._step("lock", lambda: self._inner.lock(fd), fd)

    def seek_data(self, fd: int, offset: int, /) -> int | None:
        return self._inner.seek_data(fd, offset)

    def seek_hole(self, fd: int, offset: int, /) -> int:
        return self._inner.seek_hole(fd, offset)

    def ftruncate(self, fd: int, size: int, /) -> None:
        self._step("truncate", lambda: self._inner.ftruncate(fd, size), fd, size)

    def fsync(self, fd: int, /) -> None:
        self._step("sync", lambda: self._inner.fsync(fd), fd)

    def fdatasync(self, fd: int, /) -> None:
        self._step("sync", lambda: self._inner.fdatasync(fd), fd)

    def rename(self, source: str, target: str, /) -> None:
        self._step("rename", lambda: self._inner.rename(source, target), source, target)

    def link(self, source: str, target: str, /) -> None:
        self._step("link", lambda: self._inner.link(source, target), source, target)

    def unlink(self, path: str, /) -> None:
        self._step("unlink", lambda: self._inner.unlink(path), path)

    def mkdir(self, path: str, mode: int = 0o700, /) -> None:
        self._step("mkdir", lambda: self._inner.mkdir(path, mode), path)

    def rmdir(self, path: str, /) -> None:
        self._step("rmdir", lambda: self._inner.rmdir(path), path)

    def copy_range(self, source: int, target: int, count: int, offset: int, /) -> int:
        return self._step(
            "copy",
            lambda: self._inner.copy_range(source, target, count, offset),
            source,
            target,
            offset,
        )

    def stop_direct(self, fd: int, /) -> None:
        self._inner.stop_direct(fd)

    def identity(self, fd: int, /) -> tuple[int, int] | None:
        return self._inner.identity(fd)

    def free_bytes(self, path: str, /) -> int:
        return self._inner.free_bytes(path)


class FaultyFileOps(_Stepping):
    """Calls `before(number, kind)` ahead of every step; what that raises is the step's outcome.

    Steps are counted from 0. To die between two steps, let `before` call os._exit.
    """

    def __init__(self, before: Callable[[int, str], None], inner: FileOps = UNSYNCED) -> None:
        super().__init__(inner)
        self._before = before
        self._lock = threading.Lock()
        self.steps = 0

    def _step(self, kind: str, call: Callable[[], T], *details: object) -> T:
        with self._lock:
            number = self.steps
            self.steps += 1
        try:
            self._before(number, kind)
        except OSError:
            # The system releases the descriptor even when close reports an error (close(2)).
            if kind == "close":
                call()
            raise
        return call()


class Step(NamedTuple):
    """One recorded step. `node` numbers a file or directory; `offset` is also a new size."""

    kind: str
    path: str = ""
    target: str = ""
    node: int = 0
    data: bytes = b""
    offset: int = 0
    mark: object = None


class RecordingFileOps(_Stepping):
    """Records every step below `base`, one at a time, so that the record has the real order.

    `base` itself is there from the start, durably, and empty.
    """

    def __init__(self, base: Path, inner: FileOps = UNSYNCED) -> None:
        super().__init__(inner)
        self.base = str(base)
        self.steps: list[Step] = []
        self._lock = threading.Lock()
        self._disk = Disk(self.base)
        self._nodes: dict[int, int] = {}  # descriptor -> node

    def mark(self, value: object) -> None:
        """Put a note of the test's own into the record."""
        with self._lock:
            self.steps.append(Step("mark", mark=value))

    def _step(self, kind: str, call: Callable[[], T], *details: object) -> T:
        with self._lock:
            result = call()
            for step in self._steps_of(kind, details, result):
                self.steps.append(step)
                self._disk.apply(step)
            if kind in ("open", "create"):
                assert isinstance(result, int)
                self._nodes[result] = self._disk.find(str(details[0]))
            return result

    def _steps_of(self, kind: str, details: tuple[object, ...], result: object) -> list[Step]:
        match kind, details, result:
            case (("open" | "close" | "lock"), _, _):
                return []
            case (("create" | "unlink" | "mkdir" | "rmdir"), (str(path),), _):
                return [Step(kind, path)]
            case (("rename" | "link"), (str(path), str(target)), _):
                return [Step(kind, path, target)]
            case "sync", (int(fd),), _:
                return [Step(kind, node=self._nodes[fd])]
            case "truncate", (int(fd), int(size)), _:
                return [Step(kind, node=self._nodes[fd], offset=size)]
            case "write", (int(fd), memoryview() as data, int(offset)), int(count):
                return [Step(kind, node=self._nodes[fd], data=bytes(data[:count]), offset=offset)]
            case "write", (int(fd), list() as views, int(offset)), int(count):
                return _pieces(self._nodes[fd], views, offset, count)
            case "allocate", (int(fd), int(size)), _:
                return [Step("grow", node=self._nodes[fd], offset=size)]
            case "punch", (int(fd), int(offset), int(count)), _:
                # what is left of it when it was not synced: any part of the zeros
                return [Step("write", node=self._nodes[fd], data=bytes(count), offset=offset)]
            case "copy", (int(source), int(fd), int(offset)), int(count):
                copied = os.pread(source, count, offset)
                return [Step("write", node=self._nodes[fd], data=copied, offset=offset)]
        raise AssertionError(f"a step that the record does not know: {kind} {details}")


def _pieces(node: int, views: list[memoryview], offset: int, count: int) -> list[Step]:
    """A vectored write as several, so that each can be lost by itself: of every buffer the first
    block, where a header may be, and the rest."""
    steps = []
    for view in views:
        for piece in (view[:BLOCK_BYTES], view[BLOCK_BYTES:]):
            data = bytes(piece[:count])
            if data:
                steps.append(Step("write", node=node, data=data, offset=offset))
            offset += len(data)
            count -= len(data)
    return steps


class _Node:
    """A file or a directory: what is durable of it, and what happened since its last sync."""

    def __init__(self, is_directory: bool) -> None:
        self.is_directory = is_directory
        self.entries: dict[str, int] = {}  # as seen by programs
        self.durable_entries: dict[str, int] = {}
        self.pending_entries: list[tuple[str, int | None]] = []
        self.data = bytearray()
        self.durable_data = b""
        self.pending_data: list[Step] = []


class Disk:
    """The state of a disk after a number of steps, with what a power cut may leave of it."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._nodes = {0: _Node(is_directory=True)}

    def find(self, path: str) -> int:
        """The number of the file or directory at `path`, as programs see it."""
        if path == self._base:
            return 0
        parent, name = self._parent(path)
        return parent.entries[name]

    def _parent(self, path: str) -> tuple[_Node, str]:
        if not path.startswith(f"{self._base}/"):
            raise AssertionError(f"a step outside of {self._base}: {path}")
        *names, last = path[len(self._base) + 1 :].split("/")
        node = self._nodes[0]
        for name in names:
            node = self._nodes[node.entries[name]]
        return node, last

    def _enter(self, path: str, node: int | None) -> None:
        parent, name = self._parent(path)
        if node is None:
            del parent.entries[name]
        else:
            parent.entries[name] = node
        parent.pending_entries.append((name, node))

    def apply(self, step: Step) -> None:
        node = self._nodes[step.node]
        match step.kind:
            case "create" | "mkdir":
                number = len(self._nodes)
                self._nodes[number] = _Node(is_directory=step.kind == "mkdir")
                self._enter(step.path, number)
            case "unlink" | "rmdir":
                self._enter(step.path, None)
            case "link":
                self._enter(step.target, self.find(step.path))
            case "rename":
                self._enter(step.target, self.find(step.path))
                self._enter(step.path, None)
            case "write" | "truncate" | "grow":
                _change(node.data, step)
                node.pending_data.append(step)
            case "sync":
                node.durable_entries = dict(node.entries)
                node.pending_entries.clear()
                node.durable_data = bytes(node.data)
                node.pending_data.clear()

    def rebuild(self, into: Path, chance: random.Random | None = None) -> None:
        """Lay out in the empty directory `into` what is left after a power cut now.

        Without `chance` everything that was not synced is lost; with it, any part of it.
        """
        self._rebuild(self._nodes[0], into, chance)

    def _rebuild(self, node: _Node, path: Path, chance: random.Random | None) -> None:
        if not node.is_directory:
            path.write_bytes(_remains(node, chance))
            return
        path.mkdir(exist_ok=True)
        entries: dict[str, int | None] = dict(node.durable_entries)
        for name, number in node.pending_entries:
            if chance is not None and chance.random() < 0.5:
                entries[name] = number
        for name, number in entries.items():
            if number is not None:
                self._rebuild(self._nodes[number], path / name, chance)


def _change(data: bytearray, step: Step) -> None:
    if step.kind == "grow":
        data.extend(bytes(max(0, step.offset - len(data))))
        return
    if step.kind == "truncate":
        del data[step.offset :]
        data.extend(bytes(step.offset - len(data)))
        return
    if len(data) < step.offset:
        data.extend(bytes(step.offset - len(data)))
    data[step.offset : step.offset + len(step.data)] = step.data


def _remains(node: _Node, chance: random.Random | None) -> bytes:
    data = bytearray(node.durable_data)
    for step in node.pending_data:
        if chance is not None and chance.random() < 0.5:
            kept = chance.randint(0, len(step.data))  # a write may be torn
            _change(data, step._replace(data=step.data[:kept]))
    return bytes(data)
