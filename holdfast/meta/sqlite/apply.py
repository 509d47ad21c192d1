"""Effects to SQL. Nothing is decided here; an effect that does not fit what stands there raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import apsw

from holdfast.meta import effects as fx
from holdfast.meta.sqlite.recent import mark_of
from holdfast.meta.sqlite.rows import (
    UPLOAD_COLUMNS,
    pack_extra,
    pack_part,
    pack_upload,
    pack_version,
)
from holdfast.meta.sqlite.state import SqliteState

_MARKS = ", ".join("?" * 17)
_UPLOAD_MARKS = ", ".join("?" * len(UPLOAD_COLUMNS.split(",")))


class EffectError(Exception):
    """An effect names a row that is not there: a fault of ours. The command must not happen."""


class Applier:
    """Applies effects in the open transaction of `connection`.

    `config_changed` is set when a bucket or a document changed, `touched` gets the marks of the keys
    whose row in `objects` changed (recent.py); the committer resets both.
    """

    def __init__(self, connection: apsw.Connection, state: SqliteState) -> None:
        self._connection = connection
        self._run = connection.cursor().execute
        self._state = state
        self.config_changed = False
        self.touched: set[int] = set()
        self._methods: dict[type, Callable[[Any], None]] = {
            fx.PutCurrent: self._put_current,
            fx.RemoveCurrent: self._remove_current,
            fx.PutOther: self._put_other,
            fx.RemoveOther: self._remove_other,
            fx.Demote: self._demote,
            fx.Promote: self._promote,
            fx.MoveCurrent: self._move_current,
            fx.ChangeAttributes: self._change_attributes,
            fx.PutInline: self._put_inline,
            fx.CopyInline: self._copy_inline,
            fx.DropInline: self._drop_inline,
            fx.AddBlob: self._add_blob,
            fx.ChangeReferences: self._change_references,
            fx.RemoveBlob: self._remove_blob,
            fx.AddPartList: self._add_part_list,
            fx.ReleasePartList: self._release_part_list,
            fx.RemovePartList: self._remove_part_list,
            fx.WritePart: self._write_part,
            fx.RemovePart: self._remove_part,
            fx.AddUpload: self._add_upload,
            fx.RemoveUpload: self._remove_upload,
            fx.PutBucket: self._put_bucket,
            fx.EndBucket: self._end_bucket,
            fx.ForgetBucket: self._forget_bucket,
            fx.WriteDocument: self._write_document,
            fx.RemoveDocuments: self._remove_documents,
        }

    def apply(self, effects: Iterable[fx.Effect]) -> None:
        methods = self._methods
        for effect in effects:
            methods[type(effect)](effect)

    def _change_one(self, sql: str, values: tuple[Any, ...]) -> None:
        self._run(sql, values)
        if self._connection.changes() != 1:
            raise EffectError(f"{sql!r} changed {self._connection.changes()} rows, not one")

    def _owner(self, bucket_id: int) -> str:
        bucket = self._state.bucket(bucket_id)
        if bucket is None:
            raise EffectError(f"no bucket {bucket_id}")
        return bucket.owner

    def _touch(self, bucket_id: int, key: bytes) -> None:
        self.touched.add(mark_of(bucket_id, key))

    def _put_current(self, effect: fx.PutCurrent) -> None:
        version = effect.version
        self._touch(version.bucket_id, version.key)
        self._run(
            f"INSERT OR REPLACE INTO objects VALUES ({_MARKS})",
            pack_version(version, self._owner(version.bucket_id)),
        )

    def _remove_current(self, effect: fx.RemoveCurrent) -> None:
        self._touch(effect.bucket_id, effect.key)
        self._change_one("DELETE FROM objects WHERE bucket_id = ? AND key = ?", effect)

    def _put_other(self, effect: fx.PutOther) -> None:
        version = effect.version
        self._run(
            f"INSERT INTO versions VALUES ({_MARKS})",
            pack_version(version, self._owner(version.bucket_id)),
        )

    def _remove_other(self, effect: fx.RemoveOther) -> None:
        self._change_one("DELETE FROM versions WHERE bucket_id = ? AND key = ? AND seq = ?", effect)

    def _demote(self, effect: fx.Demote) -> None:
        self._touch(effect.bucket_id, effect.key)
        self._change_one(
            "INSERT INTO versions SELECT * FROM objects WHERE bucket_id = ? AND key = ?", effect
        )
        self._change_one("DELETE FROM objects WHERE bucket_id = ? AND key = ?", effect)

    def _promote(self, effect: fx.Promote) -> None:
        where = "WHERE bucket_id = ? AND key = ? AND seq = ?"
        self._change_one(f"INSERT INTO objects SELECT * FROM versions {where}", effect)
        self._change_one(f"DELETE FROM versions {where}", effect)

    def _move_current(self, effect: fx.MoveCurrent) -> None:
        self._touch(effect.bucket_id, effect.source)
        self._touch(effect.bucket_id, effect.key)
        self._change_one("UPDATE objects SET key = ?3 WHERE bucket_id = ?1 AND key = ?2", effect)

    def _change_attributes(self, effect: fx.ChangeAttributes) -> None:
        version = effect.version
        self._touch(version.bucket_id, version.key)
        self._change_one(
            f"UPDATE {'objects' if effect.is_current else 'versions'} SET extra = ?"
            " WHERE bucket_id = ? AND key = ? AND seq = ?",
            (pack_extra(version), version.bucket_id, version.key, version.seq),
        )

    def _put_inline(self, effect: fx.PutInline) -> None:
        self._run("INSERT INTO inline VALUES (?, ?)", effect)

    def _copy_inline(self, effect: fx.CopyInline) -> None:
        self._change_one("INSERT INTO inline SELECT ?2, data FROM inline WHERE seq = ?1", effect)

    def _drop_inline(self, effect: fx.DropInline) -> None:
        self._change_one("DELETE FROM inline WHERE seq = ?", effect)

    def _add_blob(self, effect: fx.AddBlob) -> None:
        blob = effect.blob
        self._run(
            "INSERT INTO blobs (id, bucket_id, sha256, n, size, refs, codec, encryption)"
            " VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
            (
                blob.id,
                blob.bucket_id,
                blob.sha256,
                blob.n,
                blob.size,
                blob.codec or None,
                blob.encryption or None,
            ),
        )

    def _change_references(self, effect: fx.ChangeReferences) -> None:
        self._change_one(
            "UPDATE blobs SET refs = refs + ?2, gone_ms = iif(refs + ?2 = 0, ?3, NULL)"
            " WHERE id = ?1 AND gone_ms IS NULL",
            effect,
        )

    def _remove_blob(self, effect: fx.RemoveBlob) -> None:
        self._run("DELETE FROM blobs WHERE id = ? AND gone_ms IS NOT NULL", effect)

    def _add_part_list(self, effect: fx.AddPartList) -> None:
        self._run("INSERT INTO part_lists VALUES (?, ?, 0)", effect)

    def _release_part_list(self, effect: fx.ReleasePartList) -> None:
        self._change_one("UPDATE part_lists SET going = 1 WHERE id = ? AND going = 0", effect)

    def _remove_part_list(self, effect: fx.RemovePartList) -> None:
        self._change_one("DELETE FROM part_lists WHERE id = ? AND going = 1", effect)

    def _write_part(self, effect: fx.WritePart) -> None:
        self._run(
            "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            pack_part(effect.part),
        )

    def _remove_part(self, effect: fx.RemovePart) -> None:
        self._change_one("DELETE FROM parts WHERE parts_id = ? AND number = ?", effect)

    def _add_upload(self, effect: fx.AddUpload) -> None:
        self._run(f"INSERT INTO uploads VALUES ({_UPLOAD_MARKS})", pack_upload(effect.upload))

    def _remove_upload(self, effect: fx.RemoveUpload) -> None:
        self._change_one("DELETE FROM uploads WHERE id = ?", effect)

    def _put_bucket(self, effect: fx.PutBucket) -> None:
        bucket = effect.bucket
        self._bucket_changes(bucket.id)
        self._run(
            "INSERT INTO buckets VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (id) DO UPDATE"
            " SET versioning = excluded.versioning, object_lock = excluded.object_lock",
            (
                bucket.id,
                bucket.name,
                bucket.owner,
                bucket.created_ms,
                bucket.region,
                bucket.versioning,
                bucket.object_lock,
            ),
        )

    def _end_bucket(self, effect: fx.EndBucket) -> None:
        self._bucket_changes(effect.bucket_id)
        self._change_one(
            "UPDATE buckets SET deleted_ms = ?2 WHERE id = ?1 AND deleted_ms IS NULL", effect
        )

    def _forget_bucket(self, effect: fx.ForgetBucket) -> None:
        self._bucket_changes(effect.bucket_id)
        self._run("DELETE FROM buckets WHERE id = ? AND deleted_ms IS NOT NULL", effect)

    def _bucket_changes(self, bucket_id: int) -> None:
        self._state.buckets.pop(bucket_id, None)
        self.config_changed = True

    def _write_document(self, effect: fx.WriteDocument) -> None:
        self.config_changed = True
        if effect.body is None:
            self._run(
                "DELETE FROM documents WHERE bucket_id = ? AND kind = ?",
                (effect.bucket_id, effect.kind),
            )
        else:
            self._run("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", effect)

    def _remove_documents(self, effect: fx.RemoveDocuments) -> None:
        self.config_changed = True
        self._run("DELETE FROM documents WHERE bucket_id = ?", effect)
