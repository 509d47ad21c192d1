"""The operations. Importing this package declares them all."""

from holdfast.s3.ops import (
    buckets,
    configurations,
    copy,
    cors,
    delete,
    listing,
    multipart,
    parts,
    post_object,
    read,
    tagging,
    write,
)

__all__ = [
    "buckets",
    "configurations",
    "copy",
    "cors",
    "delete",
    "listing",
    "multipart",
    "parts",
    "post_object",
    "read",
    "tagging",
    "write",
]
