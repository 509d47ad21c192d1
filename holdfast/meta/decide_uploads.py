"""Multipart uploads: a list of parts that grows, then becomes a version or is let go.

Rule: completing moves no content: the upload's list of parts becomes the version's, and only parts
that the caller did not name are dropped. A list that nothing uses is reaped in slices, so that no
command touches an unbounded number of rows.
"""

from __future__ import annotations

from holdfast.meta.commands import (
    AbortUpload,
    CompleteUpload,
    CreateUpload,
    Done,
    ObjectPut,
    PartPut,
    PutPart,
    Reaped,
    ReapParts,
    UploadCreated,
)
from holdfast.meta.decide_content import PARTS_COUNT_MAX, release_part, take
from holdfast.meta.decide_objects import check_conditions, write_version
from holdfast.meta.effects import (
    AddPartList,
    AddUpload,
    Effect,
    PartRow,
    ReleasePartList,
    RemovePart,
    RemovePartList,
    RemoveUpload,
    WritePart,
)
from holdfast.meta.records import ObjectVersion, Part, Upload
from holdfast.meta.state import Clock, Refusal, State

REAPED_COUNT_MAX = 10_000


def create_upload(
    command: CreateUpload, state: State, clock: Clock, effects: list[Effect]
) -> UploadCreated:
    if state.bucket(command.bucket_id) is None:
        raise Refusal("NoSuchBucket")
    upload = Upload(
        clock.next_seq(),
        command.bucket_id,
        command.key,
        command.token,
        command.owner,
        clock.now_ms,
        command.storage_class,
        command.checksum_algorithm,
        command.checksum_type,
        command.headers,
        command.metadata,
        command.tags,
        command.lock_mode,
        command.retain_until_ms,
        command.legal_hold,
        command.encryption,
        command.acl,
    )
    effects.append(AddPartList(upload.id, upload.bucket_id))
    effects.append(AddUpload(upload))
    return UploadCreated(upload.id, upload.initiated_ms)


def put_part(command: PutPart, state: State, clock: Clock, effects: list[Effect]) -> PartPut:
    if state.upload(command.bucket_id, command.upload_id) is None:
        raise Refusal("NoSuchUpload")
    if not 1 <= command.number <= PARTS_COUNT_MAX:
        raise ValueError("a part's number is 1 to 10,000")
    seq = clock.next_seq()
    taken = take(command.content, command.size, command.bucket_id, seq, state, clock, effects)
    replaced = state.part(command.upload_id, command.number)
    row = PartRow(
        command.upload_id,
        command.number,
        seq,
        command.size,
        command.etag,
        clock.now_ms,
        taken.blob.id if taken.blob is not None else 0,
        command.checksum_algorithm,
        command.checksum,
    )
    effects.append(WritePart(row))
    if replaced is not None:
        release_part(replaced, clock, effects)
    part = Part(
        row.parts_id,
        row.number,
        seq,
        row.size,
        row.etag,
        row.modified_ms,
        taken.blob,
        row.checksum_algorithm,
        row.checksum,
    )
    return PartPut(part, taken.redundant)


def complete_upload(
    command: CompleteUpload, state: State, clock: Clock, effects: list[Effect]
) -> ObjectPut:
    bucket = state.bucket(command.bucket_id)
    if bucket is None:
        raise Refusal("NoSuchBucket")
    upload = state.upload(command.bucket_id, command.upload_id)
    if upload is None:
        raise Refusal("NoSuchUpload")
    current = state.current(bucket.id, upload.key)
    check_conditions(command.conditions, current)
    _keep_named_parts(command, state, clock, effects)
    effects.append(RemoveUpload(upload.id))
    is_null = bucket.versioning != "Enabled"
    version = ObjectVersion(
        bucket.id,
        upload.key,
        clock.next_seq(),
        command.size,
        command.etag,
        clock.now_ms,
        upload.owner,
        None,
        upload.id,
        len(command.parts),
        is_null,
        False,
        upload.storage_class,
        command.checksum_algorithm,
        command.checksum_type,
        command.checksum,
        upload.headers,
        upload.metadata,
        upload.tags,
        upload.lock_mode,
        upload.retain_until_ms,
        upload.legal_hold,
        upload.encryption,
        upload.acl,
    )
    write_version(version, bucket, current, state, clock, effects)
    return ObjectPut(version.seq, clock.now_ms, is_null)


def _keep_named_parts(
    command: CompleteUpload, state: State, clock: Clock, effects: list[Effect]
) -> None:
    """Drop the parts that are not named; raises Refusal when a named one is not as it was read."""
    # the usual case, and the committer holds everybody up: ten thousand parts as rows take ten times
    # as long
    if command.parts and state.part_seqs(command.upload_id, PARTS_COUNT_MAX) == command.parts:
        return
    wanted = dict(command.parts)
    if not wanted or len(wanted) != len(command.parts):
        raise Refusal("PartsChanged")
    kept = 0
    for part in state.parts(command.upload_id, PARTS_COUNT_MAX):
        if part.number not in wanted:
            effects.append(RemovePart(part.parts_id, part.number))
            release_part(part, clock, effects)
        elif wanted[part.number] == part.seq:
            kept += 1
    if kept != len(wanted):
        raise Refusal("PartsChanged")


def abort_upload(command: AbortUpload, state: State, clock: Clock, effects: list[Effect]) -> Done:
    upload = state.upload(command.bucket_id, command.upload_id)
    if upload is None:
        raise Refusal("NoSuchUpload")
    since_ms = command.unless_used_since_ms
    if since_ms and since_ms <= max(upload.initiated_ms, state.newest_part_ms(upload.id)):
        raise Refusal("UploadInUse")
    effects.append(RemoveUpload(command.upload_id))
    effects.append(ReleasePartList(command.upload_id))
    return Done()


def reap_parts(command: ReapParts, state: State, clock: Clock, effects: list[Effect]) -> Reaped:
    """One list per command, at most `limit` parts of it."""
    parts_id = state.going_part_list()
    if parts_id is None:
        return Reaped(0, False)
    limit = max(1, min(command.limit, REAPED_COUNT_MAX))
    parts = state.parts(parts_id, limit)
    for part in parts:
        effects.append(RemovePart(part.parts_id, part.number))
        release_part(part, clock, effects)
    if len(parts) < limit:
        effects.append(RemovePartList(parts_id))
    return Reaped(len(parts), True)
