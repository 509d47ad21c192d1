"""What a client says of an object beside its bytes: its metadata and its storage class."""

from __future__ import annotations

from holdfast.s3.errors import S3Error
from holdfast.s3.render import SYSTEM_HEADERS

REDIRECT_HEADER = "x-amz-website-redirect-location"
USER_METADATA_BYTES_MAX = 2048
REDIRECT_BYTES_MAX = 2048

#: archived classes need RestoreObject to be read again, so they wait for it
_ARCHIVED = frozenset(("GLACIER", "DEEP_ARCHIVE"))
_STORAGE_CLASSES = frozenset(
    (
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER_IR",
    )
)


def storage_class(text: str) -> str:
    """Raises InvalidStorageClass, or NotImplemented for the archived ones."""
    if text in _ARCHIVED:
        raise S3Error("NotImplemented", f"The storage class {text} is not implemented.")
    if text not in _STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass")
    return text


def redirect_location(text: str) -> str:
    """The value of x-amz-website-redirect-location. Raises InvalidRedirectLocation."""
    if not text.startswith(("/", "http://", "https://")) or len(text) > REDIRECT_BYTES_MAX:
        raise S3Error("InvalidRedirectLocation")
    return text


def system_metadata(headers: dict[str, str]) -> dict[str, str]:
    """The headers that S3 keeps and gives back; the `aws-chunked` coding is not of the object."""
    if SYSTEM_HEADERS.keys().isdisjoint(headers):
        return {}
    kept = {name: headers[name] for name in SYSTEM_HEADERS if name in headers}
    coding = kept.get("content-encoding")
    if coding is not None and "aws-chunked" in coding:
        rest = [c.strip() for c in coding.split(",") if c.strip().lower() != "aws-chunked"]
        if rest:
            kept["content-encoding"] = ",".join(rest)
        else:
            del kept["content-encoding"]
    return kept


def check_user_metadata(metadata: dict[str, str]) -> None:
    """Raises MetadataTooLarge: names and values together, in bytes of UTF-8."""
    if metadata:
        size = sum(len(name) + len(value) for name, value in metadata.items())
        if size > USER_METADATA_BYTES_MAX:
            raise S3Error(
                "MetadataTooLarge", Size=str(size), MaxSizeAllowed=str(USER_METADATA_BYTES_MAX)
            )
