"""The values that the client gives back. Sizes are bytes, times are aware datetimes in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple


class BucketInfo(NamedTuple):
    name: str
    created: datetime | None
    region: str = ""


class PutResult(NamedTuple):
    """`checksum` is "ALGORITHM:value" of the whole object, "" where none was sent."""

    etag: str
    version_id: str
    checksum: str
    size: int


class DeleteResult(NamedTuple):
    version_id: str
    delete_marker: bool


class DeleteError(NamedTuple):
    key: str
    version_id: str
    code: str
    message: str


class DeleteReport(NamedTuple):
    deleted: int
    errors: list[DeleteError]


class ListEntry(NamedTuple):
    """An object, or a common prefix (`is_prefix`, then only `key` is meant)."""

    key: str
    size: int = 0
    etag: str = ""
    last_modified: datetime | None = None
    storage_class: str = ""
    is_prefix: bool = False


class VersionEntry(NamedTuple):
    """A version, a delete marker, or a common prefix."""

    key: str
    version_id: str = ""
    is_latest: bool = False
    is_delete_marker: bool = False
    size: int = 0
    etag: str = ""
    last_modified: datetime | None = None
    storage_class: str = ""
    is_prefix: bool = False


class UploadEntry(NamedTuple):
    key: str
    upload_id: str
    initiated: datetime | None


class PresignedPost(NamedTuple):
    """Post a multipart form to `url` with all `fields`, and the file as the last one, `file`."""

    url: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """`size` is that of the whole object, also for a range; `checksums` by algorithm (CRC64NVME …),
    base64 as S3 writes them; `checksum_type` FULL_OBJECT or COMPOSITE; `headers` all of the answer,
    by lower-case name."""

    bucket: str
    key: str
    size: int
    etag: str
    version_id: str = ""
    last_modified: datetime | None = None
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    storage_class: str = "STANDARD"
    checksums: Mapping[str, str] = field(default_factory=dict)
    checksum_type: str = ""
    parts_count: int = 0
    tag_count: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


class DownloadResult(NamedTuple):
    """`received` counts the bytes of this call (less than `info.size` after a resume); `verified` is
    the algorithm whose checksum was compared, "" where the server gave none that could be."""

    info: ObjectInfo
    path: Path
    received: int
    verified: str


class TransferResult(NamedTuple):
    key: str
    size: int
    error: Exception | None


class TransferReport(NamedTuple):
    done: int
    bytes: int
    errors: list[TransferResult]


class RawResponse(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes
