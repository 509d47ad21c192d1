"""The contract of every metadata store.

Reads see every change that was answered before they began, from whichever worker (strong
consistency), each method one consistent snapshot. `submit` returns once the change is durable
(unless durability is relaxed); commands from anywhere are decided one after the other per key.
A batch shares only the sync: each command stands for itself.
Every command is sent with an id of the caller; when the outcome is unknown (the connection died),
the implementation asks again with the same id, and the command is applied exactly once.
Reads never block for other writers. All sizes of answers are bounded by the `limit` arguments.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from holdfast.meta.commands import Command, Result
from holdfast.meta.records import (
    Blob,
    Bucket,
    ListPage,
    ObjectVersion,
    Part,
    Upload,
    UploadPage,
    VersionPage,
)


class MetaUnavailable(Exception):
    """The store can't be reached within its bound, or the outcome stayed unknown. Worth a retry: 503."""


class MetaFull(MetaUnavailable):
    """No room on the disk for the change. Nothing of it was done."""


class Found(NamedTuple):
    """A version with its inline content (None: it has none, or it was not asked for)."""

    version: ObjectVersion
    data: bytes | None


class Problem(NamedTuple):
    """Something that a check found. `repairable`: the store can put it right by itself."""

    kind: str
    detail: str
    repairable: bool


#: the kind of a Problem that keeps the store from being read
DAMAGED = "damaged database"


class MetaReader(Protocol):
    def generation(self) -> int:
        """Moves before the answer to any command that changes a bucket or a document: what was read
        of those may be kept as long as it stands."""

    async def bucket(self, name: str) -> Bucket | None: ...

    async def list_buckets(
        self, owner: str | None, prefix: str = "", after: str = "", limit: int = 10_000
    ) -> list[Bucket]:
        """Buckets in name order, names greater than `after`. owner None: everybody's."""

    async def find(
        self, bucket_id: int, key: bytes, seq: int = 0, with_data: bool = False
    ) -> Found | None:
        """seq 0: the current version, or the delete marker that hides it; -1: the null version;
        else that version. None when there is none."""

    async def parts(self, parts_id: int, after_number: int = 0, limit: int = 10_000) -> list[Part]:
        """Parts in ascending order of number."""

    async def part_sizes(self, parts_id: int) -> list[tuple[int, int]]:
        """(number, size) of all parts in ascending order of number."""

    async def inline_data(self, seq: int) -> bytes | None:
        """Inline content by seq (of a part)."""

    async def upload(self, bucket_id: int, upload_id: int) -> Upload | None: ...

    async def list_objects(
        self, bucket_id: int, prefix: bytes, delimiter: bytes, after: bytes, limit: int
    ) -> ListPage:
        """Current versions (no delete markers) with key > `after`, in byte order. With a delimiter,
        keys that have it behind the prefix are rolled up; a common prefix counts as one entry and
        is found by one seek, however many keys it hides. An `after` that lies inside a common
        prefix, or equals it, skips that prefix whole. limit 0: an empty page, not truncated."""

    async def list_versions(
        self,
        bucket_id: int,
        prefix: bytes,
        delimiter: bytes,
        after_key: bytes,
        after_seq: int | None,
        limit: int,
    ) -> VersionPage:
        """All versions and delete markers. `after_seq` None: keys > `after_key` (a common prefix as in
        list_objects); else also the versions of `after_key` itself that are older than `after_seq`
        (-1: than its null version; all of them when it has none any more). limit 0: an empty page.
        """

    async def list_uploads(
        self,
        bucket_id: int,
        prefix: bytes,
        delimiter: bytes,
        after_key: bytes,
        after_upload_id: int | None,
        limit: int,
    ) -> UploadPage:
        """Uploads in progress; the arguments as in list_versions (`after_upload_id`: uploads of
        `after_key` initiated after that one)."""

    async def document(self, bucket_id: int, kind: str) -> bytes | None: ...

    async def documents(
        self, bucket_id: int, kind_prefix: str, after_kind: str = "", limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        """Documents whose kind begins with `kind_prefix` and is greater than `after_kind`: (kind,
        body) in order of kind."""

    async def going_blobs(self, before_ms: int, limit: int) -> list[tuple[Blob, str]]:
        """Blobs without references that went before `before_ms`, with their bucket directory."""

    async def blobs_after(self, blob_id: int, limit: int) -> list[tuple[Blob, str, int]]:
        """Live blobs in order of id greater than `blob_id`: (blob, bucket directory, refs)."""

    async def has_blob(self, bucket_dir: str, sha256: bytes, n: int) -> bool:
        """Whether a row, live or going, stands for this file; a file without one is garbage."""

    async def expired_uploads(
        self, before_ms: int, limit: int, after: Upload | None = None
    ) -> list[Upload]:
        """Uploads in progress that were initiated before `before_ms`, the oldest first; those
        behind `after`, the last one of the page before."""

    async def deleted_bucket_directories(self, limit: int) -> list[str]:
        """Directories of deleted buckets that have no going blob left and may still be on the disk."""

    async def check(self) -> list[Problem]:
        """Structure, reference counts recounted, dangling rows. Empty: all is well. Damage is a
        Problem, never an exception. Reads everything without a pause: not for a loop that serves."""


class MetaStore(MetaReader, Protocol):
    async def submit(self, command: Command) -> Result:
        """Decide, apply, make durable. Raises MetaUnavailable or MetaFull, then the command was
        not applied, or (Unavailable only) its outcome is unknown."""

    async def submit_all(self, commands: list[Command]) -> list[Result]:
        """The same for several at once, in order; each is atomic by itself, they may share a sync."""
