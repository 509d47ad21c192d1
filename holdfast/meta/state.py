"""What a decision may look at: the rows of its own command, read in the same transaction.

Rule: a key has at most one *current* row (an object that plain reads see) and any number of
*other* rows: noncurrent versions and delete markers. A key whose newest row is a delete marker has
no current row. `reads(command)` in `decide.py` names the rows; a store may gather them beforehand
or answer as it is asked.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from holdfast.meta.effects import PartRow
from holdfast.meta.records import Blob, Bucket, ObjectVersion, Upload

GRACE_MS = 3_600_000  # how long removed content stays on the disk


class VersionState(NamedTuple):
    """A version, as far as a decision needs it. `blob_id` and `parts_id` are 0 for none."""

    seq: int
    size: int
    etag: str
    modified_ms: int
    is_null: bool
    delete_marker: bool
    blob_id: int
    parts_id: int


class Read(NamedTuple):
    """A row, or a run of rows, that a decision looks at. `what` is one of the methods of State."""

    what: str
    key: tuple[int | str | bytes, ...]


class State(Protocol):
    def bucket(self, bucket_id: int) -> Bucket | None:
        """A bucket that is not deleted."""

    def bucket_named(self, name: str) -> Bucket | None: ...

    def buckets_owned(self, owner: str) -> int: ...

    def next_bucket_id(self) -> int:
        """An id that no bucket ever had."""

    def bucket_is_empty(self, bucket_id: int) -> bool:
        """No version, delete marker or upload."""

    def deleted_bucket(self, directory: str) -> int | None:
        """The id of the deleted bucket of this directory, when no blob and no list of it is left."""

    def current(self, bucket_id: int, key: bytes) -> VersionState | None: ...

    def others(self, bucket_id: int, key: bytes, limit: int) -> list[VersionState]:
        """The newest `limit` of the key's other rows, newest first."""

    def other(self, bucket_id: int, key: bytes, seq: int) -> VersionState | None: ...

    def other_null(self, bucket_id: int, key: bytes) -> VersionState | None: ...

    def version(self, bucket_id: int, key: bytes, seq: int) -> ObjectVersion | None:
        """The whole row of that seq, current or other."""

    def live_blob(self, bucket_id: int, sha256: bytes) -> Blob | None: ...

    def live_blob_by_id(self, bucket_id: int, blob_id: int) -> Blob | None: ...

    def blob_is_going(self, blob_id: int) -> bool: ...

    def part_list(self, parts_id: int) -> int | None:
        """The bucket of a list of parts that is in use."""

    def going_part_list(self) -> int | None:
        """A list that nothing uses any more."""

    def parts(self, parts_id: int, limit: int) -> list[PartRow]:
        """The first `limit` parts in the order of their numbers."""

    def part_seqs(self, parts_id: int, limit: int) -> list[tuple[int, int]]:
        """(number, seq) of the first `limit` parts in the order of their numbers."""

    def newest_part_ms(self, parts_id: int) -> int:
        """When the newest of its parts was stored; 0 without parts."""

    def part(self, parts_id: int, number: int) -> PartRow | None: ...

    def upload(self, bucket_id: int, upload_id: int) -> Upload | None: ...


class Clock:
    """The time of a decision and the store-wide sequence: `max(now, previous + 1)` microseconds."""

    __slots__ = ("grace_ms", "last_seq", "now_ms", "now_us")

    def __init__(self, last_seq: int = 0, grace_ms: int = GRACE_MS) -> None:
        self.last_seq = last_seq
        self.grace_ms = grace_ms
        self.now_us = 0
        self.now_ms = 0

    def set(self, now_us: int) -> None:
        self.now_us = now_us
        self.now_ms = now_us // 1000

    def next_seq(self) -> int:
        seq = self.last_seq + 1
        if seq < self.now_us:
            seq = self.now_us
        self.last_seq = seq
        return seq


class Refusal(Exception):
    """Ends a decision: nothing changes, and the command's result is `Refused(code)`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
