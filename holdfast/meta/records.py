"""What the metadata store keeps: plain records, the same for every implementation.

Times are milliseconds since the epoch (`_ms`), sizes bytes, keys raw UTF-8 bytes (S3 orders by
them). `seq` numbers are microseconds since the epoch made strictly increasing by
`max(now, previous + 1)`; they order the versions of a key and name inline data, parts and uploads.
Of the entries of a page there are a thousand at once: the garbage collector need not look at them,
as they hold nothing that could refer back.
"""

from __future__ import annotations

import msgspec


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """A general purpose bucket. `id` is never used again, so a bucket made anew shares nothing."""

    id: int
    name: str
    owner: str  # canonical user id
    created_ms: int
    region: str
    versioning: str = ""  # "", "Enabled" or "Suspended"
    object_lock: bool = False

    @property
    def directory(self) -> str:
        """The name of its folder in the blob store."""
        return f"{self.name}-{self.id}"


class Blob(msgspec.Struct, frozen=True, array_like=True):
    """A row of content in the blob store, kept while `refs` > 0."""

    id: int
    bucket_id: int
    sha256: bytes
    n: int
    size: int
    codec: str = ""  # "" is plain
    encryption: bytes = b""


class ObjectVersion(msgspec.Struct, array_like=True, frozen=True):
    """One version of an object, or a delete marker. Frozen, since a store may give it out twice.

    Its content is, in this order: `parts_id` > 0, a list of parts; `blob`, a file; else inline
    data kept under `seq` (none when size is 0). The `parts_id` of a multipart version is the id of
    the upload that became it: so a Complete that is asked for again is recognised.
    """

    bucket_id: int
    key: bytes
    seq: int
    size: int
    etag: str  # without quotes: 32 hexadecimal digits, or with "-N" for N parts
    modified_ms: int
    owner: str
    blob: Blob | None = None
    parts_id: int = 0
    parts_count: int = 0
    is_null: bool = True
    delete_marker: bool = False
    storage_class: str = "STANDARD"
    checksum_algorithm: str = ""  # AWS's name, e.g. CRC64NVME; "" when none is stored
    checksum_type: str = ""  # FULL_OBJECT or COMPOSITE
    checksum: str = ""  # base64, with "-N" when composite
    headers: dict[str, str] = {}  # content-type …: lower-case names as S3 returns them
    metadata: dict[str, str] = {}  # user metadata without the x-amz-meta- prefix
    tags: dict[str, str] = {}
    lock_mode: str = ""  # "", GOVERNANCE or COMPLIANCE
    retain_until_ms: int = 0
    legal_hold: bool = False
    encryption: bytes = b""
    acl: bytes = b""  # grants as the S3 layer writes them; b"" is private


class Upload(msgspec.Struct, array_like=True):
    """A multipart upload in progress. `token` makes its public id unguessable."""

    id: int  # a seq; also the parts_id of its parts
    bucket_id: int
    key: bytes
    token: bytes  # 8 random bytes
    owner: str
    initiated_ms: int
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


class Part(msgspec.Struct, array_like=True):
    """A part of an upload or of a finished multipart object. Content: `blob`, else inline at `seq`."""

    parts_id: int
    number: int
    seq: int
    size: int
    etag: str
    modified_ms: int
    blob: Blob | None = None
    checksum_algorithm: str = ""
    checksum: str = ""


class ListEntry(msgspec.Struct, array_like=True, gc=False):
    """What a listing needs of a current version."""

    key: bytes
    size: int
    etag: str
    modified_ms: int
    owner: str
    storage_class: str
    checksum_algorithm: str = ""
    checksum_type: str = ""


class ListPage(msgspec.Struct, array_like=True):
    """A page in S3's order. `next_after` is the last key or common prefix of it when truncated."""

    entries: list[ListEntry]
    common_prefixes: list[bytes]
    truncated: bool
    next_after: bytes


class VersionEntry(msgspec.Struct, array_like=True, gc=False):
    """What a listing needs of any version or delete marker."""

    key: bytes
    seq: int
    is_null: bool
    is_latest: bool
    delete_marker: bool
    size: int
    etag: str
    modified_ms: int
    owner: str
    storage_class: str
    checksum_algorithm: str = ""
    checksum_type: str = ""


class VersionPage(msgspec.Struct, array_like=True):
    """A page of versions: keys in byte order, the versions of a key newest first.

    When truncated, `next_key` and `next_seq` are the last entry of the page; next_seq 0: the last
    one was the common prefix `next_key`.
    """

    entries: list[VersionEntry]
    common_prefixes: list[bytes]
    truncated: bool
    next_key: bytes
    next_seq: int


class UploadPage(msgspec.Struct, array_like=True):
    """A page of uploads in progress: keys in byte order, the uploads of a key by initiation."""

    uploads: list[Upload]
    common_prefixes: list[bytes]
    truncated: bool
    next_key: bytes
    next_upload_id: int
