"""The operations. Importing this package declares them all."""

from holdfast.s3.ops import buckets, copy, delete, listing, multipart, read, write

__all__ = ["buckets", "copy", "delete", "listing", "multipart", "read", "write"]
