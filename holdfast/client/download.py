"""Downloads to a file: whole or not there at all, in parallel ranges above a size, resumable.

Rule: bytes go to a file beside the target, which gets its name when all of them are there and agree
with the server's checksum. Ranges carry If-Match, so that all are of one version. With `resume` that
file is `NAME.part` and stays after a failure, with `NAME.part.json` saying of what it is a part and
which stretches are whole; when going on, these are read again for the checksum.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from holdfast.client import checksums
from holdfast.client.backend import INLINE_BYTES_MAX
from holdfast.client.errors import ChecksumMismatch, InvalidRequest, S3Error
from holdfast.client.models import DownloadResult, ObjectInfo
from holdfast.client.options import ReadConditions
from holdfast.client.progress import Progress, ProgressCallback
from holdfast.client.reading import (
    CHUNK_BYTES,
    ObjectStream,
    ReadSpec,
    open_stream,
    whole_checksum,
)
from holdfast.client.session import Session

STATE_BYTES_MAX = 1024 * 1024
#: of a file's name: on all file systems in use 255, less what the state's name has more
NAME_BYTES_MAX = 255 - len(".json.new")
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


async def download(
    session: Session,
    spec: ReadSpec,
    path: Path,
    *,
    progress: ProgressCallback | None = None,
    resume: bool = False,
    conditions: ReadConditions | None = None,
) -> DownloadResult:
    """Raises S3Error; OSError of the local file."""
    stream = await open_stream(session, spec, None, conditions)
    return await save(session, stream, path, progress=progress, resume=resume)


async def save(
    session: Session,
    stream: ObjectStream,
    path: Path,
    *,
    progress: ProgressCallback | None = None,
    resume: bool = False,
) -> DownloadResult:
    """A stream that nothing was read from yet, to a file."""
    info = stream.info
    counter = Progress(progress, stream.size if info.size >= 0 else None)
    try:
        small = info.size < 0 or stream.size <= session.transfer.multipart_threshold
        if stream.size != info.size or stream.pos or (small and not resume) or not info.etag:
            return await _save_small(session, stream, path, counter)
        partial = _Partial(path, info, session.transfer.part_size, resume=resume)
    except BaseException:
        stream.drop()
        raise
    return await _Ranges(session, stream, partial, counter).run(path)


async def _save_small(
    session: Session, stream: ObjectStream, path: Path, progress: Progress
) -> DownloadResult:
    """One stream, one file."""
    fresh = _fresh_name(path)
    received = 0
    try:
        if 0 <= stream.size <= INLINE_BYTES_MAX:
            data = await stream.read()
            received = len(data)
            _write_file(fresh, data)
            progress.advance(received)
        else:
            buffer = memoryview(bytearray(CHUNK_BYTES))
            with contextlib.closing(_File(fresh, os.O_EXCL)) as file:
                while filled := await fill(stream, buffer):
                    await session.backend.call(file.write, buffer[:filled], received)
                    received += filled
                    progress.advance(filled)
        await stream.finish()
        fresh.replace(path)
    except BaseException:
        stream.drop()
        fresh.unlink(missing_ok=True)
        raise
    return DownloadResult(stream.info, path, received, stream.verified)


def _fresh_name(path: Path) -> Path:
    tail = f".{os.urandom(6).hex()}.part"
    return path.with_name(f".{_cut(path.name, NAME_BYTES_MAX - 1 - len(tail))}{tail}")


def _part_name(path: Path) -> Path:
    """NAME.part, the same each time; of a name too long for that, its beginning and a digest."""
    name, room = path.name, NAME_BYTES_MAX - len(".part")
    if len(os.fsencode(name)) > room:
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
        name = f"{_cut(name, room - 17)}-{digest}"
    return path.with_name(f"{name}.part")


def _cut(name: str, bytes_max: int) -> str:
    return os.fsencode(name)[:bytes_max].decode(errors="ignore")


def _write_file(path: Path, data: bytes) -> None:
    with contextlib.closing(_File(path, os.O_EXCL)) as file:
        file.write(memoryview(data), 0)


class _File:
    """A file that threads read and write by offset. One that still does when a cancelled transfer
    closes it, keeps the descriptor for as long: it never becomes another file's under its hands."""

    def __init__(self, path: Path, flags: int = 0) -> None:
        self.fd = os.open(path, _FLAGS | flags, 0o666)
        self._lock = threading.Lock()
        self._users = 1  # the owner

    @contextlib.contextmanager
    def _held(self) -> Iterator[int]:
        with self._lock:
            if not self._users:
                raise ValueError("the file is closed")
            self._users += 1
        try:
            yield self.fd
        finally:
            self.close()

    def write(self, data: memoryview, offset: int) -> None:
        with self._held() as fd:
            while data:
                if hasattr(os, "pwrite"):
                    count = os.pwrite(fd, data, offset)
                else:
                    with self._lock:
                        os.lseek(fd, offset, os.SEEK_SET)
                        count = os.write(fd, data)
                data, offset = data[count:], offset + count

    def read(self, view: memoryview, offset: int) -> int:
        with self._held() as fd:
            if hasattr(os, "preadv"):
                return os.preadv(fd, [view], offset)
            with self._lock:
                os.lseek(fd, offset, os.SEEK_SET)
                data = os.read(fd, len(view))
            view[: len(data)] = data
            return len(data)

    def close(self) -> None:
        """By the owner once, and by each user: the last one closes."""
        with self._lock:
            self._users -= 1
            if not self._users:
                os.close(self.fd)


async def fill(stream: ObjectStream, buffer: memoryview) -> int:
    """As much of the buffer as there is."""
    filled = 0
    while filled < len(buffer):
        count = await stream.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled


class _Partial:
    """The file beside the target, and what is known of it."""

    def __init__(self, path: Path, info: ObjectInfo, part_size: int, *, resume: bool) -> None:
        """Raises InvalidRequest when another process is writing it."""
        self.resume = resume
        self.path = _part_name(path) if resume else _fresh_name(path)
        self._state_path = self.path.with_name(f"{self.path.name}.json")
        self.part_size = part_size
        self.size = info.size
        self._identity = {
            "bucket": info.bucket,
            "key": info.key,
            "etag": info.etag,
            "version_id": info.version_id,
            "size": info.size,
        }
        self.file = _File(self.path, 0 if resume else os.O_EXCL)
        self._lock = threading.Lock()
        try:
            self._claim()
            self.done = self._known() if resume else set()
            if not self.done:
                os.ftruncate(self.file.fd, 0)
            os.ftruncate(self.file.fd, self.size)
        except BaseException:
            self.file.close()
            raise

    def _claim(self) -> None:
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self.file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidRequest(
                message=f"{self.path} is being written by another process"
            ) from None

    def _known(self) -> set[int]:
        """The stretches that are whole, if this is still the same object."""
        try:
            with self._state_path.open("rb") as file:
                state = json.loads(file.read(STATE_BYTES_MAX))
            size, done = int(state["part_size"]), {int(number) for number in state["done"]}
        except (OSError, ValueError, KeyError, TypeError):
            return set()
        same = all(state.get(name) == value for name, value in self._identity.items())
        if not same or size < 1 or os.fstat(self.file.fd).st_size != self.size:
            return set()
        self.part_size = size
        return {number for number in done if 0 <= number * size < self.size}

    def mark(self, number: int) -> None:
        with self._lock:
            self.done.add(number)
            if not self.resume:
                return
            fresh = self._state_path.with_name(f"{self._state_path.name}.new")
            state = self._identity | {"part_size": self.part_size, "done": sorted(self.done)}
            fresh.write_text(json.dumps(state))
            fresh.replace(self._state_path)

    def finish(self, path: Path) -> None:
        self.file.close()
        self.path.replace(path)
        self._state_path.unlink(missing_ok=True)

    def give_up(self, *, keep: bool) -> None:
        self.file.close()
        if not (keep and self.resume):
            self.path.unlink(missing_ok=True)
            self._state_path.unlink(missing_ok=True)


class _Ranges:
    """The first stretch comes from the stream that was opened, the others by requests of their own."""

    def __init__(
        self, session: Session, stream: ObjectStream, partial: _Partial, progress: Progress
    ) -> None:
        self._session = session
        self._stream: ObjectStream | None = stream
        self._spec = stream.spec
        self._info = stream.info
        self._partial = partial
        self._progress = progress
        self._next = 0
        self._count = -(-partial.size // partial.part_size)
        name = whole_checksum(stream.info)
        self._algorithm = name if name and checksums.is_joinable(name) else ""
        self._sums: dict[int, tuple[str, int]] = {}
        self._received = 0

    async def run(self, path: Path) -> DownloadResult:
        if 0 in self._partial.done and self._stream is not None:
            self._stream.drop()
        try:
            await self._session.backend.each(
                self._next_number, self._one, self._session.transfer.concurrency
            )
            verified = self._verify()
        except BaseException as error:
            if self._stream is not None:
                self._stream.drop()
            self._partial.give_up(keep=not isinstance(error, ChecksumMismatch))
            if self._partial.resume and isinstance(error, S3Error):
                error.hint = f"{error.hint} To go on, call again with resume=True.".strip()
            raise
        self._partial.finish(path)
        return DownloadResult(self._info, path, self._received, verified)

    async def _next_number(self) -> int | None:
        number = self._next
        if number >= self._count:
            return None
        self._next += 1
        return number

    async def _one(self, number: int) -> None:
        first = number * self._partial.part_size
        end = min(first + self._partial.part_size, self._partial.size)
        state = checksums.running(self._algorithm) if self._algorithm else None
        if number in self._partial.done:
            await self._session.backend.call(self._read_again, first, end, state)
        else:
            await self._receive(number, first, end, state)
        if state is not None:
            self._sums[number] = (checksums.encoded(state.digest()), end - first)

    def _read_again(self, first: int, end: int, state: checksums.Running | None) -> None:
        buffer = memoryview(bytearray(CHUNK_BYTES))
        at = first
        while at < end and state is not None:
            count = self._partial.file.read(buffer[: min(CHUNK_BYTES, end - at)], at)
            if not count:
                raise InvalidRequest(message=f"{self._partial.path} became shorter")
            state.update(buffer[:count])
            at += count
        self._progress.advance(end - first)

    async def _receive(
        self, number: int, first: int, end: int, state: checksums.Running | None
    ) -> None:
        stream = None
        if number == 0:
            stream, self._stream = self._stream, None
        if stream is None:
            conditions: ReadConditions = {"if_match": self._info.etag}
            stream = await open_stream(self._session, self._spec, (first, end), conditions)
        buffer = memoryview(bytearray(min(CHUNK_BYTES, end - first)))
        at = first
        try:
            while at < end:
                count = await fill(stream, buffer[: min(len(buffer), end - at)])
                if not count:
                    raise InvalidRequest(message="the object became shorter")
                piece = buffer[:count]
                if state is not None:
                    state.update(piece)
                await self._session.backend.call(self._partial.file.write, piece, at)
                at += count
                self._progress.advance(count)
        except BaseException:
            stream.drop()
            raise
        await stream.finish()
        self._partial.mark(number)
        self._received += end - first

    def _verify(self) -> str:
        if not self._algorithm:
            return ""
        found = checksums.joined(self._algorithm, [self._sums[n] for n in range(self._count)])
        if self._count and found != self._info.checksums[self._algorithm]:
            raise ChecksumMismatch(
                message=f"{self._algorithm} of what arrived is {found}, "
                f"the server's {self._info.checksums[self._algorithm]}",
                resource=f"{self._info.bucket}/{self._info.key}",
            )
        return self._algorithm if self._count else ""
