"""A bucket's documents: what the source has configured, put at the destination as it is.

Rule: a table says what S3 keeps for a bucket and in which order it is put: what could refuse or change
writes comes after all versions, what is public last. What the destination refuses is reported with its
reason; nothing is left out without a word. What was put is not put again while the source's stays as it
was, so that changes made at the destination remain. Nothing becomes public that --public does not allow.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import NamedTuple
from xml.etree import ElementTree

from holdfast.cli.importing.journal import Journal
from holdfast.cli.objects.failures import brief
from holdfast.client import xml
from holdfast.client.address import Request
from holdfast.client.asynchronous import AsyncObjectStore
from holdfast.client.errors import AccessDenied, S3Error

_BLOCK = "publicAccessBlock"
_PUBLIC = ("policy", "acl")
_GROUPS = "http://acs.amazonaws.com/groups/"
_ALL, _KNOWN = f"{_GROUPS}global/AllUsers", f"{_GROUPS}global/AuthenticatedUsers"
#: canned ACLs by what they grant beside the owner's own rights
_CANNED = {
    frozenset(): "private",
    frozenset(((_ALL, "READ"),)): "public-read",
    frozenset(((_ALL, "READ"), (_ALL, "WRITE"))): "public-read-write",
    frozenset(((_KNOWN, "READ"),)): "authenticated-read",
}
#: codes by which servers say that there is no such document, or that they have no such thing
_NONE_STATUSES = (404, 405, 501)


def _has_children(tree: ElementTree.Element) -> bool:
    return len(tree) > 0


def _has_status(tree: ElementTree.Element) -> bool:
    return xml.text(tree, "Status") == "Enabled"


def _has_payer(tree: ElementTree.Element) -> bool:
    return xml.text(tree, "Payer") == "Requester"


def _has_rule(tree: ElementTree.Element) -> bool:
    return bool(xml.text(tree, "Rule/DefaultRetention/Mode"))


def _has_entries(tree: ElementTree.Element) -> bool:
    return any(node.tag.endswith("Configuration") for node in tree)


class Kind(NamedTuple):
    """A document of buckets. `is_said`: whether what the source answers is more than the default.
    `listed`: there may be several, by id, of which only is said that they are there. `early`: it
    decides what versions may have with them, so it comes before them."""

    name: str
    query: str
    is_said: Callable[[ElementTree.Element], bool] = _has_children
    listed: bool = False
    early: bool = False


KINDS: tuple[Kind, ...] = (
    Kind("object ownership", "ownershipControls", early=True),
    Kind("tags", "tagging"),
    Kind("CORS", "cors"),
    Kind("website", "website"),
    Kind("encryption", "encryption"),
    Kind("acceleration", "accelerate", _has_status),
    Kind("requester pays", "requestPayment", _has_payer),
    Kind("logging", "logging"),
    Kind("lifecycle", "lifecycle"),
    Kind("replication", "replication"),
    Kind("notifications", "notification"),
    Kind("analytics", "analytics", _has_entries, listed=True),
    Kind("inventory", "inventory", _has_entries, listed=True),
    Kind("metrics", "metrics", _has_entries, listed=True),
    Kind("intelligent tiering", "intelligent-tiering", _has_entries, listed=True),
    Kind("default retention", "object-lock", _has_rule),
    Kind("ACL", "acl"),
    Kind("policy", "policy"),
    Kind("public access block", _BLOCK),
)


class Found(NamedTuple):
    """A document of the source: what it said, and what is put. `problem`: why nothing can be."""

    kind: Kind
    said: bytes
    body: bytes
    problem: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.said).hexdigest()


async def get(store: AsyncObjectStore, bucket: str, query: str) -> bytes | None:
    """None where there is none, or the server has no such thing. Raises S3Error."""
    try:
        reply = await store.session.fetch(Request("GET", bucket, "", [(query, "")]))
    except S3Error as error:
        if error.status in _NONE_STATUSES or error.code in ("MethodNotAllowed", "NotImplemented"):
            return None
        raise
    return reply.body


async def read_all(store: AsyncObjectStore, bucket: str) -> list[Found]:
    """What the source has configured, in the order in which it is put."""
    found = []
    for kind in KINDS:
        try:
            body = await get(store, bucket, kind.query)
        except AccessDenied as error:
            found.append(Found(kind, b"", b"", f"the source does not show it: {brief(error)}"))
            continue
        if (one := found_in(kind, body)) is not None:
            found.append(one)
    return found


def found_in(kind: Kind, body: bytes | None) -> Found | None:
    """None where the source says nothing that every bucket has not."""
    if body is None:
        return None
    if kind.query == "policy":
        return Found(kind, body, body) if body.strip() else None
    tree = xml.parse(body)
    if kind.query == "acl":
        return _found_acl(kind, body, tree)
    if not kind.is_said(tree):
        return None
    if kind.listed:
        return Found(kind, body, b"", "it is of several parts by name: put them by hand")
    return Found(kind, body, body)


def _found_acl(kind: Kind, body: bytes, tree: ElementTree.Element) -> Found | None:
    canned = canned_acl(tree)
    if canned == "private":
        return None
    if canned is None:
        return Found(kind, body, b"", "it names accounts, which are others at the destination")
    return Found(kind, body, canned.encode())


def canned_acl(tree: ElementTree.Element) -> str | None:
    """The canned ACL that says the same. None where it names other accounts than the owner."""
    owner = xml.text(tree, "Owner/ID")
    grants = set()
    for grant in tree.iter("Grant"):
        grantee = grant.find("Grantee")
        if grantee is None:
            continue
        if xml.text(grantee, "URI"):
            grants.add((xml.text(grantee, "URI"), xml.text(grant, "Permission")))
        elif xml.text(grantee, "ID") != owner:
            return None
    return _CANNED.get(frozenset(grants))


async def put(store: AsyncObjectStore, bucket: str, found: Found) -> str:
    """Why it could not be put, "" where it was."""
    if found.problem:
        return found.problem
    if found.kind.query == "acl":
        headers = {"x-amz-acl": found.body.decode()}
        request = Request("PUT", bucket, "", [("acl", "")], headers)
    else:
        digest = hashlib.md5(found.body, usedforsecurity=False).digest()
        headers = {"content-md5": base64.b64encode(digest).decode()}
        is_json = found.kind.query == "policy"
        headers["content-type"] = "application/json" if is_json else "application/xml"
        query = [(found.kind.query, "")]
        request = Request("PUT", bucket, "", query, headers, (found.body,))
    try:
        await store.session.fetch(request)
    except S3Error as error:
        if not error.status:
            raise
        is_blocked = error.code == "AccessDenied" and found.kind.query in _PUBLIC
        if is_blocked and await get(store, bucket, _BLOCK) is not None:
            return "it makes the bucket public, which the destination blocks; see --public"
        return f"the destination refuses it: {brief(error)}"
    return ""


async def lift_block(store: AsyncObjectStore, bucket: str, found: list[Found]) -> None:
    """New buckets have a public access block. Where the source's has none, and a document that could
    make it public, it goes. Raises S3Error."""
    kinds = {one.kind.query for one in found}
    if _BLOCK in kinds or kinds.isdisjoint(_PUBLIC):
        return
    if await get(store, bucket, _BLOCK) is not None:
        await store.session.fetch(Request("DELETE", bucket, "", [(_BLOCK, "")]))


async def enable_lock(store: AsyncObjectStore, bucket: str) -> str:
    """Object lock for a bucket that is there already. Why it could not be, "" where it was."""
    body = xml.document("ObjectLockConfiguration", xml.element("ObjectLockEnabled", "Enabled"))
    return await put(store, bucket, Found(Kind("object lock", "object-lock"), body, body))


async def bring(
    store: AsyncObjectStore, bucket: str, found: Found, journal: Journal
) -> tuple[str, str]:
    """(status, reason): done, same, refused."""
    if journal.documents.get(found.kind.name) == found.digest:
        return "same", ""
    there = None if found.problem else await get(store, bucket, found.kind.query)
    is_there = there is not None and is_equal(found.kind, found.said, there)
    reason = "" if is_there else await put(store, bucket, found)
    if reason:
        return "refused", reason
    journal.note(document=found.kind.name, digest=found.digest)
    return "same" if is_there else "done", ""


def is_equal(kind: Kind, one: bytes, other: bytes) -> bool:
    """Whether two documents say the same."""
    if kind.query == "policy":
        try:
            return bool(json.loads(one) == json.loads(other))
        except ValueError:
            return one == other
    if kind.query == "acl":
        return canned_acl(xml.parse(one)) == canned_acl(xml.parse(other))
    return _plain(xml.parse(one)) == _plain(xml.parse(other))


def _plain(tree: ElementTree.Element) -> object:
    """Names and texts, in any order of elements; namespaces are gone already."""
    children = sorted((_plain(node) for node in tree), key=repr)
    return tree.tag, (tree.text or "").strip(), tuple(children)
