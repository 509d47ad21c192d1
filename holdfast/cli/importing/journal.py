"""What an import writes down: one file of JSON lines for each bucket, only ever appended to.

Rule: a line is written by one write(2) after what it tells of was done at the destination; killing the
process loses none, a power cut the last second. A run needs no line to go on: listings say what is
there. It needs those of versions whose ETag is not the source's ("altered", written beforehand), of
versions left out, of unfinished uploads and of documents that were put. The others tell people which
version became which.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from holdfast.cli.failure import Failure
from holdfast.cli.importing.history import NULL, History, Version

try:
    import fcntl
except ImportError:  # no lock there: two imports at once are the user's to avoid
    fcntl = None  # type: ignore[assignment]

#: tokens gathered before they are sorted into an array of eight bytes each
TOKENS_LOOSE_MAX = 250_000
_VERSION_LINE = b'{"key"'


class Tokens:
    """A set of 64-bit numbers that takes eight bytes for each."""

    def __init__(self) -> None:
        self._loose: set[int] = set()
        self._sorted: list[array[int]] = []

    def add(self, token: int) -> None:
        self._loose.add(token)
        if len(self._loose) >= TOKENS_LOOSE_MAX:
            self._sorted.append(array("Q", sorted(self._loose)))
            self._loose = set()

    def __contains__(self, token: int) -> bool:
        if token in self._loose:
            return True
        for numbers in self._sorted:
            at = bisect_left(numbers, token)
            if at < len(numbers) and numbers[at] == token:
                return True
        return False

    def __bool__(self) -> bool:
        return bool(self._loose or self._sorted)


def token_of(key: str, version: Version) -> int:
    text = json.dumps((key, version.version_id, version.etag))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _written_token(key: str, target_id: str, etag: str) -> int:
    return token_of(key, Version("" if target_id == NULL else target_id, False, 0, etag, 0.0))


class Journal:
    """Of one bucket. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: of versions that have another ETag at the destination, of versions left out
        self.altered, self.skipped = Tokens(), Tokens()
        #: upload ids by token, of uploads that were begun and not ended
        self.uploads: dict[int, str] = {}
        self.upload_keys: dict[int, str] = {}
        #: digests of bucket documents that were put, by name
        self.documents: dict[str, str] = {}
        #: this import made the bucket, or was told to import into it
        self.is_begun = False
        #: what was written, read from the file when it is first asked for
        self._written: Tokens | None = None
        self._load()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._dirty = False
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._write(b"\n")  # a line that a power cut left incomplete

    def _load(self) -> None:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if line.startswith(_VERSION_LINE):
                    continue
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # incomplete, see above
                self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        match record:
            case {"altered": int(token)}:
                self.altered.add(token)
            case {"skipped": int(token)}:
                self.skipped.add(token)
            case {"upload": str(upload_id), "token": int(token), "name": str(key)}:
                self.uploads[token] = upload_id
                self.upload_keys[token] = key
            case {"upload_ended": int(token)}:
                self.uploads.pop(token, None)
                self.upload_keys.pop(token, None)
            case {"document": str(name), "digest": str(digest)}:
                self.documents[name] = digest
            case {"begun": str()}:
                self.is_begun = True

    def _write(self, data: bytes) -> None:
        os.write(self._fd, data)
        self._dirty = True

    def note(self, **record: Any) -> None:
        """A line that a later run reads."""
        self._take(record)
        self._write(json.dumps(record).encode() + b"\n")

    def brought(self, key: str, version: Version, target_id: str, etag: str) -> None:
        """A line for people: which version became which."""
        record = {
            "key": key,
            "source_version": version.version_id,
            "target_version": target_id,
            "delete_marker": version.is_marker,
            "size": version.size,
            "etag": etag,
            "source_modified": version.modified,
        }
        self._write(json.dumps(record).encode() + b"\n")
        if self._written is not None:
            self._written.add(_written_token(key, target_id, etag))

    def has_written(self, key: str, version: Version) -> bool:
        """Whether a version of the destination is one of this import's."""
        if self._written is None:
            self._written = Tokens()
            with self.path.open("rb") as file:
                for line in file:
                    if line.startswith(_VERSION_LINE) and line.endswith(b"}\n"):
                        record = json.loads(line)
                        token = _written_token(
                            record["key"], record["target_version"], record["etag"]
                        )
                        self._written.add(token)
        return _written_token(key, version.version_id, version.etag) in self._written

    def wanted(self, key: str, history: History) -> Iterator[Version]:
        """A key's versions, oldest first, without those that were left out."""
        if not self.skipped:
            return history.oldest_first()
        return (v for v in history.oldest_first() if token_of(key, v) not in self.skipped)

    def count_skipped(self, key: str, history: History) -> int:
        return sum(token_of(key, v) in self.skipped for v in history.oldest_first())

    def comparer(self, key: str) -> Callable[[Version, Version], bool]:
        """Whether a version of the destination is what became of one of the source's."""

        def is_same(ours: Version, theirs: Version) -> bool:
            if (ours.is_marker, ours.size) != (theirs.is_marker, theirs.size):
                return False
            return ours.etag == theirs.etag or token_of(key, ours) in self.altered

        return is_same

    def sync(self) -> None:
        if self._dirty:
            self._dirty = False
            os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)

    def close(self) -> None:
        self.sync()
        os.close(self._fd)


def default_state() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "holdfast" / "imports"


class State:
    """The directory of one source and destination: a journal for each bucket, and a lock.

    `was_killed`: the run before this one did not come to its end by itself."""

    def __init__(self, base: Path, source: str, target: str) -> None:
        """Raises Failure where another import runs; OSError."""
        self.directory = base / f"{_file_name(source)}--{_file_name(target)}"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / "running"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(self._fd, 20).decode(errors="replace").strip()
            os.close(self._fd)
            raise Failure(
                f"an import from {source} to {target} is running already (process {pid})"
            ) from None
        self.was_killed = os.fstat(self._fd).st_size > 0
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def journal(self, bucket: str) -> Journal:
        return Journal(self.directory / f"{_file_name(bucket)}.jsonl")

    def end(self) -> None:
        """Of a run that knows what it did."""
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        os.close(self._fd)


def _file_name(text: str) -> str:
    return "".join(char if char.isalnum() or char in ".-_" else "_" for char in text)
