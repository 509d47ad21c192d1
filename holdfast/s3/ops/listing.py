"""ListObjects and ListObjectsV2: one page out of the index, rendered straight from its rows."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated
from urllib.parse import quote_from_bytes

from holdfast.http.message import Response
from holdfast.meta.records import ListPage
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.dates import iso_second
from holdfast.s3.errors import S3Error
from holdfast.s3.names import decode_token, encode_token
from holdfast.s3.numbers import whole_number
from holdfast.s3.operation import BUCKET, Input, Query, operation
from holdfast.s3.xml import element, escape

LIST_KEYS_MAX = 1000
INTEGER_MAX = 2**31 - 1


def max_keys(text: str) -> int:
    """Larger numbers mean the maximum, as in S3. Raises InvalidArgument."""
    number = whole_number(text)
    if number is None or number > INTEGER_MAX:
        raise S3Error(
            "InvalidArgument",
            "Provided max-keys not an integer or within integer range",
            ArgumentName="max-keys",
            ArgumentValue=text,
        )
    return min(number, LIST_KEYS_MAX)


def encoding_type(text: str) -> bool:
    if text not in ("", "url"):
        raise S3Error(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            ArgumentName="encoding-type",
            ArgumentValue=text,
        )
    return text == "url"


class ListInput(Input):
    prefix: Annotated[str, Query("prefix")] = ""
    delimiter: Annotated[str, Query("delimiter")] = ""
    max_keys: Annotated[int, Query("max-keys", max_keys)] = LIST_KEYS_MAX
    url: Annotated[bool, Query("encoding-type", encoding_type)] = False


def _list_type(text: str) -> str:
    """Version 2 has a route of its own, so whatever comes here is none."""
    raise S3Error(
        "InvalidArgument", "Invalid List Type", ArgumentName="list-type", ArgumentValue=text
    )


class ListObjectsInput(ListInput):
    list_type: Annotated[str, Query("list-type", _list_type)] = ""
    marker: Annotated[str, Query("marker")] = ""


class ListObjectsV2Input(ListInput):
    token: Annotated[str | None, Query("continuation-token")] = None
    start_after: Annotated[str, Query("start-after")] = ""
    fetch_owner: Annotated[str, Query("fetch-owner")] = ""


_PERCENT = 0x25
_REPLACED_MAX = 16  # so many different bytes are cheaper to replace one after the other
_URL_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~/"
# no markup, no control characters, nothing that begins as U+FFFE and U+FFFF do
_TEXT_PLAIN = bytes(set(range(32, 256)) - set(b'&<>"\x7f\xef'))


class KeyWriter:
    """How keys are written: as text, or percent-encoded when the client asked for it."""

    def __init__(self, url: bool) -> None:
        self.url = url

    def key(self, key: bytes) -> str:
        if self.url:
            return quote_from_bytes(key)
        return escape(key.decode("utf-8", "replace"))

    def keys(self, keys: list[bytes]) -> list[str]:
        """`key` of each. All of them in one go as far as that goes: most pages need no escape, or
        those of a few characters."""
        joined = b"\0".join(keys)
        special = joined.translate(None, _URL_PLAIN if self.url else _TEXT_PLAIN)
        if len(special) >= len(keys):  # more than what is between the keys
            values = set(special) - {0}
            if not self.url or len(values) > _REPLACED_MAX or special.count(0) >= len(keys):
                return [self.key(key) for key in keys]
            for value in sorted(values, key=_PERCENT.__ne__):  # first the one that is put in
                joined = joined.replace(bytes((value,)), b"%%%02X" % value)
        return joined.decode("utf-8", "replace").split("\0")

    def named(self, name: str, text: str) -> str:
        return f"<{name}>{self.key(text.encode('utf-8'))}</{name}>"


@lru_cache(maxsize=64)
def checksum_elements(algorithm: str, kind: str) -> str:
    """What a listing tells of a checksum; nothing when there is none."""
    if not algorithm:
        return ""
    return element("ChecksumAlgorithm", algorithm) + element("ChecksumType", kind)


async def owner_elements(call: Call, owners: Iterable[str]) -> dict[str, str]:
    """The Owner element of each account."""
    names = await call.services.directory.display_names(owners)
    return {
        owner: f"<Owner>{element('ID', owner)}{element('DisplayName', name)}</Owner>"
        for owner, name in names.items()
    }


async def _contents(call: Call, page: ListPage, write: KeyWriter, with_owner: bool) -> list[str]:
    entries = page.entries
    owners: dict[str, str] = {}
    if with_owner:
        owners = await owner_elements(call, (entry.owner for entry in entries))
    return [
        f"<Contents><Key>{key}</Key>"
        f"<LastModified>{iso_second(entry.modified_ms // 1000)}.000Z</LastModified>"
        f"<ETag>&quot;{entry.etag}&quot;</ETag>"
        f"{checksum_elements(entry.checksum_algorithm, entry.checksum_type)}"
        f"<Size>{entry.size}</Size>{owners[entry.owner] if with_owner else ''}"
        f"<StorageClass>{entry.storage_class}</StorageClass></Contents>"
        for key, entry in zip(write.keys([entry.key for entry in entries]), entries, strict=True)
    ]


def prefix_rows(prefixes: list[bytes], write: KeyWriter) -> list[str]:
    return [
        f"<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"
        for prefix in write.keys(prefixes)
    ]


@operation("ListObjects", "GET", BUCKET, action="s3:ListBucket")
async def list_objects(call: Call, inp: ListObjectsInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html"""
    bucket = await call.bucket()
    page = await call.services.meta.list_objects(
        bucket.id,
        inp.prefix.encode("utf-8"),
        inp.delimiter.encode("utf-8"),
        inp.marker.encode("utf-8"),
        inp.max_keys,
    )
    write = KeyWriter(inp.url)
    inner = [
        element("Name", bucket.name),
        write.named("Prefix", inp.prefix),
        write.named("Marker", inp.marker),
    ]
    if page.truncated and inp.delimiter:  # without one, the last key is the marker
        inner.append(f"<NextMarker>{write.key(page.next_after)}</NextMarker>")
    inner.append(page_tail(inp, page.truncated))
    if inp.delimiter:
        inner.append(write.named("Delimiter", inp.delimiter))
    inner += await _contents(call, page, write, True)
    inner += prefix_rows(page.common_prefixes, write)
    return call.xml(xml.document("ListBucketResult", *inner))


@operation("ListObjectsV2", "GET", BUCKET, query=("list-type=2",), action="s3:ListBucket")
async def list_objects_v2(call: Call, inp: ListObjectsV2Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html

    An empty continuation-token is as none, but it is in the answer as any other.
    """
    bucket = await call.bucket()
    after = inp.start_after.encode("utf-8")
    if inp.token:
        token = decode_token(inp.token)
        if not token:
            raise S3Error(
                "InvalidArgument",
                "The continuation token provided is incorrect",
                ArgumentName="continuation-token",
            )
        after = token
    page = await call.services.meta.list_objects(
        bucket.id,
        inp.prefix.encode("utf-8"),
        inp.delimiter.encode("utf-8"),
        after,
        inp.max_keys,
    )
    write = KeyWriter(inp.url)
    inner = [element("Name", bucket.name), write.named("Prefix", inp.prefix)]
    if inp.token is not None:
        inner.append(element("ContinuationToken", inp.token))
    if inp.start_after:
        inner.append(write.named("StartAfter", inp.start_after))
    count = len(page.entries) + len(page.common_prefixes)
    inner += [f"<KeyCount>{count}</KeyCount>", page_tail(inp, page.truncated)]
    if page.truncated:
        inner.append(element("NextContinuationToken", encode_token(page.next_after)))
    if inp.delimiter:
        inner.append(write.named("Delimiter", inp.delimiter))
    inner += await _contents(call, page, write, inp.fetch_owner.lower() == "true")
    inner += prefix_rows(page.common_prefixes, write)
    return call.xml(xml.document("ListBucketResult", *inner))


def page_tail(inp: ListInput, truncated: bool) -> str:
    return (
        f"<MaxKeys>{inp.max_keys}</MaxKeys>"
        f"{'<EncodingType>url</EncodingType>' if inp.url else ''}"
        f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>"
    )
