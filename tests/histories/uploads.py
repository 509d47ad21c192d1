"""The operations of multipart uploads: what is sent, what it does to the model, what is answered.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.histories.model import (
    NULL,
    PART_BYTES_MIN,
    UNCONDITIONAL,
    Attributes,
    Conditions,
    Content,
    Expected,
    Made,
    Refused,
    State,
    Upload,
    Version,
)
from tests.histories.operations import (
    Call,
    Operation,
    Source,
    attribute_headers,
    check_lock_allowed,
)


@dataclass(frozen=True)
class CreateUpload(Operation):
    key: str
    attributes: Attributes

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def call(self) -> Call:
        return Call("POST", self.key, (("uploads", ""),), attribute_headers(self.attributes))

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        check_lock_allowed(state, self.attributes)
        upload = Upload(made(self.key), self.key, self.attributes)
        return replace(state, uploads=(*state.uploads, upload)), Expected(200)


@dataclass(frozen=True)
class OfUpload(Operation):
    key: str
    upload: str

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)


@dataclass(frozen=True)
class UploadPart(OfUpload):
    number: int
    content: Content

    def call(self) -> Call:
        query = (("partNumber", str(self.number)), ("uploadId", self.upload))
        return Call("PUT", self.key, query, {}, self.content.data)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        upload = state.upload(self.upload, self.key)
        headers = {"etag": f'"{self.content.etag}"'}
        return _with_part(state, upload, self.number, self.content), Expected(200, headers=headers)


def _with_part(state: State, upload: Upload, number: int, content: Content) -> State:
    parts = tuple(sorted((dict(upload.parts) | {number: content}).items()))
    return state.with_upload(replace(upload, parts=parts))


@dataclass(frozen=True)
class UploadPartCopy(OfUpload):
    """first, count: the range of the source; count 0: the whole."""

    bucket: str
    number: int
    source: Source
    first: int = 0
    count: int = 0

    def call(self) -> Call:
        query = (("partNumber", str(self.number)), ("uploadId", self.upload))
        headers = {"x-amz-copy-source": self.source.header(self.bucket)}
        if self.count:
            last = self.first + self.count - 1
            headers["x-amz-copy-source-range"] = f"bytes={self.first}-{last}"
        return Call("PUT", self.key, query, headers)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        upload = state.upload(self.upload, self.key)
        found = self.source.find(state)
        content = found.content
        assert content is not None
        if self.count:
            if self.first + self.count > len(content.data):
                raise Refused(416, "InvalidRange")
            content = Content.of(content.data[self.first : self.first + self.count])
        elif "-" in content.etag:
            content = Content.of(content.data)
        headers = self.source.version_header(state, found)
        after = _with_part(state, upload, self.number, content)
        return after, Expected(200, headers=headers, etag=content.etag)


@dataclass(frozen=True)
class Complete(OfUpload):
    """parts: (number, ETag) as they are named in the request."""

    parts: tuple[tuple[int, str], ...]
    conditions: Conditions = UNCONDITIONAL

    def call(self) -> Call:
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
            for number, etag in self.parts
        )
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        query = (("uploadId", self.upload),)
        return Call("POST", self.key, query, self.conditions.headers(), body)

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        numbers = [number for number, _ in self.parts]
        if numbers != sorted(set(numbers)):
            raise Refused(400, "InvalidPartOrder")
        current = state.current(self.key)
        if current is not None and (current.upload, current.parts) == (self.upload, self.parts):
            assert current.content is not None  # asked again: the same success
            header = {"x-amz-version-id": None if current.id == NULL else current.id}
            return state, Expected(200, headers=header, etag=current.content.etag)
        upload = state.upload(self.upload, self.key)
        there = dict(upload.parts)
        chosen: list[Content] = []
        for number, etag in self.parts:
            part = there.get(number)
            if part is None or part.etag != etag:
                raise Refused(400, "InvalidPart")
            chosen.append(part)
        if any(len(part.data) < PART_BYTES_MIN for part in chosen[:-1]):
            raise Refused(400, "EntityTooSmall")
        self.conditions.check(state, self.key)
        whole = Content.joined(chosen)
        version_id = made(self.key)
        version = Version(version_id, whole, upload.attributes, upload.id, self.parts)
        after = state.end_upload(upload).add(self.key, version)
        return after, Expected(200, headers=state.new_version_header(version_id), etag=whole.etag)


@dataclass(frozen=True)
class Abort(OfUpload):
    def call(self) -> Call:
        return Call("DELETE", self.key, (("uploadId", self.upload),))

    def apply(self, state: State, made: Made) -> tuple[State, Expected]:
        upload = state.upload(self.upload, self.key)
        return state.end_upload(upload), Expected(204)
