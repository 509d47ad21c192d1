"""Records to rows and back. The only place that knows how a column packs its value."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.meta.effects import PartRow
from holdfast.meta.records import Blob, Bucket, ObjectVersion, Part, Upload
from holdfast.meta.state import VersionState

Row = tuple[Any, ...]


class Extra(
    msgspec.Struct,
    omit_defaults=True,
    rename={
        "headers": "h",
        "metadata": "m",
        "tags": "t",
        "lock_mode": "k",
        "retain_until_ms": "r",
        "legal_hold": "l",
        "encryption": "e",
        "acl": "a",
    },
):
    """What a listing never needs, packed into one column; absent fields cost nothing."""

    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    lock_mode: str = ""
    retain_until_ms: int = 0
    legal_hold: bool = False
    encryption: bytes = b""
    acl: bytes = b""


_encode_extra = msgspec.msgpack.Encoder().encode
_decode_extra = msgspec.msgpack.Decoder(Extra).decode
_NO_EXTRA = Extra()
_STANDARD = "STANDARD"

BUCKET_COLUMNS = "id, name, owner, created_ms, region, versioning, object_lock"
BLOB_COLUMNS = "b.id, b.bucket_id, b.sha256, b.n, b.size, b.codec, b.encryption"
VERSION_COLUMNS = (
    "v.key, v.seq, v.size, v.etag, v.modified_ms, v.owner, v.storage_class, v.checksum_algorithm,"
    " v.checksum_type, v.checksum, v.parts_id, v.parts_count, v.is_null, v.delete_marker, v.extra"
)
VERSION_COLUMNS_COUNT = 15
STATE_COLUMNS = "seq, size, etag, modified_ms, is_null, delete_marker, blob_id, parts_id"
LIST_COLUMNS = (
    "key, size, etag, modified_ms, owner, storage_class, checksum_algorithm, checksum_type"
)
ENTRY_COLUMNS = f"{LIST_COLUMNS}, seq, is_null, delete_marker"
PART_COLUMNS = (
    "parts_id, number, seq, size, etag, modified_ms, blob_id, checksum_algorithm, checksum"
)
UPLOAD_COLUMNS = (
    "id, bucket_id, key, token, owner, initiated_ms, storage_class, checksum_algorithm,"
    " checksum_type, extra"
)


def pack_etag(etag: str) -> str | bytes:
    if len(etag) == 32:
        try:
            packed = bytes.fromhex(etag)
        except ValueError:
            return etag
        if packed.hex() == etag:
            return packed
    return etag


def unpack_etag(stored: Any) -> str:
    return stored.hex() if type(stored) is bytes else stored


def pack_extra(record: ObjectVersion | Upload) -> bytes | None:
    extra = Extra(
        record.headers,
        record.metadata,
        record.tags,
        record.lock_mode,
        record.retain_until_ms,
        record.legal_hold,
        record.encryption,
        record.acl,
    )
    packed = _encode_extra(extra)
    return packed if len(packed) > 1 else None


def pack_version(version: ObjectVersion, bucket_owner: str) -> Row:
    """A row of `objects` or `versions`, in the order of their columns."""
    blob = version.blob
    return (
        version.bucket_id,
        version.key,
        version.seq,
        version.size,
        pack_etag(version.etag),
        version.modified_ms,
        None if version.owner == bucket_owner else version.owner,
        None if version.storage_class == _STANDARD else version.storage_class,
        version.checksum_algorithm or None,
        version.checksum_type or None,
        version.checksum or None,
        None if blob is None else blob.id,
        version.parts_id or None,
        version.parts_count or None,
        version.is_null,
        version.delete_marker,
        pack_extra(version),
    )


def unpack_version(bucket_id: int, row: Row, blob: Blob | None, bucket_owner: str) -> ObjectVersion:
    """`row` starts with VERSION_COLUMNS."""
    packed = row[14]
    extra = _NO_EXTRA if packed is None else _decode_extra(packed)
    etag, owner = row[3], row[5]
    return ObjectVersion(
        bucket_id,
        row[0],
        row[1],
        row[2],
        etag.hex() if type(etag) is bytes else etag,
        row[4],
        bucket_owner if owner is None else owner,
        blob,
        row[10] or 0,
        row[11] or 0,
        row[12] == 1,
        row[13] == 1,
        row[6] or _STANDARD,
        row[7] or "",
        row[8] or "",
        row[9] or "",
        extra.headers,
        extra.metadata,
        extra.tags,
        extra.lock_mode,
        extra.retain_until_ms,
        extra.legal_hold,
        extra.encryption,
        extra.acl,
    )


def unpack_state(row: Row) -> VersionState:
    """`row` is STATE_COLUMNS."""
    seq, size, etag, modified_ms, is_null, delete_marker, blob_id, parts_id = row
    return VersionState(
        seq,
        size,
        etag.hex() if type(etag) is bytes else etag,
        modified_ms,
        is_null == 1,
        delete_marker == 1,
        blob_id or 0,
        parts_id or 0,
    )


def unpack_bucket(row: Row) -> Bucket:
    id, name, owner, created_ms, region, versioning, object_lock = row
    return Bucket(id, name, owner, created_ms, region, versioning, object_lock == 1)


def unpack_blob(row: Row) -> Blob:
    """`row` is BLOB_COLUMNS."""
    id, bucket_id, sha256, n, size, codec, encryption = row
    return Blob(id, bucket_id, sha256, n, size, codec or "", encryption or b"")


def pack_part(part: PartRow) -> Row:
    return (
        *part[:4],
        pack_etag(part.etag),
        part.modified_ms,
        part.blob_id or None,
        part.checksum_algorithm or None,
        part.checksum or None,
    )


def unpack_part_row(row: Row) -> PartRow:
    """`row` is PART_COLUMNS."""
    parts_id, number, seq, size, etag, modified_ms, blob_id, algorithm, checksum = row
    etag = unpack_etag(etag)
    return PartRow(
        parts_id,
        number,
        seq,
        size,
        etag,
        modified_ms,
        blob_id or 0,
        algorithm or "",
        checksum or "",
    )


def unpack_part(row: Row, blob: Blob | None) -> Part:
    """`row` starts with PART_COLUMNS."""
    part = unpack_part_row(row[:9])
    return Part(*part[:6], blob, part.checksum_algorithm, part.checksum)


def pack_upload(upload: Upload) -> Row:
    return (
        upload.id,
        upload.bucket_id,
        upload.key,
        upload.token,
        upload.owner,
        upload.initiated_ms,
        None if upload.storage_class == _STANDARD else upload.storage_class,
        upload.checksum_algorithm or None,
        upload.checksum_type or None,
        pack_extra(upload),
    )


def unpack_upload(row: Row) -> Upload:
    """`row` is UPLOAD_COLUMNS."""
    extra = _NO_EXTRA if row[9] is None else _decode_extra(row[9])
    return Upload(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6] or _STANDARD,
        row[7] or "",
        row[8] or "",
        extra.headers,
        extra.metadata,
        extra.tags,
        extra.lock_mode,
        extra.retain_until_ms,
        extra.legal_hold,
        extra.encryption,
        extra.acl,
    )
