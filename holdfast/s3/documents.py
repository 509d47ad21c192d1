"""A bucket's configuration documents on their way in and out of the store.

Rule: what is stored is the answer to the GET, whole and validated: written anew from what was
understood of the request, so nothing is kept that was not read.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

from holdfast.http.message import Response
from holdfast.meta.commands import PutDocument, Refused
from holdfast.meta.records import Bucket
from holdfast.s3.call import Call
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.numbers import whole_number
from holdfast.s3.payload import read_document
from holdfast.s3.xml import LONG_XML_BODY_BYTES_MAX, understood


async def store_document(
    call: Call,
    kind: str,
    validated: Callable[[bytes], bytes],
    bytes_max: int = LONG_XML_BODY_BYTES_MAX,
) -> Response:
    """Put the request's document as the bucket's `kind`; `validated` makes the stored form of it, or
    raises. Raises NoSuchBucket, MissingRequestBodyError."""
    bucket = await call.bucket()
    body = await read_document(call.request, call.auth, bytes_max)
    if not body:
        raise S3Error("MissingRequestBodyError")
    await put_document(call, bucket, kind, await understood(validated, body))
    return call.empty()


async def put_document(call: Call, bucket: Bucket, kind: str, body: bytes | None) -> None:
    result = await call.services.meta.submit(PutDocument(bucket.id, kind, body))
    if isinstance(result, Refused):
        raise refusal(result)


async def answer_document(call: Call, kind: str, absent: str | bytes) -> Response:
    """The bucket's document; when there is none, `absent` is the error's code or the document that
    S3 answers."""
    bucket = await call.bucket()
    body = await call.services.meta.document(bucket.id, kind)
    if body is None:
        if isinstance(absent, str):
            raise S3Error(absent, BucketName=bucket.name)
        body = absent
    return call.xml(body)


async def remove_document(call: Call, kind: str) -> Response:
    """Removing what is not there is a success, as everywhere in S3."""
    bucket = await call.bucket()
    if await call.services.meta.document(bucket.id, kind) is not None:
        await put_document(call, bucket, kind, None)
    return call.empty()


def children(
    node: ElementTree.Element, once: frozenset[str], many: frozenset[str] = frozenset()
) -> dict[str, list[ElementTree.Element]]:
    """The children by name: those of `once` at most once, those of `many` in order. Raises
    MalformedXML for any other: what is not understood is never dropped."""
    found: dict[str, list[ElementTree.Element]] = {name: [] for name in once | many}
    for child in node:
        rows = found.get(child.tag)
        if rows is None or (rows and child.tag in once):
            raise S3Error("MalformedXML")
        rows.append(child)
    return found


def text(found: dict[str, list[ElementTree.Element]], name: str) -> str | None:
    """The text of a child that is there at most once; None when it is absent. Raises MalformedXML
    when it has children of its own."""
    if not found[name]:
        return None
    node = found[name][0]
    if len(node):
        raise S3Error("MalformedXML")
    return (node.text or "").strip()


def number(found: dict[str, list[ElementTree.Element]], name: str) -> int | None:
    """Raises MalformedXML when it is not a whole number."""
    value = text(found, name)
    if value is None:
        return None
    parsed = whole_number(value)
    if parsed is None:
        raise S3Error("MalformedXML")
    return parsed
