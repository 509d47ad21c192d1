"""What one bucket holds, as S3 documents it, in the plainest form: for each key its versions, newest
first, delete markers among them.

Rule: states are values. An operation makes a new state, so that several may stand side by side while
it is unknown which one is true. What only the server can know (version ids, upload ids, times) is
taken from its answers; while an answer is missing a stand-in (`?1`, "") holds the place, and the next
listing binds it.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

NULL = "null"
#: makes an id that no answer has told yet
UNKNOWN_PREFIX = "?"
#: AWS: every part but the last
PART_BYTES_MIN = 5 * 1024 * 1024
ENDED_UPLOADS_MAX = 3

Pairs = tuple[tuple[str, str], ...]
#: the id of the new version of a key, as the answer tells it
Made = Callable[[str], str]


class Mismatch(Exception):
    """What was seen can't be in this state."""


class Expected(NamedTuple):
    """An answer. headers: the value that must be there, None for a header that must not.
    entries: of DeleteObjects, each as the answer's element is read."""

    status: int
    code: str = ""
    headers: Mapping[str, str | None] = {}
    etag: str = ""  # in the body
    entries: frozenset[tuple[str, ...]] = frozenset()


class Refused(Exception):
    """Nothing changes, and that is the answer."""

    def __init__(self, status: int, code: str, **headers: str) -> None:
        super().__init__(code)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.expected = Expected(status, code, named)


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that were sent, with the ETag that S3 gives them."""

    data: bytes
    etag: str

    @staticmethod
    def of(data: bytes) -> Content:
        return Content(data, hashlib.md5(data, usedforsecurity=False).hexdigest())

    @staticmethod
    def joined(parts: Iterable[Content]) -> Content:
        parts = list(parts)
        md5s = b"".join(bytes.fromhex(part.etag) for part in parts)
        whole = hashlib.md5(md5s, usedforsecurity=False).hexdigest()
        return Content(b"".join(part.data for part in parts), f"{whole}-{len(parts)}")

    def __repr__(self) -> str:
        return f"<{len(self.data)} bytes {self.etag[:6]}>"


@dataclass(frozen=True, slots=True)
class Lock:
    """Retention and legal hold. mode "": no retention."""

    mode: str = ""
    until: str = ""
    hold: bool = False


UNLOCKED = Lock()


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a version has beside its content."""

    metadata: Pairs = ()
    tags: Pairs = ()
    lock: Lock = UNLOCKED
    acl: str = "private"


PLAIN = Attributes()


@dataclass(frozen=True, slots=True)
class Version:
    """content None: a delete marker. upload, parts: the upload that became it, and its parts as
    (number, ETag). modified: as listings write it, "" while it was not seen."""

    id: str
    content: Content | None
    attributes: Attributes = PLAIN
    upload: str = ""
    parts: tuple[tuple[int, str], ...] = ()
    modified: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    id: str
    key: str
    attributes: Attributes = PLAIN
    parts: tuple[tuple[int, Content], ...] = ()  # ascending


@dataclass(frozen=True, slots=True)
class State:
    """keys: only those with a version. uploads: in the order of their initiation.
    ended: the last ones that were completed or aborted."""

    versioning: str = ""
    lock: bool = False
    keys: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    uploads: tuple[Upload, ...] = ()
    ended: tuple[Upload, ...] = ()

    # ---- looking

    def versions(self, key: str) -> tuple[Version, ...]:
        return self.keys.get(key, ())

    def current(self, key: str) -> Version | None:
        """The version that a plain GET answers; None where there is none, or a delete marker."""
        newest = self.versions(key)[:1]
        return newest[0] if newest and newest[0].content is not None else None

    def named(self, key: str, version_id: str) -> Version | None:
        return next((v for v in self.versions(key) if v.id == version_id), None)

    def find(self, key: str, version_id: str) -> Version:
        """What a read means. Raises Refused."""
        if not version_id:
            newest = self.versions(key)[:1]
            if newest and newest[0].content is None:
                raise Refused(404, "NoSuchKey", x_amz_delete_marker="true",
                              x_amz_version_id=newest[0].id)  # fmt: skip
            if not newest:
                raise Refused(404, "NoSuchKey")
            return newest[0]
        version = self.named(key, version_id)
        if version is None:
            raise Refused(404, "NoSuchVersion")
        if version.content is None:
            raise Refused(405, "MethodNotAllowed", x_amz_delete_marker="true",
                          x_amz_version_id=version.id)  # fmt: skip
        return version

    def to_change(self, key: str, version_id: str) -> Version:
        """The version whose tags or lock are changed. Raises Refused."""
        if version_id:
            version = self.named(key, version_id)
            if version is None:
                raise Refused(404, "NoSuchVersion")
        else:
            newest = self.versions(key)[:1]
            if not newest:
                raise Refused(404, "NoSuchKey")
            version = newest[0]
        if version.content is None:
            raise Refused(405, "MethodNotAllowed")
        return version

    def upload(self, upload_id: str, key: str) -> Upload:
        """Raises Refused."""
        for upload in self.uploads:
            if upload.id == upload_id and upload.key == key:
                return upload
        raise Refused(404, "NoSuchUpload")

    # ---- changing

    def with_versions(self, key: str, versions: tuple[Version, ...]) -> State:
        keys = {**self.keys, key: versions}
        if not versions:
            del keys[key]
        return replace(self, keys=keys)

    def add(self, key: str, version: Version) -> State:
        """A new newest version; its id is ours to give unless versioning is enabled."""
        older = self.versions(key)
        if self.versioning != "Enabled":
            version = replace(version, id=NULL)
            older = tuple(v for v in older if v.id != NULL)
        elif any(v.id == version.id for v in older):
            raise Mismatch(f"the version id {version.id} of {key!r} is given twice")
        return self.with_versions(key, (version, *older))

    def remove(self, key: str, version_id: str) -> State:
        return self.with_versions(key, tuple(v for v in self.versions(key) if v.id != version_id))

    def change(self, key: str, version_id: str, attributes: Attributes) -> State:
        return self.with_versions(
            key,
            tuple(
                replace(v, attributes=attributes) if v.id == version_id else v
                for v in self.versions(key)
            ),
        )

    def with_upload(self, upload: Upload) -> State:
        uploads = tuple(upload if one.id == upload.id else one for one in self.uploads)
        return replace(self, uploads=uploads)

    def end_upload(self, upload: Upload) -> State:
        uploads = tuple(one for one in self.uploads if one.id != upload.id)
        ended = (*self.ended, upload)[-ENDED_UPLOADS_MAX:]
        return replace(self, uploads=uploads, ended=ended)

    def new_version_header(self, made: str) -> dict[str, str | None]:
        """x-amz-version-id of the answer to a write."""
        return {"x-amz-version-id": made if self.versioning == "Enabled" else None}


@dataclass(frozen=True, slots=True)
class Conditions:
    """On the current version of the key that is written; "" is none. size: of a delete, -1 none."""

    if_match: str = ""
    if_none_match: str = ""
    size: int = -1

    def headers(self) -> dict[str, str]:
        named = {"if-match": self.if_match, "if-none-match": self.if_none_match}
        if self.size >= 0:
            named["x-amz-if-match-size"] = str(self.size)
        return {
            name: value if value == "*" or name[0] == "x" else f'"{value}"'
            for name, value in named.items()
            if value
        }

    def check(self, state: State, key: str, *, deletes: bool = False) -> None:
        """Raises Refused. `deletes`: a delete marker is not missing then, it does not match."""
        current = state.current(key)
        etag = current.content.etag if current is not None and current.content else ""
        if self.if_none_match and current is not None and self.if_none_match in ("*", etag):
            raise Refused(412, "PreconditionFailed")
        if self.if_match and current is None:
            if deletes and state.versions(key):
                raise Refused(412, "PreconditionFailed")
            raise Refused(404, "NoSuchKey")
        if self.if_match not in ("", "*", etag):
            raise Refused(412, "PreconditionFailed")
        content = current.content if current is not None else None
        if self.size >= 0 and content is not None and len(content.data) != self.size:
            raise Refused(412, "PreconditionFailed")


UNCONDITIONAL = Conditions()


def retained(version: Version, bypass: bool) -> bool:
    """Whether object lock keeps the version from deletion. Every date here is far away."""
    lock = version.attributes.lock
    return lock.hold or lock.mode == "COMPLIANCE" or (lock.mode == "GOVERNANCE" and not bypass)


def may_become(old: Lock, mode: str, until: str, bypass: bool) -> bool:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html"""
    if not old.mode or (old.mode == mode and until >= old.until):
        return True
    return old.mode == "GOVERNANCE" and bypass
