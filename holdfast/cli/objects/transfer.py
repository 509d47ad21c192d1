"""One job: an upload, a download or a copy, with the file's time and what a move removes.

Rule: small files go whole, on the event loop; large ones, a few at a time, in parts that a later run goes
on with, by threads over blocking sockets, which take less processor time for it than the loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from holdfast.cli.objects.compare import is_same
from holdfast.cli.objects.places import Local, Remote
from holdfast.cli.objects.plan import FRESH, Job, modified_ns, mtime_text, nanoseconds
from holdfast.client.errors import NotImplementedByServer, S3Error
from holdfast.client.options import WriteOptions
from holdfast.client.progress import ProgressCallback

if TYPE_CHECKING:
    from holdfast.client.asynchronous import AsyncObjectStore
    from holdfast.client.models import ObjectInfo
    from holdfast.client.store import ObjectStore

T = TypeVar("T")

#: as in the client: from here on a transfer is made of parts and can be resumed
LARGE_BYTES_MIN = 32 * 1024 * 1024
#: up to here an object is read at once and written without a detour
INLINE_BYTES_MAX = 256 * 1024
DIRECTORIES_KNOWN_MAX = 100_000

#: "done", "same", "planned", or what went wrong
Result = str | Exception


@dataclass(slots=True)
class Options:
    """What the commands' flags say of transfers."""

    parallel: int = 16
    dry_run: bool = False
    checksum: bool = False
    verbose: bool = False
    quiet: bool = False
    #: lines of `diff`
    differences: bool = False
    write: WriteOptions = field(default_factory=lambda: WriteOptions())


class Worker:
    """Does jobs, one at a time for each caller."""

    def __init__(
        self, store: AsyncObjectStore, blocking: ObjectStore, options: Options, large_at_once: int
    ) -> None:
        self._store = store
        self._blocking = blocking
        self._options = options
        self._large = asyncio.Semaphore(large_at_once)
        self._directories: set[str] = set()

    async def attempt(self, job: Job, item: ProgressCallback | None = None) -> Result:
        """ "done", "same", "planned", or what went wrong."""
        try:
            if job.error:
                raise ValueError(job.error)
            return await self._one(job, item)
        except (S3Error, OSError, ValueError) as error:
            return error

    async def _one(self, job: Job, item: ProgressCallback | None) -> str:
        """The status: done, same, planned."""
        if job.compare is not None and await is_same(
            self._store, job, job.compare, by_checksum=self._options.checksum
        ):
            return "same"
        if self._options.dry_run:
            return "planned"
        if isinstance(job.source, Local):
            await self._upload(job, item)
        elif isinstance(job.target, Local):
            await self._download(job, item)
        else:
            await self._copy(job, item)
        return "done"

    async def _upload(self, job: Job, item: ProgressCallback | None) -> None:
        assert isinstance(job.source, Local) and isinstance(job.target, Remote)  # noqa: PT018
        options = self._options.write.copy()
        metadata = {"mtime": mtime_text(job.modified_ns)}
        options["metadata"] = {**metadata, **options.get("metadata", {})}
        if "content_type" not in options and (kind := content_type(job.source.path)):
            options["content_type"] = kind
        path = _Path(job.source.path)
        put, bucket, key = self._store.put_object, job.target.bucket, job.target.key
        if job.size < LARGE_BYTES_MIN:
            await put(bucket, key, path, **options)
        else:
            async with self._large:
                send = partial(self._blocking.put_object, bucket, key, path, **options)
                await _in_thread(send, item)
        if job.move:
            _remove_unchanged(job)

    async def _download(self, job: Job, item: ProgressCallback | None) -> None:
        assert isinstance(job.source, Remote) and isinstance(job.target, Local)  # noqa: PT018
        path = job.target.path
        self._make_directory(os.path.dirname(path))
        if job.size <= INLINE_BYTES_MAX:
            async with await self._store.get_object(*job.source) as stream:
                data = await stream.read()  # raises where checksums don't agree
                info = stream.info
            _write_whole(path, data, _changed_ns(info))
        else:
            get = self._store.download
            if job.size < LARGE_BYTES_MIN:
                info = (await get(*job.source, path)).info
            else:
                async with self._large:
                    receive = partial(self._blocking.download, *job.source, path)
                    info = (await _in_thread(receive, item)).info
            if changed := _changed_ns(info):
                os.utime(path, ns=(changed, changed))
        if job.move:
            await self._delete_source(job.source, info.etag)

    async def _copy(self, job: Job, item: ProgressCallback | None) -> None:
        assert isinstance(job.source, Remote) and isinstance(job.target, Remote)  # noqa: PT018
        function = self._store.move_object if job.move else self._store.copy_object
        await function(*job.source, *job.target, progress=item, **self._options.write)

    async def _delete_source(self, source: Remote, etag: str) -> None:
        """Only while it is what was downloaded, where the server knows If-Match on deletes."""
        try:
            await self._store.delete_object(source.bucket, source.key, if_match=etag)
        except NotImplementedByServer:
            await self._store.delete_object(source.bucket, source.key)

    def _make_directory(self, path: str) -> None:
        if path and path not in self._directories:
            os.makedirs(path, exist_ok=True)
            if len(self._directories) >= DIRECTORIES_KNOWN_MAX:
                self._directories.clear()
            self._directories.add(path)


class _Stopped(Exception):
    """Raised in a thread's progress callback, the one place where it can be stopped."""


async def _in_thread(transfer: Callable[..., T], item: ProgressCallback | None) -> T:
    """A resumable transfer that ends within a piece when this is cancelled."""
    stopped = False

    def progress(done: int, total: int | None) -> None:
        if stopped:
            raise _Stopped
        if item is not None:
            item(done, total)

    try:
        return await asyncio.to_thread(transfer, progress=progress, resume=True)
    except asyncio.CancelledError:
        stopped = True
        raise


def _changed_ns(info: ObjectInfo) -> int:
    """A file's time as it was kept, else the object's. 0 where neither is known."""
    kept = nanoseconds(info.metadata.get("mtime", ""))
    return kept if kept is not None else modified_ns(info.last_modified)


_numbers = count()


def _write_whole(path: str, data: bytes, changed_ns: int) -> None:
    """A file appears with all its bytes and its time, or not at all. Raises OSError."""
    fresh = os.path.join(os.path.dirname(path), f"{FRESH}{os.getpid()}-{next(_numbers)}.part")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        error.filename = path  # what is asked for, not what it is called meanwhile
        raise
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if changed_ns:
                os.utime(fd, ns=(changed_ns, changed_ns))
        finally:
            os.close(fd)
        os.rename(fresh, path)
    except BaseException:
        os.unlink(fresh)
        raise


class _Path(os.PathLike[str]):
    """What the client takes as a file's name; pathlib would take longer to make than to read."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return self._path


def _remove_unchanged(job: Job) -> None:
    """A moved file goes when it still is what was sent. Raises OSError."""
    assert isinstance(job.source, Local)
    status = os.stat(job.source.path)
    if (status.st_size, status.st_mtime_ns) != (job.size, job.modified_ns):
        raise OSError(None, "it changed while it was sent, and was left", job.source.path)
    os.unlink(job.source.path)


_TYPES: dict[str, str | None] = {}
#: what is compressed is sent as it is: no Content-Encoding, which readers would undo
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def content_type(path: str) -> str | None:
    """By the name's ending."""
    ending = os.path.splitext(path)[1].lower()
    if not ending:
        return None
    if ending not in _TYPES:
        import mimetypes

        kind, encoding = mimetypes.MimeTypes().guess_type(f"name{ending}")
        if len(_TYPES) > 1000:
            _TYPES.clear()
        _TYPES[ending] = _COMPRESSED.get(encoding) if encoding else kind
    return _TYPES[ending]
