"""The closed set of changes that a decided command may ask of a store.

Rule: an effect says what becomes of rows and never looks at them: every choice was made in
`decide`. The one thing that an effect carries along is `ChangeReferences`, whose row becomes going
when it comes to zero, because references are counted relative to whatever stands there.
A store applies the effects of a command in their order, all of them or none.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.meta.records import Blob, Bucket, ObjectVersion, Upload


class PutCurrent(NamedTuple):
    """The current version of its key; a current version that stands there is replaced."""

    version: ObjectVersion


class RemoveCurrent(NamedTuple):
    bucket_id: int
    key: bytes


class PutOther(NamedTuple):
    """A row behind the current one, or a delete marker."""

    version: ObjectVersion


class RemoveOther(NamedTuple):
    bucket_id: int
    key: bytes
    seq: int


class Demote(NamedTuple):
    """The current version becomes noncurrent."""

    bucket_id: int
    key: bytes


class Promote(NamedTuple):
    """A noncurrent version becomes the current one, where none is."""

    bucket_id: int
    key: bytes
    seq: int


class MoveCurrent(NamedTuple):
    """The current version of `source` becomes that of `key`, where none is."""

    bucket_id: int
    source: bytes
    key: bytes


class ChangeAttributes(NamedTuple):
    """Tags, grants and lock of a stored row become those of `version`; nothing else changes."""

    version: ObjectVersion
    is_current: bool


class PutInline(NamedTuple):
    seq: int
    data: bytes


class CopyInline(NamedTuple):
    source_seq: int
    seq: int


class DropInline(NamedTuple):
    seq: int


class AddBlob(NamedTuple):
    """A new live row with one reference."""

    blob: Blob


class ChangeReferences(NamedTuple):
    """`by` is 1 or -1. A row that comes to zero is going from `now_ms` on, for good."""

    blob_id: int
    by: int
    now_ms: int


class RemoveBlob(NamedTuple):
    blob_id: int


class AddPartList(NamedTuple):
    parts_id: int
    bucket_id: int


class ReleasePartList(NamedTuple):
    """Nothing uses the list any more; its parts are reaped later, slice by slice."""

    parts_id: int


class RemovePartList(NamedTuple):
    parts_id: int


class PartRow(NamedTuple):
    """A part as it is stored; `blob_id` 0 is inline content (or none, when size is 0)."""

    parts_id: int
    number: int
    seq: int
    size: int
    etag: str
    modified_ms: int
    blob_id: int = 0
    checksum_algorithm: str = ""
    checksum: str = ""


class WritePart(NamedTuple):
    """A part of a list; one of the same number is replaced."""

    part: PartRow


class RemovePart(NamedTuple):
    parts_id: int
    number: int


class AddUpload(NamedTuple):
    upload: Upload


class RemoveUpload(NamedTuple):
    upload_id: int


class PutBucket(NamedTuple):
    """A new bucket, or the new state of one."""

    bucket: Bucket


class EndBucket(NamedTuple):
    """The bucket is deleted; its row stays until its directory is forgotten."""

    bucket_id: int
    now_ms: int


class ForgetBucket(NamedTuple):
    bucket_id: int


class WriteDocument(NamedTuple):
    """`body` None removes it."""

    bucket_id: int
    kind: str
    body: bytes | None


class RemoveDocuments(NamedTuple):
    bucket_id: int


Effect = (
    PutCurrent
    | RemoveCurrent
    | PutOther
    | RemoveOther
    | Demote
    | Promote
    | MoveCurrent
    | ChangeAttributes
    | PutInline
    | CopyInline
    | DropInline
    | AddBlob
    | ChangeReferences
    | RemoveBlob
    | AddPartList
    | ReleasePartList
    | RemovePartList
    | WritePart
    | RemovePart
    | AddUpload
    | RemoveUpload
    | PutBucket
    | EndBucket
    | ForgetBucket
    | WriteDocument
    | RemoveDocuments
)
