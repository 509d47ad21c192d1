"""Listings, a page at a time: requests and what their answers hold.

Rule: keys come percent-encoded (encoding-type=url), as XML can't carry every key. A page that does
not lead further ends the listing, whatever it says.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from holdfast.client import xml
from holdfast.client.address import Request
from holdfast.client.models import BucketInfo, ListEntry, UploadEntry, VersionEntry
from holdfast.client.session import Session

PAGE_KEYS_MAX = 1000
T = TypeVar("T")
Query = list[tuple[str, str]]


class Page(NamedTuple, Generic[T]):
    """`following`: what the next request adds to its query, None at the end."""

    entries: list[T]
    following: Query | None


def _decoder(tree: ElementTree.Element) -> bool:
    return xml.text(tree, "EncodingType") == "url"


def _key(text: str, encoded: bool) -> str:
    if not encoded or ("%" not in text and "+" not in text):
        return text
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "surrogateescape")


def _etag(node: ElementTree.Element) -> str:
    return xml.text(node, "ETag").strip('"')


def _prefixes(tree: ElementTree.Element, encoded: bool) -> list[str]:
    return [_key(xml.text(node, "Prefix"), encoded) for node in tree.iterfind("CommonPrefixes")]


async def objects_page(
    session: Session, bucket: str, prefix: str, delimiter: str, following: Query, limit: int | None
) -> Page[ListEntry]:
    """ListObjectsV2, objects and common prefixes together in the order of keys."""
    query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", _page_keys(limit))]
    query += [("prefix", prefix)] if prefix else []
    query += [("delimiter", delimiter)] if delimiter else []
    reply = await session.fetch(Request("GET", bucket, "", query + following))
    tree = xml.parse(reply.body)
    encoded = _decoder(tree)
    entries = [
        ListEntry(
            _key(xml.text(node, "Key"), encoded),
            xml.integer(node, "Size"),
            _etag(node),
            xml.time(node, "LastModified"),
            xml.text(node, "StorageClass"),
        )
        for node in tree.iterfind("Contents")
    ]
    prefixes = [ListEntry(name, is_prefix=True) for name in _prefixes(tree, encoded)]
    token = xml.text(tree, "NextContinuationToken")
    goes_on = xml.is_true(tree, "IsTruncated") and token and (entries or prefixes)
    return Page(_merged(entries, prefixes), [("continuation-token", token)] if goes_on else None)


def _page_keys(limit: int | None) -> str:
    return str(PAGE_KEYS_MAX if limit is None else min(limit, PAGE_KEYS_MAX))


E1 = TypeVar("E1", ListEntry, VersionEntry)


def _merged(entries: list[E1], prefixes: list[E1]) -> list[E1]:
    if not prefixes:
        return entries
    both = entries + prefixes
    both.sort(key=lambda entry: _sort_key(entry.key))
    return both


async def versions_page(
    session: Session, bucket: str, prefix: str, delimiter: str, following: Query, limit: int | None
) -> Page[VersionEntry]:
    """ListObjectVersions: newest first within a key."""
    query = [("versions", ""), ("encoding-type", "url"), ("max-keys", _page_keys(limit))]
    query += [("prefix", prefix)] if prefix else []
    query += [("delimiter", delimiter)] if delimiter else []
    reply = await session.fetch(Request("GET", bucket, "", query + following))
    tree = xml.parse(reply.body)
    encoded = _decoder(tree)
    entries = [
        VersionEntry(
            _key(xml.text(node, "Key"), encoded),
            xml.text(node, "VersionId"),
            xml.is_true(node, "IsLatest"),
            node.tag == "DeleteMarker",
            xml.integer(node, "Size"),
            _etag(node),
            xml.time(node, "LastModified"),
            xml.text(node, "StorageClass"),
        )
        for node in tree
        if node.tag in ("Version", "DeleteMarker")
    ]
    if _is_sorted_by_kind(entries, reply.headers.get("server", "")):
        entries.sort(key=_version_order)
    prefixes = [VersionEntry(name, is_prefix=True) for name in _prefixes(tree, encoded)]
    following = _markers(
        tree, encoded, ("KeyMarker", "key-marker"), ("VersionIdMarker", "version-id-marker")
    )
    goes_on = xml.is_true(tree, "IsTruncated") and (entries or prefixes)
    return Page(_merged(entries, prefixes), following if goes_on and following else None)


def _is_sorted_by_kind(entries: list[VersionEntry], server: str) -> bool:
    """Some servers write all delete markers of a page, and after them all versions."""
    kinds = [entry.is_delete_marker for entry in entries]
    if sum([one != other for one, other in pairwise(kinds)]) != 1:
        return False
    keys = [_sort_key(entry.key) for entry in entries]
    return server.startswith("VERSITYGW") or keys != sorted(keys)


def _version_order(entry: VersionEntry) -> tuple[bytes, bool, float]:
    modified = entry.last_modified.timestamp() if entry.last_modified else 0.0
    return _sort_key(entry.key), not entry.is_latest, -modified


def _sort_key(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _markers(tree: ElementTree.Element, encoded: bool, *names: tuple[str, str]) -> Query:
    """Next…Marker elements as parameters of the next request; the first one is a key."""
    query = []
    for position, (element, parameter) in enumerate(names):
        value = xml.text(tree, f"Next{element}")
        if value:
            query.append((parameter, value if position else _key(value, encoded)))
    return query


async def uploads_page(
    session: Session, bucket: str, prefix: str, following: Query
) -> Page[UploadEntry]:
    """ListMultipartUploads."""
    query = [("uploads", ""), ("encoding-type", "url")]
    query += [("prefix", prefix)] if prefix else []
    reply = await session.fetch(Request("GET", bucket, "", query + following))
    tree = xml.parse(reply.body)
    encoded = _decoder(tree)
    entries = [
        UploadEntry(
            _key(xml.text(node, "Key"), encoded),
            xml.text(node, "UploadId"),
            xml.time(node, "Initiated"),
        )
        for node in tree.iterfind("Upload")
    ]
    markers = _markers(
        tree, encoded, ("KeyMarker", "key-marker"), ("UploadIdMarker", "upload-id-marker")
    )
    goes_on = xml.is_true(tree, "IsTruncated") and entries and markers
    return Page(entries, markers if goes_on else None)


async def buckets_page(session: Session, prefix: str, following: Query) -> Page[BucketInfo]:
    """ListBuckets."""
    query = [("max-buckets", "1000")] + ([("prefix", prefix)] if prefix else [])
    reply = await session.fetch(Request("GET", "", "", query + following))
    tree = xml.parse(reply.body)
    entries = [
        BucketInfo(
            xml.text(node, "Name"), xml.time(node, "CreationDate"), xml.text(node, "BucketRegion")
        )
        for node in tree.iter("Bucket")
        if xml.text(node, "Name").startswith(prefix)  # servers that know no prefix here
    ]
    token = xml.text(tree, "ContinuationToken")
    return Page(entries, [("continuation-token", token)] if token and len(tree) else None)
