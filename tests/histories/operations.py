"""Each write on objects and on the bucket, once: what is sent, what it does to the model, what is
answered. (Those of multipart uploads are in uploads.py.)

Rule: an operation is a value that names everything, so it can be sent again, printed, and applied to
any state.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from tests.histories.model import (
    NULL,
    UNCONDITIONAL,
    UNLOCKED,
    Attributes,
    Conditions,
    Content,
    Expected,
    Lock,
    Made,
    Pairs,
    Refused,
    State,
    Version,
    may_become,
    retained,
)
from tests.s3.raw import Answer

#: a bucket that never changes, to copy from
SOURCE_BUCKET = "histories-source"


class Call(NamedTuple):
    """A request before it is signed. key "": of the bucket."""

    method: str
    key: str = ""
    query: tuple[tuple[str, str], ...] = ()
    headers: dict[str, str] = {}
    body: bytes = b""


class Operation:
    """A write. Two that are equal are the same request."""

    @property
    def keys(self) -> tuple[str, ...]:
        """What it touches."""
        return ()

    def call(self) -> Call:
        raise NotImplementedError

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        """The state after it and its answer. Raises Refused when nothing changes, Mismatch when it
        can't have been answered like this."""
        raise NotImplementedError


def perform(op: Operation, state: State, made: Made) -> tuple[State, Expected]:
    try:
        return op.apply(state, made)
    except Refused as refused:
        return state, refused.expected


def tag_header(tags: Pairs) -> str:
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in tags)


def xml_headers(body: bytes) -> dict[str, str]:
    md5 = hashlib.md5(body, usedforsecurity=False).digest()
    return {"content-md5": base64.b64encode(md5).decode()}


def version_query(version_id: str) -> tuple[tuple[str, str], ...]:
    return (("versionId", version_id),) if version_id else ()


def attribute_headers(attributes: Attributes) -> dict[str, str]:
    headers = {f"x-amz-meta-{name}": value for name, value in attributes.metadata}
    if attributes.tags:
        headers["x-amz-tagging"] = tag_header(attributes.tags)
    if attributes.acl != "private":
        headers["x-amz-acl"] = attributes.acl
    lock = attributes.lock
    if lock.mode:
        headers["x-amz-object-lock-mode"] = lock.mode
        headers["x-amz-object-lock-retain-until-date"] = lock.until
    if lock.hold:
        headers["x-amz-object-lock-legal-hold"] = "ON"
    return headers


def check_lock_allowed(state: State, attributes: Attributes) -> None:
    if attributes.lock != UNLOCKED and not state.lock:
        raise Refused(400, "InvalidRequest")


@dataclass(frozen=True)
class Put(Operation):
    key: str
    content: Content
    attributes: Attributes
    conditions: Conditions = UNCONDITIONAL

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def call(self) -> Call:
        headers = attribute_headers(self.attributes) | self.conditions.headers()
        if self.attributes.lock != UNLOCKED:  # S3 wants a digest of what is retained
            headers |= xml_headers(self.content.data)
        return Call("PUT", self.key, (), headers, self.content.data)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        check_lock_allowed(state, self.attributes)
        self.conditions.check(state, self.key)
        version_id = made(self.key)
        after = state.add(self.key, Version(version_id, self.content, self.attributes))
        headers = {"etag": f'"{self.content.etag}"', **state.new_version_header(version_id)}
        return after, Expected(200, headers=headers)


@dataclass(frozen=True)
class Source:
    """What is copied. content: of the bucket that never changes; None: a key of this bucket."""

    key: str
    version: str = ""
    content: Content | None = None

    def header(self, bucket: str) -> str:
        name = bucket if self.content is None else SOURCE_BUCKET
        version = f"?versionId={self.version}" if self.version else ""
        return f"/{name}/{quote(self.key)}{version}"

    def find(self, state: State) -> Version:
        """Raises Refused."""
        if self.content is not None:
            return Version(NULL, self.content)
        try:
            return state.find(self.key, self.version)
        except Refused as refused:
            if refused.expected.status == 405:
                raise Refused(400, "InvalidRequest") from None
            raise Refused(404, refused.expected.code) from None

    def version_header(self, state: State, found: Version) -> dict[str, str | None]:
        known = self.content is None and bool(state.versioning)
        return {"x-amz-copy-source-version-id": found.id if known else None}


@dataclass(frozen=True)
class Copy(Operation):
    """metadata, tags None: those of the source. if_match: of the source, "" none."""

    bucket: str
    source: Source
    key: str
    metadata: Pairs | None
    tags: Pairs | None
    if_match: str = ""
    conditions: Conditions = UNCONDITIONAL

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def call(self) -> Call:
        headers = {"x-amz-copy-source": self.source.header(self.bucket)}
        headers |= self.conditions.headers()
        if self.metadata is not None:
            headers["x-amz-metadata-directive"] = "REPLACE"
            headers |= {f"x-amz-meta-{name}": value for name, value in self.metadata}
        if self.tags is not None:
            headers["x-amz-tagging-directive"] = "REPLACE"
            if self.tags:
                headers["x-amz-tagging"] = tag_header(self.tags)
        if self.if_match:
            headers["x-amz-copy-source-if-match"] = f'"{self.if_match}"'
        return Call("PUT", self.key, (), headers)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        found = self.source.find(state)
        content = found.content
        assert content is not None
        if self.if_match not in ("", content.etag):
            raise Refused(412, "PreconditionFailed")
        itself = self.source.content is None and self.source.key == self.key
        if itself and not self.source.version and self.metadata is None:
            raise Refused(400, "InvalidRequest")
        self.conditions.check(state, self.key)
        old = found.attributes
        attributes = Attributes(
            old.metadata if self.metadata is None else self.metadata,
            old.tags if self.tags is None else self.tags,
        )
        version_id = made(self.key)
        after = state.add(self.key, Version(version_id, content, attributes))
        headers = state.new_version_header(version_id)
        headers |= self.source.version_header(state, found)
        return after, Expected(200, headers=headers, etag=content.etag)


@dataclass(frozen=True)
class Delete(Operation):
    """version "": the current one, which in a versioned bucket makes a delete marker."""

    key: str
    version: str = ""
    conditions: Conditions = UNCONDITIONAL
    bypass: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def call(self) -> Call:
        headers = self.conditions.headers()
        if self.bypass:
            headers["x-amz-bypass-governance-retention"] = "true"
        return Call("DELETE", self.key, version_query(self.version), headers)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        self.conditions.check(state, self.key, deletes=True)
        if self.version:
            found = state.named(self.key, self.version)
            if found is not None and found.content is not None and retained(found, self.bypass):
                raise Refused(403, "AccessDenied")
            marker = found is not None and found.content is None
            headers = {
                "x-amz-version-id": self.version,
                "x-amz-delete-marker": "true" if marker else None,
            }
            return state.remove(self.key, self.version), Expected(204, headers=headers)
        nothing = Expected(204, headers={"x-amz-version-id": None, "x-amz-delete-marker": None})
        if self.conditions.size >= 0 and state.current(self.key) is None:
            return state, nothing  # no size to hold against anything: S3 calls that a success
        if not state.versioning:
            return state.remove(self.key, NULL), nothing
        version_id = made(self.key) if state.versioning == "Enabled" else NULL
        after = state.add(self.key, Version(version_id, None))
        headers = {"x-amz-version-id": version_id, "x-amz-delete-marker": "true"}
        return after, Expected(204, headers=headers)


@dataclass(frozen=True)
class DeleteMany(Operation):
    """Each of `entries` by itself, in this order; their only condition is an ETag."""

    entries: tuple[Delete, ...]
    bypass: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.key for entry in self.entries))

    def alone(self) -> list[Delete]:
        return [replace(entry, bypass=self.bypass) for entry in self.entries]

    def call(self) -> Call:
        rows = "".join(
            f"<Object><Key>{escape(entry.key)}</Key>"
            + (f"<VersionId>{entry.version}</VersionId>" if entry.version else "")
            + (f"<ETag>{etag}</ETag>" if (etag := entry.conditions.if_match) else "")
            + "</Object>"
            for entry in self.entries
        )
        body = f"<Delete>{rows}</Delete>".encode()
        headers = xml_headers(body)
        if self.bypass:
            headers["x-amz-bypass-governance-retention"] = "true"
        return Call("POST", "", (("delete", ""),), headers, body)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        rows: list[tuple[str, ...]] = []
        for entry in self.alone():
            state, expected = perform(entry, state, made)
            named = (entry.key, entry.version)
            if expected.code:
                rows.append((*named, expected.code))
            elif expected.headers.get("x-amz-delete-marker"):
                rows.append((*named, "true", expected.headers["x-amz-version-id"] or ""))
            else:
                rows.append((*named, "", ""))
        return state, Expected(200, entries=frozenset(rows))


def deleted_entries(answer: Answer) -> Iterable[tuple[str, ...]]:
    """Of DeleteObjects: (key, version asked for, is a marker, its id), or (key, version, code)."""
    for row in answer.xml:
        named = (row.findtext("Key") or "", row.findtext("VersionId") or "")
        if row.tag == "Error":
            yield (*named, row.findtext("Code") or "")
        else:
            marker = row.findtext("DeleteMarker") or ""
            yield (*named, marker, row.findtext("DeleteMarkerVersionId") or "")


@dataclass(frozen=True)
class PutTags(Operation):
    """tags None: DeleteObjectTagging."""

    key: str
    version: str
    tags: Pairs | None

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def call(self) -> Call:
        query = (("tagging", ""), *version_query(self.version))
        if self.tags is None:
            return Call("DELETE", self.key, query)
        rows = "".join(
            f"<Tag><Key>{escape(name)}</Key><Value>{escape(value)}</Value></Tag>"
            for name, value in self.tags
        )
        body = f"<Tagging><TagSet>{rows}</TagSet></Tagging>".encode()
        return Call("PUT", self.key, query, xml_headers(body), body)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        found = state.to_change(self.key, self.version)
        attributes = replace(found.attributes, tags=self.tags or ())
        after = state.change(self.key, found.id, attributes)
        headers = {"x-amz-version-id": found.id if state.versioning else None}
        return after, Expected(204 if self.tags is None else 200, headers=headers)


@dataclass(frozen=True)
class PutAcl(Operation):
    key: str
    version: str
    acl: str

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def call(self) -> Call:
        query = (("acl", ""), *version_query(self.version))
        return Call("PUT", self.key, query, {"x-amz-acl": self.acl})

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        found = state.find(self.key, self.version)
        after = state.change(self.key, found.id, replace(found.attributes, acl=self.acl))
        return after, Expected(200)


@dataclass(frozen=True)
class PutRetention(Operation):
    """mode "": none any more."""

    key: str
    version: str
    mode: str
    until: str
    bypass: bool

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def call(self) -> Call:
        inner = ""
        if self.mode:
            inner = f"<Mode>{self.mode}</Mode><RetainUntilDate>{self.until}</RetainUntilDate>"
        body = f"<Retention>{inner}</Retention>".encode()
        headers = xml_headers(body)
        if self.bypass:
            headers["x-amz-bypass-governance-retention"] = "true"
        return Call(
            "PUT", self.key, (("retention", ""), *version_query(self.version)), headers, body
        )

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        found = state.to_change(self.key, self.version)
        if not state.lock:
            raise Refused(400, "InvalidRequest")
        old = found.attributes.lock
        if not may_become(old, self.mode, self.until, self.bypass):
            raise Refused(403, "AccessDenied")
        lock = Lock(self.mode, self.until, old.hold)
        return state.change(self.key, found.id, replace(found.attributes, lock=lock)), Expected(200)


@dataclass(frozen=True)
class PutHold(Operation):
    key: str
    version: str
    hold: bool

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def call(self) -> Call:
        status = "ON" if self.hold else "OFF"
        body = f"<LegalHold><Status>{status}</Status></LegalHold>".encode()
        query = (("legal-hold", ""), *version_query(self.version))
        return Call("PUT", self.key, query, xml_headers(body), body)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        found = state.to_change(self.key, self.version)
        if not state.lock:
            raise Refused(400, "InvalidRequest")
        lock = replace(found.attributes.lock, hold=self.hold)
        return state.change(self.key, found.id, replace(found.attributes, lock=lock)), Expected(200)


@dataclass(frozen=True)
class SetVersioning(Operation):
    status: str

    def call(self) -> Call:
        body = f"<VersioningConfiguration><Status>{self.status}</Status>".encode()
        body += b"</VersioningConfiguration>"
        return Call("PUT", "", (("versioning", ""),), xml_headers(body), body)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        if state.lock and self.status == "Suspended":
            raise Refused(409, "InvalidBucketState")
        return replace(state, versioning=self.status), Expected(200)


@dataclass(frozen=True)
class EnableLock(Operation):
    """Without a default retention."""

    def call(self) -> Call:
        body = (
            b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
            b"</ObjectLockConfiguration>"
        )
        return Call("PUT", "", (("object-lock", ""),), xml_headers(body), body)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        if not state.lock and state.versioning != "Enabled":
            raise Refused(409, "InvalidBucketState")
        return replace(state, lock=True), Expected(200)


@dataclass(frozen=True)
class Rename(Operation):
    """source_if_match "": none."""

    source: str
    key: str
    source_if_match: str = ""
    conditions: Conditions = UNCONDITIONAL

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.source, self.key)))

    def call(self) -> Call:
        headers = {"x-amz-rename-source": f"/{quote(self.source)}", **self.conditions.headers()}
        if self.source_if_match:
            headers["x-amz-rename-source-if-match"] = f'"{self.source_if_match}"'
        return Call("PUT", self.key, (("renameObject", ""),), headers)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        if self.source == self.key:
            raise Refused(400, "InvalidRequest")
        if state.versioning:
            raise Refused(501, "NotImplemented")
        found = state.current(self.source)
        if found is None:
            raise Refused(404, "NoSuchKey")
        assert found.content is not None
        if self.source_if_match not in ("", found.content.etag):
            raise Refused(412, "PreconditionFailed")
        self.conditions.check(state, self.key)
        return state.remove(self.source, NULL).add(self.key, found), Expected(200)
