"""Every read that shows what a bucket holds, and what it must show of a state.

Rule: a read is compared with a state and gives that state back, with what only the server knew
(ids, times) bound; what does not fit raises Mismatch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from tests.histories.model import (
    UNKNOWN_PREFIX,
    Mismatch,
    Refused,
    State,
    Version,
)
from tests.histories.operations import Call, version_query
from tests.s3.raw import Answer

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
#: the grants to groups of the canned ACLs that are used here
CANNED = {
    "private": (),
    "public-read": ((ALL_USERS, "READ"),),
    "public-read-write": ((ALL_USERS, "READ"), (ALL_USERS, "WRITE")),
    "authenticated-read": ((AUTHENTICATED_USERS, "READ"),),
}


class Read(NamedTuple):
    """parse: what of the answer is compared. fit: the state as it is known now. Both raise Mismatch.
    whole: the body is all there is to it, so one that is equal needs no second look."""

    call: Call
    parse: Callable[[Answer], Any]
    fit: Callable[[State, Any], State]
    whole: bool = False


def _answered(answer: Answer) -> Answer:
    if answer.status != 200:
        raise Mismatch(f"answered {answer.status} {answer.body[:300]!r}")
    return answer


def _same(what: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise Mismatch(f"{what}: seen {_short(seen)}, expected {_short(expected)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 1500 else f"{text[:1500]}…"


def _bind(known: str, seen: str, what: str) -> str:
    """`seen` for what no answer has told yet, else they must agree."""
    if known and not known.startswith(UNKNOWN_PREFIX) and known != seen:
        raise Mismatch(f"{what}: seen {seen}, expected {known}")
    return seen


def _byte_order(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: key.encode())


# ---- ListObjectVersions


class VersionRow(NamedTuple):
    key: str
    id: str
    latest: bool
    marker: bool
    etag: str
    size: int
    modified: str


def _version_rows(answer: Answer) -> list[VersionRow]:
    """Of one page or of a whole bucket; markers and versions stand in the order of the answer."""
    rows = []
    for row in _answered(answer).xml:
        if row.tag in ("Version", "DeleteMarker"):
            text = {child.tag: child.text or "" for child in row}
            rows.append(
                VersionRow(
                    text["Key"],
                    text["VersionId"],
                    text["IsLatest"] == "true",
                    row.tag == "DeleteMarker",
                    text.get("ETag", "").strip('"'),
                    int(text.get("Size", "0")),
                    text["LastModified"],
                )
            )
    return rows


def fit_versions(state: State, rows: list[VersionRow]) -> State:
    expected = [
        (key, version, at == 0)
        for key in _byte_order(state.keys)
        for at, version in enumerate(state.versions(key))
    ]
    if len(rows) != len(expected):
        _same("the versions", [row[:4] for row in rows], [(k, v.id, at) for k, v, at in expected])
    found: dict[str, list[Version]] = {}
    for row, (key, version, latest) in zip(rows, expected, strict=True):
        content = version.content
        seen = (row.key, row.latest, row.marker, row.etag, row.size)
        etag, size = ("", 0) if content is None else (content.etag, len(content.data))
        _same("a version", seen, (key, latest, content is None, etag, size))
        bound_id = _bind(version.id, row.id, f"the version of {key!r}")
        modified = _bind(version.modified, row.modified, f"the time of {key!r} {row.id}")
        if (bound_id, modified) != (version.id, version.modified):
            version = replace(version, id=bound_id, modified=modified)
        found.setdefault(key, []).append(version)
    return replace(state, keys={key: tuple(versions) for key, versions in found.items()})


VERSIONS = Read(Call("GET", "", (("versions", ""),)), _version_rows, fit_versions, whole=True)


# ---- ListObjectsV2


class ObjectRow(NamedTuple):
    key: str
    etag: str
    size: int
    modified: str


def _object_rows(answer: Answer) -> list[ObjectRow]:
    return [
        ObjectRow(
            row.findtext("Key") or "",
            (row.findtext("ETag") or "").strip('"'),
            int(row.findtext("Size") or -1),
            row.findtext("LastModified") or "",
        )
        for row in _answered(answer).xml
        if row.tag == "Contents"
    ]


def fit_objects(state: State, rows: list[ObjectRow]) -> State:
    currents = [(key, state.current(key)) for key in _byte_order(state.keys)]
    expected = [
        (key, v.content.etag, len(v.content.data)) for key, v in currents if v and v.content
    ]
    _same("the objects", [row[:3] for row in rows], expected)
    for row in rows:
        newest, *older = state.versions(row.key)
        modified = _bind(newest.modified, row.modified, f"the time of {row.key!r}")
        if modified != newest.modified:
            state = state.with_versions(row.key, (replace(newest, modified=modified), *older))
    return state


OBJECTS = Read(Call("GET", "", (("list-type", "2"),)), _object_rows, fit_objects, whole=True)


def _folders(answer: Answer) -> tuple[list[str], list[str]]:
    page = _answered(answer)
    return page.texts("Contents/Key"), page.texts("CommonPrefixes/Prefix")


def _fit_folders(state: State, seen: tuple[list[str], list[str]]) -> State:
    keys = [key for key in _byte_order(state.keys) if state.current(key)]
    prefixes = dict.fromkeys(key.partition("/")[0] + "/" for key in keys if "/" in key)
    _same("the root", seen, ([key for key in keys if "/" not in key], list(prefixes)))
    return state


FOLDERS = Read(
    Call("GET", "", (("delimiter", "/"), ("list-type", "2"))), _folders, _fit_folders, whole=True
)


# ---- uploads


def _upload_rows(answer: Answer) -> list[tuple[str, str]]:
    rows = _answered(answer).xml.findall("Upload")
    return [(row.findtext("Key") or "", row.findtext("UploadId") or "") for row in rows]


def _fit_uploads(state: State, rows: list[tuple[str, str]]) -> State:
    uploads = sorted(state.uploads, key=lambda upload: upload.key.encode())  # stable: by initiation
    if [key for key, _ in rows] != [upload.key for upload in uploads]:
        _same("the uploads", rows, [(upload.key, upload.id) for upload in uploads])
    names = {
        upload.id: _bind(upload.id, seen, f"an upload of {upload.key!r}")
        for upload, (_, seen) in zip(uploads, rows, strict=True)
    }
    return replace(state, uploads=tuple(replace(u, id=names[u.id]) for u in state.uploads))


UPLOADS = Read(Call("GET", "", (("uploads", ""),)), _upload_rows, _fit_uploads, whole=True)


def parts_of(key: str, upload_id: str) -> Read:
    def parse(answer: Answer) -> tuple[int, list[tuple[int, str, int]]]:
        if answer.status != 200:
            return answer.status, []
        return 200, [
            (
                int(row.findtext("PartNumber") or 0),
                (row.findtext("ETag") or "").strip('"'),
                int(row.findtext("Size") or -1),
            )
            for row in answer.xml.findall("Part")
        ]

    def fit(state: State, seen: tuple[int, list[tuple[int, str, int]]]) -> State:
        try:
            upload = state.upload(upload_id, key)
        except Refused:
            _same("the parts of an ended upload", seen, (404, []))
            return state
        parts = [(number, part.etag, len(part.data)) for number, part in upload.parts]
        _same("the parts", seen, (200, parts))
        return state

    return Read(Call("GET", key, (("uploadId", upload_id),)), parse, fit)


# ---- one object


def _wanted_headers(state: State, version: Version, named: bool) -> dict[str, str | None]:
    content, attributes = version.content, version.attributes
    assert content is not None
    lock = attributes.lock
    # as the answer spells it: to the millisecond
    until = f"{lock.until[:-1]}.000Z" if lock.mode else None
    headers: dict[str, str | None] = {
        "etag": f'"{content.etag}"',
        "x-amz-version-id": version.id if named or state.versioning else None,
        "x-amz-tagging-count": str(len(attributes.tags)) if attributes.tags else None,
        "x-amz-object-lock-mode": lock.mode or None,
        "x-amz-object-lock-retain-until-date": until,
        "x-amz-object-lock-legal-hold": "ON" if lock.hold else None,
        "x-amz-delete-marker": None,
    }
    return headers


def object_at(key: str, version_id: str = "", *, head: bool = False, tail_bytes: int = 0) -> Read:
    """GetObject or HeadObject. tail_bytes: only the last bytes, 0 for all."""
    headers = {"range": f"bytes=-{tail_bytes}"} if tail_bytes else {}
    call = Call("HEAD" if head else "GET", key, version_query(version_id), headers)

    def fit(state: State, answer: Answer) -> State:
        try:
            version = state.find(key, version_id)
        except Refused as refused:
            expected = refused.expected
            _same("the status", answer.status, expected.status)
            if not head:
                _same("the code", answer.code, expected.code)
            headers = {"x-amz-delete-marker": None, "x-amz-version-id": None, **expected.headers}
            _same_headers(answer, headers)
            return state
        assert version.content is not None
        data = version.content.data
        partial = bool(tail_bytes and data)
        _same("the status", answer.status, 206 if partial else 200)
        _same_headers(answer, _wanted_headers(state, version, bool(version_id)))
        metadata = tuple(
            sorted(
                (name.removeprefix("x-amz-meta-"), value)
                for name, value in answer.headers.items()
                if name.startswith("x-amz-meta-")
            )
        )
        _same("the metadata", metadata, tuple(sorted(version.attributes.metadata)))
        if head:
            _same("the length", answer.headers.get("content-length"), str(len(data)))
        elif answer.body != (data[-tail_bytes:] if partial else data):
            raise Mismatch(f"the content differs: {len(answer.body)} of {len(data)} bytes")
        return state

    if tail_bytes:  # of an empty or absent object there is no last byte: 416 is not at stake here
        assert not head
    return Read(call, lambda answer: answer, fit)


def _same_headers(answer: Answer, headers: dict[str, str | None]) -> None:
    seen = {name: answer.headers.get(name) for name in headers}
    known = {
        name: seen[name] if value and value.startswith(UNKNOWN_PREFIX) else value
        for name, value in headers.items()
    }
    _same("the headers", seen, known)


def tags_at(key: str, version_id: str) -> Read:
    def parse(answer: Answer) -> tuple[int, tuple[tuple[str, str], ...]]:
        if answer.status != 200:
            return answer.status, ()
        rows = answer.xml.findall("TagSet/Tag")
        tags = tuple((row.findtext("Key") or "", row.findtext("Value") or "") for row in rows)
        return 200, tags

    def fit(state: State, seen: tuple[int, tuple[tuple[str, str], ...]]) -> State:
        try:
            tags = state.find(key, version_id).attributes.tags
        except Refused as refused:
            _same("the tags", seen, (refused.expected.status, ()))
            return state
        _same("the tags", seen, (200, tuple(sorted(tags))))
        return state

    return Read(Call("GET", key, (("tagging", ""), *version_query(version_id))), parse, fit)


def acl_at(key: str, version_id: str) -> Read:
    def parse(answer: Answer) -> tuple[int, tuple[tuple[str, str], ...]]:
        if answer.status != 200:
            return answer.status, ()
        grants = [
            (row.findtext("Grantee/URI") or "", row.findtext("Permission") or "")
            for row in answer.xml.findall("AccessControlList/Grant")
        ]
        return 200, tuple(grant for grant in grants if grant[0])

    def fit(state: State, seen: tuple[int, tuple[tuple[str, str], ...]]) -> State:
        try:
            acl = state.find(key, version_id).attributes.acl
        except Refused as refused:
            _same("the ACL", seen, (refused.expected.status, ()))
            return state
        _same("the ACL", seen, (200, CANNED[acl]))
        return state

    return Read(Call("GET", key, (("acl", ""), *version_query(version_id))), parse, fit)


def _fit_versioning(state: State, status: str) -> State:
    _same("the versioning", status, state.versioning)
    return state


VERSIONING = Read(
    Call("GET", "", (("versioning", ""),)), lambda answer: _answered(answer).text("Status"),
    _fit_versioning, whole=True,
)  # fmt: skip
