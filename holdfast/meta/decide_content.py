"""What becomes of content when a version or a part takes it or lets it go.

Rule: references are taken before others are dropped, so content that a command both takes and
drops is never going in between. A going blob is never taken again: a new upload of the same bytes
gets a row and a file of its own (invariant 4).
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.meta.commands import (
    Content,
    InlineContent,
    NewParts,
    SharedContent,
    SharedParts,
    StoredContent,
)
from holdfast.meta.effects import (
    AddBlob,
    AddPartList,
    ChangeReferences,
    CopyInline,
    DropInline,
    Effect,
    PartRow,
    PutInline,
    ReleasePartList,
    WritePart,
)
from holdfast.meta.records import Blob
from holdfast.meta.state import Clock, Refusal, State, VersionState

PARTS_COUNT_MAX = 10_000


class Taken(NamedTuple):
    """Content that a version now holds. `redundant`: the caller's file is not needed."""

    blob: Blob | None = None
    parts_id: int = 0
    parts_count: int = 0
    redundant: bool = False


INLINE = Taken()


def take(
    content: Content,
    size: int,
    bucket_id: int,
    seq: int,
    state: State,
    clock: Clock,
    effects: list[Effect],
) -> Taken:
    """Let the version or part `seq` take `content`. Raises Refusal StaleContent or ContentGone."""
    if isinstance(content, InlineContent):
        if len(content.data) != size:
            raise ValueError("inline content is not as long as its size says")
        if size:
            effects.append(PutInline(seq, content.data))
        return INLINE
    if isinstance(content, StoredContent):
        return _take_stored(content, bucket_id, state, clock, effects, {})
    if isinstance(content, SharedContent):
        blob = state.live_blob_by_id(bucket_id, content.blob_id)
        if blob is None:
            raise Refusal("ContentGone")
        effects.append(ChangeReferences(blob.id, 1, clock.now_ms))
        return Taken(blob)
    if isinstance(content, SharedParts):
        return _take_shared_parts(content, bucket_id, state, clock, effects)
    return _take_new_parts(content, bucket_id, state, clock, effects)


def release(version: VersionState, clock: Clock, effects: list[Effect]) -> None:
    """Drop what a version holds that is being removed."""
    if version.parts_id:
        effects.append(ReleasePartList(version.parts_id))
    elif version.blob_id:
        effects.append(ChangeReferences(version.blob_id, -1, clock.now_ms))
    elif version.size:
        effects.append(DropInline(version.seq))


def release_part(part: PartRow, clock: Clock, effects: list[Effect]) -> None:
    """Drop what a part holds that is being removed or replaced."""
    if part.blob_id:
        effects.append(ChangeReferences(part.blob_id, -1, clock.now_ms))
    elif part.size:
        effects.append(DropInline(part.seq))


def _take_stored(
    content: StoredContent,
    bucket_id: int,
    state: State,
    clock: Clock,
    effects: list[Effect],
    fresh: dict[bytes, Blob],
) -> Taken:
    """`fresh` holds the blobs that this very command has added."""
    if clock.now_ms - content.written_ms > clock.grace_ms // 2:
        raise Refusal("StaleContent")
    blob = fresh.get(content.sha256) or state.live_blob(bucket_id, content.sha256)
    if blob is not None:
        effects.append(ChangeReferences(blob.id, 1, clock.now_ms))
        return Taken(blob, redundant=blob.n != content.n)
    blob = Blob(clock.next_seq(), bucket_id, content.sha256, content.n, content.size)
    effects.append(AddBlob(blob))
    fresh[content.sha256] = blob
    return Taken(blob)


def _take_shared_parts(
    content: SharedParts, bucket_id: int, state: State, clock: Clock, effects: list[Effect]
) -> Taken:
    if state.part_list(content.parts_id) != bucket_id:
        raise Refusal("ContentGone")
    parts_id = clock.next_seq()
    effects.append(AddPartList(parts_id, bucket_id))
    parts = state.parts(content.parts_id, PARTS_COUNT_MAX)
    for part in parts:
        seq = clock.next_seq()
        if part.blob_id:
            effects.append(ChangeReferences(part.blob_id, 1, clock.now_ms))
        elif part.size:
            effects.append(CopyInline(part.seq, seq))
        effects.append(WritePart(part._replace(parts_id=parts_id, seq=seq)))
    return Taken(parts_id=parts_id, parts_count=len(parts))


def _take_new_parts(
    content: NewParts, bucket_id: int, state: State, clock: Clock, effects: list[Effect]
) -> Taken:
    parts_id = clock.next_seq()
    effects.append(AddPartList(parts_id, bucket_id))
    fresh: dict[bytes, Blob] = {}
    numbers = [part.number for part in content.parts]
    if not numbers or numbers != sorted(set(numbers)) or len(numbers) > PARTS_COUNT_MAX:
        raise ValueError("the numbers of new parts must ascend and be at most 10,000")
    stored, redundant = 0, 0
    for part in content.parts:
        seq = clock.next_seq()
        blob_id = 0
        if isinstance(part.content, StoredContent):
            taken = _take_stored(part.content, bucket_id, state, clock, effects, fresh)
            assert taken.blob is not None
            blob_id = taken.blob.id
            stored += 1
            redundant += taken.redundant
        else:
            take(part.content, part.size, bucket_id, seq, state, clock, effects)
        effects.append(
            WritePart(
                PartRow(
                    parts_id,
                    part.number,
                    seq,
                    part.size,
                    part.etag,
                    clock.now_ms,
                    blob_id,
                    part.checksum_algorithm,
                    part.checksum,
                )
            )
        )
    # One answer stands for all files: a single redundant one among others is left to the sweep.
    return Taken(
        parts_id=parts_id,
        parts_count=len(content.parts),
        redundant=stored > 0 and redundant == stored,
    )
