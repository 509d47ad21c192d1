"""Every write, as a value. A command is the atomic unit: it happens whole or not at all.

A command names what it wants and under which conditions; it is decided by a pure function
(`decide.py`) against the state read in the same transaction. A condition that fails is a result
(`Refused`), never an exception.
"""

from __future__ import annotations

import msgspec

from holdfast.meta.records import Bucket, Part


class InlineContent(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Small content that is kept in the database."""

    data: bytes


class StoredContent(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A file that the caller published into the bucket's directory. Adopted by the commit, or found
    redundant when a live row for that content exists. Refused (`StaleContent`) when `written_ms`
    is older than half the collector's grace time."""

    sha256: bytes
    n: int
    size: int
    written_ms: int


class SharedContent(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """One more reference to a blob row of the same bucket. `ContentGone` when it is no longer live."""

    blob_id: int


class SharedParts(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """One more reference to each part of a multipart version of the same bucket. `ContentGone`
    when that list of parts no longer exists."""

    parts_id: int


class NewPart(msgspec.Struct, frozen=True, array_like=True):
    """A part of a multipart object that is copied from another bucket."""

    number: int
    size: int
    etag: str
    content: InlineContent | StoredContent
    checksum_algorithm: str = ""
    checksum: str = ""


class NewParts(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A list of parts that comes whole (a copy from another bucket)."""

    parts: list[NewPart]


Content = InlineContent | StoredContent | SharedContent | SharedParts | NewParts


class Conditions(msgspec.Struct, frozen=True, array_like=True):
    """Conditions on the current version. ETags without quotes; "" is no condition.

    if_match: its ETag must be this one ("*": it must exist); failing is `PreconditionFailed`, or
    `NoSuchKey` when there is no current version. if_none_match: "*" (must not exist) or an ETag that
    it must not have; failing is `PreconditionFailed`. The two `if_` after them are for DeleteObject:
    0 and -1 are no condition.
    """

    if_match: str = ""
    if_none_match: str = ""
    if_modified_ms: int = 0  # x-amz-if-match-last-modified-time, whole seconds compared
    if_size: int = -1  # x-amz-if-match-size


NO_CONDITIONS = Conditions()


class CreateBucket(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """-> BucketCreated, or Refused BucketAlreadyExists / BucketAlreadyOwnedByYou / TooManyBuckets.
    `documents`: the configuration that it begins with, by kind."""

    name: str
    owner: str
    region: str
    object_lock: bool = False
    owner_buckets_max: int = 10_000
    documents: dict[str, bytes] = {}


class DeleteBucket(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """-> Done, or Refused NoSuchBucket / BucketNotEmpty (any version, delete marker or upload)."""

    bucket_id: int


class SetVersioning(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """`status`: Enabled or Suspended. -> Done, or Refused NoSuchBucket / InvalidBucketState
    (suspending a bucket that has object lock)."""

    bucket_id: int
    status: str


class EnableObjectLock(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """For good. -> Done, or Refused NoSuchBucket / InvalidBucketState (versioning not Enabled).
    `documents`: the configuration that comes with it, by kind."""

    bucket_id: int
    documents: dict[str, bytes] = {}


class PutObject(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """-> ObjectPut, or Refused NoSuchBucket / PreconditionFailed / NoSuchKey / StaleContent /
    ContentGone. Replaces the null version, or adds a version, as the bucket's versioning says."""

    bucket_id: int
    key: bytes
    size: int
    etag: str
    owner: str
    content: Content
    storage_class: str = "STANDARD"
    checksum_algorithm: str = ""
    checksum_type: str = ""
    checksum: str = ""
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    lock_mode: str = ""
    retain_until_ms: int = 0
    legal_hold: bool = False
    encryption: bytes = b""
    conditions: Conditions = NO_CONDITIONS
    acl: bytes = b""


class DeleteObject(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """-> ObjectDeleted, or Refused NoSuchBucket / PreconditionFailed (if_match also where the newest
    is a delete marker) / NoSuchKey (conditions only) / AccessDenied (a named version that object
    lock holds).

    seq 0: the current version (in a versioned bucket: adds a delete marker); -1: the null version;
    else that version. Deleting what is not there is a success.
    """

    bucket_id: int
    key: bytes
    owner: str
    seq: int = 0
    conditions: Conditions = NO_CONDITIONS
    #: the caller may delete what is only under governance, and asks for it
    bypass_governance: bool = False


class Retention(msgspec.Struct, frozen=True, array_like=True):
    """mode "": none."""

    mode: str
    until_ms: int


class ChangeVersion(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """Change what may change of a version that exists; None leaves it. -> VersionChanged, or Refused
    NoSuchBucket / NoSuchKey (seq 0) / NoSuchVersion / MethodNotAllowed (a delete marker) /
    InvalidRequest (retention or hold in a bucket without object lock) / AccessDenied (a COMPLIANCE
    retention is only prolonged; a GOVERNANCE one is shortened or removed only by bypass).

    seq as in DeleteObject.
    """

    bucket_id: int
    key: bytes
    seq: int = 0
    tags: dict[str, str] | None = None
    acl: bytes | None = None
    retention: Retention | None = None
    legal_hold: bool | None = None
    bypass_governance: bool = False


class RenameObject(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """In one step the current version of `source` becomes that of `key`; content and metadata stay.
    -> ObjectPut, or Refused NoSuchBucket / NoSuchKey (source, or `conditions` that want a target) /
    PreconditionFailed / InvalidRequest (`source` is `key`) / NotImplemented (the bucket has or had
    versioning). As in S3 the time of modification stays, and so does `seq`."""

    bucket_id: int
    source: bytes
    key: bytes
    source_conditions: Conditions = NO_CONDITIONS
    conditions: Conditions = NO_CONDITIONS


class CreateUpload(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """-> UploadCreated, or Refused NoSuchBucket."""

    bucket_id: int
    key: bytes
    token: bytes
    owner: str
    storage_class: str = "STANDARD"
    checksum_algorithm: str = ""
    checksum_type: str = ""
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    lock_mode: str = ""
    retain_until_ms: int = 0
    legal_hold: bool = False
    encryption: bytes = b""
    acl: bytes = b""


class PutPart(msgspec.Struct, frozen=True, array_like=True, tag=31):
    """-> PartPut, or Refused NoSuchUpload / StaleContent / ContentGone. Replaces a part of that number."""

    bucket_id: int
    upload_id: int
    number: int
    size: int
    etag: str
    content: InlineContent | StoredContent | SharedContent
    checksum_algorithm: str = ""
    checksum: str = ""


class CompleteUpload(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """The upload becomes a version; parts not named are dropped. -> ObjectPut, or Refused
    NoSuchUpload / NoSuchBucket / PreconditionFailed / NoSuchKey / PartsChanged (a part's seq is no
    longer what the caller read: read again). Only rows change, whatever the size."""

    bucket_id: int
    upload_id: int
    parts: list[tuple[int, int]]  # (number, seq), ascending
    size: int
    etag: str
    checksum_algorithm: str = ""
    checksum_type: str = ""
    checksum: str = ""
    conditions: Conditions = NO_CONDITIONS


class AbortUpload(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """-> Done, or Refused NoSuchUpload / UploadInUse (it was initiated, or a part of it stored, at
    or after `unless_used_since_ms`; 0: no condition)."""

    bucket_id: int
    upload_id: int
    unless_used_since_ms: int = 0


class PutDocument(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """A configuration of a bucket (bucket_id 0: of the store) by kind; None removes it. -> Done."""

    bucket_id: int
    kind: str
    body: bytes | None


class ForgetBlobs(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """The collector unlinked the files of these going rows: remove the rows. -> Done."""

    blob_ids: list[int]


class ReapParts(msgspec.Struct, frozen=True, array_like=True, tag=51):
    """Drop the references of at most `limit` parts of lists that nothing uses any more. -> Reaped."""

    limit: int = 500


class ForgetDirectories(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """The collector removed these directories of deleted buckets. -> Done."""

    directories: list[str]


Command = (
    CreateBucket
    | DeleteBucket
    | SetVersioning
    | EnableObjectLock
    | PutObject
    | DeleteObject
    | ChangeVersion
    | RenameObject
    | CreateUpload
    | PutPart
    | CompleteUpload
    | AbortUpload
    | PutDocument
    | ForgetBlobs
    | ReapParts
    | ForgetDirectories
)


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Nothing changed. `code` is one of those that the command's docstring names, or DiskFull."""

    code: str


class Done(msgspec.Struct, frozen=True, array_like=True, tag=1):
    pass


class BucketCreated(msgspec.Struct, frozen=True, array_like=True, tag=2):
    bucket: Bucket


class ObjectPut(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """`redundant`: the caller's published file was not adopted, and is the caller's to remove."""

    seq: int
    modified_ms: int
    is_null: bool
    redundant: bool = False


class ObjectDeleted(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """seq and delete_marker of what was removed, or of the marker that was made; seq 0: nothing."""

    seq: int = 0
    is_null: bool = True
    delete_marker: bool = False
    marker_made: bool = False


class UploadCreated(msgspec.Struct, frozen=True, array_like=True, tag=5):
    upload_id: int
    initiated_ms: int


class PartPut(msgspec.Struct, frozen=True, array_like=True, tag=6):
    part: Part
    redundant: bool = False


class Reaped(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """`more`: there is more to reap."""

    parts: int
    more: bool


class VersionChanged(msgspec.Struct, frozen=True, array_like=True, tag=8):
    seq: int
    is_null: bool


Result = (
    Refused
    | Done
    | BucketCreated
    | ObjectPut
    | ObjectDeleted
    | UploadCreated
    | PartPut
    | Reaped
    | VersionChanged
)
