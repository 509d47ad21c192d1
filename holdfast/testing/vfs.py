"""A SQLite VFS that records what reaches the disk, to show what a power cut would leave.

Rule: only what was synced is sure to survive. `PowerCut.images` rebuilds, for a point in the
record, the files as a power cut at that point may leave them: every write since the last sync of
its file lost, or any of them kept. Shared memory (the WAL's index) is not recorded: it does not
survive a power cut, and SQLite rebuilds it.
"""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any, NamedTuple

import apsw


class Write(NamedTuple):
    name: str
    offset: int
    data: bytes


class Truncate(NamedTuple):
    name: str
    size: int


class Sync(NamedTuple):
    name: str


class Delete(NamedTuple):
    name: str


class Mark(NamedTuple):
    """Something that the test itself wants to know the place of."""

    what: Any


Step = Write | Truncate | Sync | Delete | Mark


class Recording:
    """The steps of all threads, in their order."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._lock = threading.Lock()

    def add(self, step: Step) -> None:
        with self._lock:
            self.steps.append(step)

    def mark(self, what: Any) -> None:
        self.add(Mark(what))

    def syncs(self, suffix: str) -> int:
        """How often files whose name ends so were synced."""
        return sum(isinstance(one, Sync) and one.name.endswith(suffix) for one in self.steps)


class PowerCut:
    """Plays the steps of a recording, and can tell at any time what would be left of the files."""

    def __init__(self) -> None:
        self._durable: dict[str, bytearray] = {}
        self._unsynced: dict[str, list[Write | Truncate]] = {}

    def play(self, step: Step) -> None:
        if isinstance(step, Write | Truncate):
            self._unsynced.setdefault(step.name, []).append(step)
        elif isinstance(step, Sync):
            image = self._durable.setdefault(step.name, bytearray())
            for one in self._unsynced.pop(step.name, []):
                _apply(image, one)
        elif isinstance(step, Delete):
            self._durable.pop(step.name, None)
            self._unsynced.pop(step.name, None)

    def images(self, kept: random.Random | None = None) -> dict[str, bytes]:
        """Contents by base name: without any unsynced step, or with those that `kept` picks."""
        images = {name: bytearray(image) for name, image in self._durable.items()}
        if kept is not None:
            for name, steps in self._unsynced.items():
                chosen = [one for one in steps if kept.random() < 0.5]
                image = images.setdefault(name, bytearray())
                for one in chosen:
                    _apply(image, one)
        return {Path(name).name: bytes(image) for name, image in images.items()}


def _apply(image: bytearray, step: Write | Truncate) -> None:
    if isinstance(step, Truncate):
        del image[step.size :]
        image.extend(bytes(step.size - len(image)))
    else:
        end = step.offset + len(step.data)
        if len(image) < end:
            image.extend(bytes(end - len(image)))
        image[step.offset : end] = step.data


class RecordingVFS(apsw.VFS):
    """Registered under `name` until `unregister`; give that name as `vfs` to the committer."""

    def __init__(self, name: str, recording: Recording) -> None:
        self.name = name
        self._recording = recording
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None:  # a temporary file
            return apsw.VFSFile("", name, flags)
        return _RecordingFile(name, flags, self._recording)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._recording.add(Delete(filename))


class _RecordingFile(apsw.VFSFile):
    def __init__(
        self, name: str | apsw.URIFilename, flags: list[int], recording: Recording
    ) -> None:
        self._name = name if isinstance(name, str) else name.filename()
        self._recording = recording
        super().__init__("", name, flags)

    # A step is recorded before it happens when that makes less of it sure, afterwards otherwise.

    def xWrite(self, data: bytes, offset: int) -> None:
        self._recording.add(Write(self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._recording.add(Truncate(self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._recording.add(Sync(self._name))
