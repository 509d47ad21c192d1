"""The operations. Importing this package declares them all."""

from holdfast.s3.ops import (
    buckets,
    configurations,
    copy,
    cors,
    delete,
    listing,
    logging_config,
    multipart,
    parts,
    post_object,
    read,
    tagging,
    website_config,
    write,
)

__all__ = [
    "buckets",
    "configurations",
    "copy",
    "cors",
    "delete",
    "listing",
    "logging_config",
    "multipart",
    "parts",
    "post_object",
    "read",
    "tagging",
    "website_config",
    "write",
]
