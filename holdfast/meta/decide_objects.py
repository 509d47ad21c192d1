"""Versions: which row a write makes, replaces, hides or uncovers.

Follows S3's versioning: https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html
- never versioned: a key has one row, the null version; a put replaces it, a delete removes it.
- Enabled: a put adds a version, a plain delete adds a delete marker.
- Suspended: a put replaces the null version, a plain delete replaces it by a null delete marker;
  every other version stays.
Deleting a named version removes it for good and uncovers what lay behind it. Only that removes a
version that object lock may hold: a bucket with object lock is always Enabled.
"""

from __future__ import annotations

from holdfast.meta.commands import (
    Conditions,
    DeleteObject,
    ObjectDeleted,
    ObjectPut,
    PutObject,
    RenameObject,
)
from holdfast.meta.decide_attributes import CURRENT_VERSION, NULL_VERSION, check_lock
from holdfast.meta.decide_content import release, take
from holdfast.meta.effects import (
    Demote,
    Effect,
    MoveCurrent,
    Promote,
    PutCurrent,
    PutOther,
    RemoveCurrent,
    RemoveOther,
)
from holdfast.meta.records import Bucket, ObjectVersion
from holdfast.meta.state import Clock, Refusal, State, VersionState


def check_conditions(conditions: Conditions, current: VersionState | None) -> None:
    """Raises Refusal PreconditionFailed, or NoSuchKey when a version was wanted and none is."""
    unwanted = conditions.if_none_match
    if unwanted and current is not None and unwanted in ("*", current.etag):
        raise Refusal("PreconditionFailed")
    wants = conditions.if_match or conditions.if_modified_ms or conditions.if_size >= 0
    if not wants:
        return
    if current is None:
        raise Refusal("NoSuchKey")
    if conditions.if_match not in ("", "*", current.etag):
        raise Refusal("PreconditionFailed")
    wanted_s = conditions.if_modified_ms // 1000
    if wanted_s and wanted_s != current.modified_ms // 1000:
        raise Refusal("PreconditionFailed")
    if conditions.if_size >= 0 and conditions.if_size != current.size:
        raise Refusal("PreconditionFailed")


def put_object(command: PutObject, state: State, clock: Clock, effects: list[Effect]) -> ObjectPut:
    bucket = state.bucket(command.bucket_id)
    if bucket is None:
        raise Refusal("NoSuchBucket")
    current = state.current(command.bucket_id, command.key)
    check_conditions(command.conditions, current)
    seq = clock.next_seq()
    taken = take(command.content, command.size, command.bucket_id, seq, state, clock, effects)
    is_null = bucket.versioning != "Enabled"
    version = ObjectVersion(
        command.bucket_id,
        command.key,
        seq,
        command.size,
        command.etag,
        clock.now_ms,
        command.owner,
        taken.blob,
        taken.parts_id,
        taken.parts_count,
        is_null,
        False,
        command.storage_class,
        command.checksum_algorithm,
        command.checksum_type,
        command.checksum,
        command.headers,
        command.metadata,
        command.tags,
        command.lock_mode,
        command.retain_until_ms,
        command.legal_hold,
        command.encryption,
        command.acl,
    )
    write_version(version, bucket, current, state, clock, effects)
    return ObjectPut(seq, clock.now_ms, is_null, taken.redundant)


def write_version(
    version: ObjectVersion,
    bucket: Bucket,
    current: VersionState | None,
    state: State,
    clock: Clock,
    effects: list[Effect],
) -> None:
    """Make `version` the current one of its key."""
    make_way(version.key, bucket, current, state, clock, effects, replaced=True)
    effects.append(PutCurrent(version))


def make_way(
    key: bytes,
    bucket: Bucket,
    current: VersionState | None,
    state: State,
    clock: Clock,
    effects: list[Effect],
    *,
    replaced: bool,
) -> None:
    """What becomes of the rows of a key under a new version or delete marker.

    `replaced`: the new row takes the current one's place, so that needs no removal of its own.
    """
    if bucket.versioning == "Enabled":
        if current is not None:
            effects.append(Demote(bucket.id, key))
        return
    if current is not None and current.is_null:
        if not replaced:
            effects.append(RemoveCurrent(bucket.id, key))
        release(current, clock, effects)
        return
    if bucket.versioning == "Suspended":
        null = state.other_null(bucket.id, key)
        if null is not None:
            effects.append(RemoveOther(bucket.id, key, null.seq))
            release(null, clock, effects)
        if current is not None:
            effects.append(Demote(bucket.id, key))


def delete_object(
    command: DeleteObject, state: State, clock: Clock, effects: list[Effect]
) -> ObjectDeleted:
    bucket = state.bucket(command.bucket_id)
    if bucket is None:
        raise Refusal("NoSuchBucket")
    current = state.current(command.bucket_id, command.key)
    marked = current is None and bool(bucket.versioning)
    if marked and command.conditions.if_match and state.others(bucket.id, command.key, 1):
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html: a delete
        # marker does not match, where a key without versions is not found
        raise Refusal("PreconditionFailed")
    check_conditions(command.conditions, current)
    if command.seq != CURRENT_VERSION:
        return _delete_version(command, bucket, current, state, clock, effects)
    if not bucket.versioning:
        if current is None:
            return ObjectDeleted()
        effects.append(RemoveCurrent(bucket.id, command.key))
        release(current, clock, effects)
        return ObjectDeleted(current.seq, True)
    make_way(command.key, bucket, current, state, clock, effects, replaced=False)
    marker = ObjectVersion(
        bucket.id,
        command.key,
        clock.next_seq(),
        0,
        "",
        clock.now_ms,
        command.owner,
        is_null=bucket.versioning == "Suspended",
        delete_marker=True,
    )
    effects.append(PutOther(marker))
    return ObjectDeleted(marker.seq, marker.is_null, delete_marker=True, marker_made=True)


def _delete_version(
    command: DeleteObject,
    bucket: Bucket,
    current: VersionState | None,
    state: State,
    clock: Clock,
    effects: list[Effect],
) -> ObjectDeleted:
    bucket_id, key = bucket.id, command.key
    wants_null = command.seq == NULL_VERSION
    if current is not None and (current.is_null if wants_null else current.seq == command.seq):
        check_lock(command, bucket, current, state, clock)
        effects.append(RemoveCurrent(bucket_id, key))
        release(current, clock, effects)
        behind = state.others(bucket_id, key, 1)
        if behind and not behind[0].delete_marker:
            effects.append(Promote(bucket_id, key, behind[0].seq))
        return ObjectDeleted(current.seq, current.is_null)
    if wants_null:
        found = state.other_null(bucket_id, key)
    else:
        found = state.other(bucket_id, key, command.seq)
    if found is None:
        return ObjectDeleted()
    check_lock(command, bucket, found, state, clock)
    effects.append(RemoveOther(bucket_id, key, found.seq))
    release(found, clock, effects)
    if current is None:
        newest = state.others(bucket_id, key, 2)
        uncovers = newest[0].seq == found.seq and len(newest) == 2
        if uncovers and not newest[1].delete_marker:
            effects.append(Promote(bucket_id, key, newest[1].seq))
    return ObjectDeleted(found.seq, found.is_null, delete_marker=found.delete_marker)


def rename_object(
    command: RenameObject, state: State, clock: Clock, effects: list[Effect]
) -> ObjectPut:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-buckets-objects-rename.html:
    everything but the key stays. S3 has it in directory buckets only, which know no versions."""
    bucket = state.bucket(command.bucket_id)
    if bucket is None:
        raise Refusal("NoSuchBucket")
    if bucket.versioning:
        raise Refusal("NotImplemented")
    source = state.current(bucket.id, command.source)
    if source is None:
        raise Refusal("NoSuchKey")
    if command.source == command.key:
        raise Refusal("InvalidRequest")
    check_conditions(command.source_conditions, source)
    target = state.current(bucket.id, command.key)
    check_conditions(command.conditions, target)
    if target is not None:
        effects.append(RemoveCurrent(bucket.id, command.key))
        release(target, clock, effects)
    effects.append(MoveCurrent(bucket.id, command.source, command.key))
    return ObjectPut(source.seq, source.modified_ms, source.is_null)
