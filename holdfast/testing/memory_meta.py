"""The metadata store in plain dictionaries: the model that other implementations are compared with.

It shares `decide` with every store, and nothing else: state, effects and reads are written the
simplest way that can be seen to be right. Every read looks at everything. Nothing is durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from holdfast.meta import effects as fx
from holdfast.meta.commands import Command, Result
from holdfast.meta.contract import Found, MetaUnavailable, Problem
from holdfast.meta.decide import decide
from holdfast.meta.effects import PartRow
from holdfast.meta.records import (
    Blob,
    Bucket,
    ListEntry,
    ListPage,
    ObjectVersion,
    Part,
    Upload,
    UploadPage,
    VersionEntry,
    VersionPage,
)
from holdfast.meta.state import GRACE_MS, Clock, VersionState

T = TypeVar("T")
Place = tuple[bytes, int]  # a key, and the order of its rows


class BlobRow:
    """A blob with its references; `gone_ms` 0 while it is live."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.refs = 1
        self.gone_ms = 0


class MemoryState:
    """All rows, and the state that decisions look at."""

    def __init__(self) -> None:
        self.buckets: dict[int, Bucket] = {}
        self.deleted: dict[int, Bucket] = {}
        self.last_bucket_id = 0
        self.current_rows: dict[tuple[int, bytes], ObjectVersion] = {}
        self.other_rows: dict[tuple[int, bytes, int], ObjectVersion] = {}
        self.inline: dict[int, bytes] = {}
        self.blobs: dict[int, BlobRow] = {}
        self.part_lists: dict[int, tuple[int, bool]] = {}  # bucket, going
        self.part_rows: dict[tuple[int, int], PartRow] = {}
        self.uploads: dict[int, Upload] = {}
        self.documents: dict[tuple[int, str], bytes] = {}

    # -- State ---------------------------------------------------------------------------------

    def bucket(self, bucket_id: int) -> Bucket | None:
        return self.buckets.get(bucket_id)

    def bucket_named(self, name: str) -> Bucket | None:
        return next((one for one in self.buckets.values() if one.name == name), None)

    def buckets_owned(self, owner: str) -> int:
        return sum(one.owner == owner for one in self.buckets.values())

    def next_bucket_id(self) -> int:
        return self.last_bucket_id + 1

    def bucket_is_empty(self, bucket_id: int) -> bool:
        rows = [*self.current_rows, *self.other_rows]
        uploads = [one.bucket_id for one in self.uploads.values()]
        return bucket_id not in [row[0] for row in rows] + uploads

    def deleted_bucket(self, directory: str) -> int | None:
        found = [one.id for one in self.deleted.values() if one.directory == directory]
        return found[0] if found and self.directory_is_empty(found[0]) else None

    def directory_is_empty(self, bucket_id: int) -> bool:
        return not any(row.blob.bucket_id == bucket_id for row in self.blobs.values()) and not any(
            bucket == bucket_id for bucket, _ in self.part_lists.values()
        )

    def current(self, bucket_id: int, key: bytes) -> VersionState | None:
        version = self.current_rows.get((bucket_id, key))
        return None if version is None else _state_of(version)

    def sorted_others(self, bucket_id: int, key: bytes) -> list[ObjectVersion]:
        rows = [
            row for row in self.other_rows.values() if (row.bucket_id, row.key) == (bucket_id, key)
        ]
        return sorted(rows, key=lambda row: -row.seq)

    def others(self, bucket_id: int, key: bytes, limit: int) -> list[VersionState]:
        return [_state_of(row) for row in self.sorted_others(bucket_id, key)[:limit]]

    def other(self, bucket_id: int, key: bytes, seq: int) -> VersionState | None:
        version = self.other_rows.get((bucket_id, key, seq))
        return None if version is None else _state_of(version)

    def other_null(self, bucket_id: int, key: bytes) -> VersionState | None:
        nulls = [row for row in self.sorted_others(bucket_id, key) if row.is_null]
        assert len(nulls) <= 1
        return _state_of(nulls[0]) if nulls else None

    def version(self, bucket_id: int, key: bytes, seq: int) -> ObjectVersion | None:
        current = self.current_rows.get((bucket_id, key))
        if current is not None and current.seq == seq:
            return current
        return self.other_rows.get((bucket_id, key, seq))

    def live_blob(self, bucket_id: int, sha256: bytes) -> Blob | None:
        for row in self.blobs.values():
            if (row.blob.bucket_id, row.blob.sha256) == (bucket_id, sha256) and not row.gone_ms:
                return row.blob
        return None

    def live_blob_by_id(self, bucket_id: int, blob_id: int) -> Blob | None:
        row = self.blobs.get(blob_id)
        live = row is not None and not row.gone_ms and row.blob.bucket_id == bucket_id
        return row.blob if row is not None and live else None

    def blob_is_going(self, blob_id: int) -> bool:
        return blob_id in self.blobs and self.blobs[blob_id].gone_ms > 0

    def part_list(self, parts_id: int) -> int | None:
        bucket_id, going = self.part_lists.get(parts_id, (0, True))
        return None if going else bucket_id

    def going_part_list(self) -> int | None:
        going = [(row[0], id) for id, row in self.part_lists.items() if row[1]]
        return min(going)[1] if going else None

    def parts(self, parts_id: int, limit: int) -> list[PartRow]:
        rows = [row for row in self.part_rows.values() if row.parts_id == parts_id]
        return sorted(rows, key=lambda row: row.number)[:limit]

    def part_seqs(self, parts_id: int, limit: int) -> list[tuple[int, int]]:
        return [(row.number, row.seq) for row in self.parts(parts_id, limit)]

    def newest_part_ms(self, parts_id: int) -> int:
        return max((row.modified_ms for row in self.parts(parts_id, 10_000)), default=0)

    def part(self, parts_id: int, number: int) -> PartRow | None:
        return self.part_rows.get((parts_id, number))

    def upload(self, bucket_id: int, upload_id: int) -> Upload | None:
        upload = self.uploads.get(upload_id)
        return upload if upload is not None and upload.bucket_id == bucket_id else None

    # -- effects -------------------------------------------------------------------------------

    def apply(self, effect: fx.Effect) -> None:
        _METHODS[type(effect)](self, effect)

    def put_current(self, effect: fx.PutCurrent) -> None:
        self.current_rows[effect.version.bucket_id, effect.version.key] = effect.version

    def remove_current(self, effect: fx.RemoveCurrent) -> None:
        del self.current_rows[effect.bucket_id, effect.key]

    def put_other(self, effect: fx.PutOther) -> None:
        version = effect.version
        self.other_rows[version.bucket_id, version.key, version.seq] = version

    def remove_other(self, effect: fx.RemoveOther) -> None:
        del self.other_rows[effect.bucket_id, effect.key, effect.seq]

    def demote(self, effect: fx.Demote) -> None:
        version = self.current_rows.pop((effect.bucket_id, effect.key))
        self.other_rows[effect.bucket_id, effect.key, version.seq] = version

    def promote(self, effect: fx.Promote) -> None:
        version = self.other_rows.pop((effect.bucket_id, effect.key, effect.seq))
        assert (effect.bucket_id, effect.key) not in self.current_rows
        self.current_rows[effect.bucket_id, effect.key] = version

    def move_current(self, effect: fx.MoveCurrent) -> None:
        assert (effect.bucket_id, effect.key) not in self.current_rows
        version = self.current_rows.pop((effect.bucket_id, effect.source))
        moved = msgspec.structs.replace(version, key=effect.key)
        self.current_rows[effect.bucket_id, effect.key] = moved

    def change_attributes(self, effect: fx.ChangeAttributes) -> None:
        version = effect.version
        if effect.is_current:
            assert self.current_rows[version.bucket_id, version.key].seq == version.seq
            self.current_rows[version.bucket_id, version.key] = version
        else:
            assert (version.bucket_id, version.key, version.seq) in self.other_rows
            self.other_rows[version.bucket_id, version.key, version.seq] = version

    def put_inline(self, effect: fx.PutInline) -> None:
        assert effect.seq not in self.inline
        self.inline[effect.seq] = effect.data

    def copy_inline(self, effect: fx.CopyInline) -> None:
        self.inline[effect.seq] = self.inline[effect.source_seq]

    def drop_inline(self, effect: fx.DropInline) -> None:
        del self.inline[effect.seq]

    def add_blob(self, effect: fx.AddBlob) -> None:
        self.blobs[effect.blob.id] = BlobRow(effect.blob)

    def change_references(self, effect: fx.ChangeReferences) -> None:
        row = self.blobs[effect.blob_id]
        assert not row.gone_ms, "a going blob is never revived"
        row.refs += effect.by
        if row.refs == 0:
            row.gone_ms = effect.now_ms

    def remove_blob(self, effect: fx.RemoveBlob) -> None:
        del self.blobs[effect.blob_id]

    def add_part_list(self, effect: fx.AddPartList) -> None:
        self.part_lists[effect.parts_id] = (effect.bucket_id, False)

    def release_part_list(self, effect: fx.ReleasePartList) -> None:
        self.part_lists[effect.parts_id] = (self.part_lists[effect.parts_id][0], True)

    def remove_part_list(self, effect: fx.RemovePartList) -> None:
        del self.part_lists[effect.parts_id]

    def write_part(self, effect: fx.WritePart) -> None:
        self.part_rows[effect.part.parts_id, effect.part.number] = effect.part

    def remove_part(self, effect: fx.RemovePart) -> None:
        del self.part_rows[effect.parts_id, effect.number]

    def add_upload(self, effect: fx.AddUpload) -> None:
        self.uploads[effect.upload.id] = effect.upload

    def remove_upload(self, effect: fx.RemoveUpload) -> None:
        del self.uploads[effect.upload_id]

    def put_bucket(self, effect: fx.PutBucket) -> None:
        self.buckets[effect.bucket.id] = effect.bucket
        self.last_bucket_id = max(self.last_bucket_id, effect.bucket.id)

    def end_bucket(self, effect: fx.EndBucket) -> None:
        self.deleted[effect.bucket_id] = self.buckets.pop(effect.bucket_id)

    def forget_bucket(self, effect: fx.ForgetBucket) -> None:
        self.deleted.pop(effect.bucket_id, None)

    def write_document(self, effect: fx.WriteDocument) -> None:
        if effect.body is None:
            self.documents.pop((effect.bucket_id, effect.kind), None)
        else:
            self.documents[effect.bucket_id, effect.kind] = effect.body

    def remove_documents(self, effect: fx.RemoveDocuments) -> None:
        for key in [key for key in self.documents if key[0] == effect.bucket_id]:
            del self.documents[key]


_METHODS: dict[type, Callable[[MemoryState, Any], None]] = {
    fx.PutCurrent: MemoryState.put_current,
    fx.RemoveCurrent: MemoryState.remove_current,
    fx.PutOther: MemoryState.put_other,
    fx.RemoveOther: MemoryState.remove_other,
    fx.Demote: MemoryState.demote,
    fx.Promote: MemoryState.promote,
    fx.MoveCurrent: MemoryState.move_current,
    fx.ChangeAttributes: MemoryState.change_attributes,
    fx.PutInline: MemoryState.put_inline,
    fx.CopyInline: MemoryState.copy_inline,
    fx.DropInline: MemoryState.drop_inline,
    fx.AddBlob: MemoryState.add_blob,
    fx.ChangeReferences: MemoryState.change_references,
    fx.RemoveBlob: MemoryState.remove_blob,
    fx.AddPartList: MemoryState.add_part_list,
    fx.ReleasePartList: MemoryState.release_part_list,
    fx.RemovePartList: MemoryState.remove_part_list,
    fx.WritePart: MemoryState.write_part,
    fx.RemovePart: MemoryState.remove_part,
    fx.AddUpload: MemoryState.add_upload,
    fx.RemoveUpload: MemoryState.remove_upload,
    fx.PutBucket: MemoryState.put_bucket,
    fx.EndBucket: MemoryState.end_bucket,
    fx.ForgetBucket: MemoryState.forget_bucket,
    fx.WriteDocument: MemoryState.write_document,
    fx.RemoveDocuments: MemoryState.remove_documents,
}


def _state_of(version: ObjectVersion) -> VersionState:
    return VersionState(
        version.seq,
        version.size,
        version.etag,
        version.modified_ms,
        version.is_null,
        version.delete_marker,
        version.blob.id if version.blob is not None else 0,
        version.parts_id,
    )


_CONFIGURING = (
    fx.PutBucket,
    fx.EndBucket,
    fx.ForgetBucket,
    fx.WriteDocument,
    fx.RemoveDocuments,
)


class MemoryMetaStore:
    """Implements MetaStore. `now_us` is the clock, microseconds since the epoch."""

    def __init__(
        self, *, now_us: Callable[[], int] | None = None, grace_ms: int = GRACE_MS
    ) -> None:
        self.state = MemoryState()
        self.clock = Clock(grace_ms=grace_ms)
        self._now_us = now_us or (lambda: time.time_ns() // 1000)
        self._generation = 1

    async def submit(self, command: Command) -> Result:
        self.clock.set(self._now_us())
        try:
            result, effects = decide(command, self.state, self.clock)
        except ValueError as error:
            raise MetaUnavailable(str(error)) from error
        for effect in effects:
            self.state.apply(effect)
        if any(isinstance(effect, _CONFIGURING) for effect in effects):
            self._generation += 1
        return result

    async def submit_all(self, commands: list[Command]) -> list[Result]:
        return [await self.submit(command) for command in commands]

    def generation(self) -> int:
        return self._generation

    async def bucket(self, name: str) -> Bucket | None:
        return self.state.bucket_named(name)

    async def list_buckets(
        self, owner: str | None, prefix: str = "", after: str = "", limit: int = 10_000
    ) -> list[Bucket]:
        found = [
            one
            for one in self.state.buckets.values()
            if owner in (None, one.owner) and one.name.startswith(prefix) and one.name > after
        ]
        return sorted(found, key=lambda one: one.name)[:limit]

    async def find(
        self, bucket_id: int, key: bytes, seq: int = 0, with_data: bool = False
    ) -> Found | None:
        state = self.state
        current = state.current_rows.get((bucket_id, key))
        rows = ([] if current is None else [current]) + state.sorted_others(bucket_id, key)
        if seq == 0:
            rows = rows[:1]
        elif seq == -1:
            rows = [row for row in rows if row.is_null]
        else:
            rows = [row for row in rows if row.seq == seq]
        if not rows:
            return None
        # The caller may keep it; what is stored must not change with it.
        version = msgspec.structs.replace(rows[0])
        return Found(version, state.inline.get(version.seq) if with_data else None)

    async def parts(self, parts_id: int, after_number: int = 0, limit: int = 10_000) -> list[Part]:
        rows = [row for row in self.state.parts(parts_id, 10_000) if row.number > after_number]
        blobs = self.state.blobs
        return [
            Part(*row[:6], blobs[row.blob_id].blob if row.blob_id else None, *row[7:])
            for row in rows[:limit]
        ]

    async def part_sizes(self, parts_id: int) -> list[tuple[int, int]]:
        return [(row.number, row.size) for row in self.state.parts(parts_id, 10_000)]

    async def inline_data(self, seq: int) -> bytes | None:
        return self.state.inline.get(seq)

    async def upload(self, bucket_id: int, upload_id: int) -> Upload | None:
        return self.state.upload(bucket_id, upload_id)

    async def list_objects(
        self, bucket_id: int, prefix: bytes, delimiter: bytes, after: bytes, limit: int
    ) -> ListPage:
        names: dict[bytes, ObjectVersion | None] = {}
        for (bucket, key), version in sorted(self.state.current_rows.items()):
            if bucket != bucket_id or not key.startswith(prefix) or key <= after:
                continue
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            if at < 0:
                names[key] = version
                continue
            rolled_up = key[: at + len(delimiter)]
            if not after.startswith(rolled_up):
                names[rolled_up] = None
        page = list(names)[:limit]
        truncated = limit > 0 and len(names) > limit
        versions = [names[name] for name in page]
        return ListPage(
            [_entry_of(version) for version in versions if version is not None],
            [name for name in page if names[name] is None],
            truncated,
            page[-1] if truncated else b"",
        )

    async def list_versions(
        self,
        bucket_id: int,
        prefix: bytes,
        delimiter: bytes,
        after_key: bytes,
        after_seq: int | None,
        limit: int,
    ) -> VersionPage:
        state = self.state
        rows = [*state.current_rows.values(), *state.other_rows.values()]
        rows = sorted(
            (row for row in rows if row.bucket_id == bucket_id), key=lambda row: (row.key, -row.seq)
        )
        newest: dict[bytes, int] = {}
        for row in rows:
            newest.setdefault(row.key, row.seq)
        if after_seq == -1:
            nulls = [row.seq for row in rows if row.key == after_key and row.is_null]
            after_seq = nulls[0] if nulls else 1 << 63
        names = _rolled_up(
            [((row.key, -row.seq), row) for row in rows],
            prefix,
            delimiter,
            after_key,
            None if after_seq is None else -after_seq,
        )
        page = names[:limit]
        truncated = limit > 0 and len(names) > limit
        key, order = page[-1][0] if truncated else (b"", 0)
        return VersionPage(
            [_version_entry_of(one, newest[one.key] == one.seq) for _, one in page if one],
            [name for (name, _), one in page if one is None],
            truncated,
            key,
            -order,
        )

    async def list_uploads(
        self,
        bucket_id: int,
        prefix: bytes,
        delimiter: bytes,
        after_key: bytes,
        after_upload_id: int | None,
        limit: int,
    ) -> UploadPage:
        uploads = [one for one in self.state.uploads.values() if one.bucket_id == bucket_id]
        uploads.sort(key=lambda one: (one.key, one.id))
        names = _rolled_up(
            [((one.key, one.id), one) for one in uploads],
            prefix,
            delimiter,
            after_key,
            after_upload_id,
        )
        page = names[:limit]
        truncated = limit > 0 and len(names) > limit
        key, id = page[-1][0] if truncated else (b"", 0)
        return UploadPage(
            [one for _, one in page if one],
            [name for (name, _), one in page if one is None],
            truncated,
            key,
            id,
        )

    async def document(self, bucket_id: int, kind: str) -> bytes | None:
        return self.state.documents.get((bucket_id, kind))

    async def documents(
        self, bucket_id: int, kind_prefix: str, after_kind: str = "", limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        found = [
            (kind, body)
            for (bucket, kind), body in self.state.documents.items()
            if bucket == bucket_id and kind.startswith(kind_prefix) and kind > after_kind
        ]
        return sorted(found)[:limit]

    async def going_blobs(self, before_ms: int, limit: int) -> list[tuple[Blob, str]]:
        rows = [row for row in self.state.blobs.values() if 0 < row.gone_ms < before_ms]
        rows.sort(key=lambda row: row.gone_ms)
        return [(row.blob, self._directory(row.blob)) for row in rows[:limit]]

    def _directory(self, blob: Blob) -> str:
        return (self.state.buckets | self.state.deleted)[blob.bucket_id].directory

    async def blobs_after(self, blob_id: int, limit: int) -> list[tuple[Blob, str, int]]:
        rows = [row for row in self.state.blobs.values() if not row.gone_ms]
        rows = sorted((row for row in rows if row.blob.id > blob_id), key=lambda row: row.blob.id)
        return [(row.blob, self._directory(row.blob), row.refs) for row in rows[:limit]]

    async def has_blob(self, bucket_dir: str, sha256: bytes, n: int) -> bool:
        rows = [row.blob for row in self.state.blobs.values()]
        files = [(self._directory(blob), blob.sha256, blob.n) for blob in rows]
        return (bucket_dir, sha256, n) in files

    async def expired_uploads(
        self, before_ms: int, limit: int, after: Upload | None = None
    ) -> list[Upload]:
        last = (-1, -1) if after is None else (after.initiated_ms, after.id)
        aged = [((one.initiated_ms, one.id), one) for one in self.state.uploads.values()]
        found = sorted(row for row in aged if last < row[0] < (before_ms, 0))
        return [upload for _, upload in found[:limit]]

    async def deleted_bucket_directories(self, limit: int) -> list[str]:
        deleted = sorted(self.state.deleted.items())
        return [one.directory for id, one in deleted if self.state.directory_is_empty(id)][:limit]

    async def check(self) -> list[Problem]:
        state = self.state
        versions = [*state.current_rows.values(), *state.other_rows.values()]
        users = [one.blob.id for one in versions if one.blob is not None]
        users += [part.blob_id for part in state.part_rows.values() if part.blob_id]
        problems = [
            Problem("wrong reference count", f"blob {id}", True)
            for id, row in state.blobs.items()
            if row.refs != users.count(id) or (row.refs == 0) != (row.gone_ms > 0)
        ]
        problems += [
            Problem("missing blob", f"blob {id}", False) for id in users if id not in state.blobs
        ]
        owners = {one.seq for one in versions if one.blob is None and not one.parts_id and one.size}
        owners |= {one.seq for one in state.part_rows.values() if not one.blob_id and one.size}
        problems += [
            Problem("inline data", f"seq {seq}", False) for seq in owners ^ set(state.inline)
        ]
        return problems


def _entry_of(version: ObjectVersion) -> ListEntry:
    return ListEntry(
        version.key,
        version.size,
        version.etag,
        version.modified_ms,
        version.owner,
        version.storage_class,
        version.checksum_algorithm,
        version.checksum_type,
    )


def _version_entry_of(version: ObjectVersion, is_latest: bool) -> VersionEntry:
    return VersionEntry(
        version.key,
        version.seq,
        version.is_null,
        is_latest,
        version.delete_marker,
        version.size,
        version.etag,
        version.modified_ms,
        version.owner,
        version.storage_class,
        version.checksum_algorithm,
        version.checksum_type,
    )


def _rolled_up(
    rows: list[tuple[Place, T]],
    prefix: bytes,
    delimiter: bytes,
    after_key: bytes,
    after_order: int | None,
) -> list[tuple[Place, T | None]]:
    """What is behind `after_key` (and behind `after_order`, if of that key), in order: a row with
    its place, or a common prefix with order 0 and None."""
    found: dict[Place, T | None] = {}
    for (key, order), row in rows:
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if not key.startswith(prefix) or key < after_key:
            continue
        if at >= 0:
            common = key[: at + len(delimiter)]
            if key > after_key and not after_key.startswith(common):
                found[common, 0] = None
        elif key > after_key or (after_order is not None and order > after_order):
            found[key, order] = row
    return list(found.items())
