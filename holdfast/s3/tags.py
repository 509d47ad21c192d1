"""Tag sets of buckets, objects and uploads: out of XML and out of x-amz-tagging, one set of rules.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/tagging.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html: lengths count UTF-16
code units; letters, numbers, spaces and `+ - = . _ : / @` are allowed; keys are unique.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote_to_bytes

from holdfast.s3 import xml
from holdfast.s3.errors import S3Error
from holdfast.s3.xml import element

OBJECT_TAGS_MAX = 10
BUCKET_TAGS_MAX = 50
TAG_KEY_CHARS_MAX = 128
TAG_VALUE_CHARS_MAX = 256
#: what S3 keeps for itself
RESERVED_PREFIX = "aws:"

_PLAIN = re.compile(r"[A-Za-z0-9 _.:/=+\-@]*\Z")
_CATEGORIES = frozenset("LZN")
_HEADER = "x-amz-tagging"
_BAD_HEADER = (
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
    "without tag name duplicates."
)


def parse_tag_document(body: bytes, *, bucket: bool = False) -> dict[str, str]:
    """The tags of a Tagging document, in its order; `bucket` chooses the bucket's limit.

    Raises MalformedXML, InvalidTag (also too many).
    """
    tree = xml.parse(body, "Tagging")
    if [child.tag for child in tree] != ["TagSet"]:
        raise S3Error("MalformedXML")
    pairs: list[tuple[str, str]] = []
    for tag in tree[0]:
        fields = {child.tag: child.text or "" for child in tag}
        if tag.tag != "Tag" or len(tag) != 2 or fields.keys() != {"Key", "Value"}:
            raise S3Error("MalformedXML")
        pairs.append((fields["Key"], fields["Value"]))
    _check_count(len(pairs), bucket)
    tags = dict(pairs)
    if len(tags) != len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=twice)
    check_tags(tags)
    return tags


def parse_tag_header(text: str) -> dict[str, str]:
    """The tags of an object in the form of a query, `k1=v1&k2=v2`, URL-encoded UTF-8 (the value of
    x-amz-tagging). Raises InvalidArgument, InvalidTag (also too many)."""
    if not text:
        return {}
    # one more than the limit is enough to know that there are too many
    pieces = text.split("&", OBJECT_TAGS_MAX + 1)
    _check_count(len(pieces), bucket=False)
    tags: dict[str, str] = {}
    for piece in pieces:
        key, value = (_decoded(part) for part in piece.partition("=")[::2])
        if not piece or key in tags:
            raise _bad_header(text)
        tags[key] = value
    check_tags(tags)
    return tags


def check_tags(tags: dict[str, str]) -> None:
    """Raises InvalidTag."""
    for key, value in tags.items():
        if not key or _units(key) > TAG_KEY_CHARS_MAX or not _allowed(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if _units(value) > TAG_VALUE_CHARS_MAX or not _allowed(value):
            raise S3Error(
                "InvalidTag",
                "The TagValue you have provided is invalid",
                TagKey=key,
                TagValue=value,
            )
        if key.lower().startswith(RESERVED_PREFIX):
            raise S3Error(
                "InvalidTag", "System tags cannot be added/updated by requester", TagKey=key
            )


def tag_document(tags: dict[str, str]) -> bytes:
    """The answer of Get…Tagging."""
    rows = "".join(
        f"<Tag>{element('Key', key)}{element('Value', value)}</Tag>" for key, value in tags.items()
    )
    return xml.document("Tagging", f"<TagSet>{rows}</TagSet>")


def _check_count(count: int, bucket: bool) -> None:
    if bucket and count > BUCKET_TAGS_MAX:
        raise S3Error("InvalidTag", f"Bucket tag count cannot be greater than {BUCKET_TAGS_MAX}")
    if not bucket and count > OBJECT_TAGS_MAX:
        raise S3Error("InvalidTag", f"Object tags cannot be greater than {OBJECT_TAGS_MAX}")


def _decoded(part: str) -> str:
    try:
        return unquote_to_bytes(part.replace("+", " ").encode("latin-1")).decode("utf-8")
    except UnicodeError:
        raise _bad_header(part) from None


def _bad_header(value: str) -> S3Error:
    return S3Error("InvalidArgument", _BAD_HEADER, ArgumentName=_HEADER, ArgumentValue=value)


def _units(text: str) -> int:
    """UTF-16 code units, in which S3 counts."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _allowed(text: str) -> bool:
    return _PLAIN.match(text) is not None or all(
        _PLAIN.match(char) or unicodedata.category(char)[0] in _CATEGORIES for char in text
    )
