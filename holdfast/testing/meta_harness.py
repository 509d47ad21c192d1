"""What the conformance suite of MetaStore is written with: a bucket, short ways to act."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from holdfast.meta.commands import (
    NO_CONDITIONS,
    BucketCreated,
    Command,
    CompleteUpload,
    Conditions,
    Content,
    CreateBucket,
    CreateUpload,
    DeleteObject,
    Done,
    InlineContent,
    ObjectDeleted,
    ObjectPut,
    PartPut,
    PutObject,
    PutPart,
    Reaped,
    ReapParts,
    Result,
    SetVersioning,
    SharedContent,
    StoredContent,
    UploadCreated,
)
from holdfast.meta.contract import MetaStore
from holdfast.meta.records import Bucket

T = TypeVar("T")
PartContent = InlineContent | StoredContent | SharedContent
OWNER = "a" * 64
OTHER = "b" * 64
FAR_MS = 1 << 50
HOUR_MS = 3_600_000


class StoreUnderTest(Protocol):
    """`run` drives one coroutine of `meta` to its end, on the loop that the store belongs to."""

    @property
    def meta(self) -> MetaStore: ...

    def run(self, work: Coroutine[Any, Any, T]) -> T: ...


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def stored(data: bytes, n: int, age_ms: int = 0) -> StoredContent:
    """A file as if it had been published just now."""
    return StoredContent(sha(data), n, len(data), int(time.time() * 1000) - age_ms)


class MetaHarness:
    """Subclass it with a fixture `store` that gives a StoreUnderTest, empty."""

    under_test: StoreUnderTest
    bucket: Bucket

    @pytest.fixture(autouse=True)
    def _prepared(self, store: StoreUnderTest) -> Iterator[None]:
        self.under_test = store
        self.bucket = self.create("bucket")
        yield
        assert self.run(self.meta.check()) == []

    # -- shorthand -----------------------------------------------------------------------------

    @property
    def meta(self) -> MetaStore:
        return self.under_test.meta

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.under_test.run(work)

    def submit(self, command: Command) -> Result:
        return self.run(self.meta.submit(command))

    def create(self, name: str, owner: str = OWNER) -> Bucket:
        result = self.submit(CreateBucket(name, owner, "us-east-1"))
        assert isinstance(result, BucketCreated)
        return result.bucket

    def versioning(self, status: str) -> None:
        done = self.submit(SetVersioning(self.bucket.id, status))
        assert done == Done()

    def put_command(
        self,
        key: bytes,
        data: bytes = b"data",
        *,
        content: Content | None = None,
        conditions: Conditions = NO_CONDITIONS,
        bucket_id: int = 0,
        **more: Any,
    ) -> PutObject:
        return PutObject(
            bucket_id or self.bucket.id,
            key,
            len(data),
            md5(data),
            OWNER,
            content or InlineContent(data),
            conditions=conditions,
            **more,
        )

    def put(self, key: bytes, data: bytes = b"data", **more: Any) -> ObjectPut:
        result = self.submit(self.put_command(key, data, **more))
        assert isinstance(result, ObjectPut), result
        return result

    def delete(
        self, key: bytes, seq: int = 0, conditions: Conditions = NO_CONDITIONS
    ) -> ObjectDeleted:
        result = self.submit(DeleteObject(self.bucket.id, key, OWNER, seq, conditions))
        assert isinstance(result, ObjectDeleted), result
        return result

    def data(self, key: bytes, seq: int = 0) -> bytes | None:
        """The inline bytes that a GET sees; None for no object or a delete marker."""
        found = self.run(self.meta.find(self.bucket.id, key, seq, with_data=True))
        if found is None or found.version.delete_marker:
            return None
        return found.data if found.version.size else b""

    def keys(self, prefix: bytes = b"", delimiter: bytes = b"", after: bytes = b"") -> list[bytes]:
        page = self.run(self.meta.list_objects(self.bucket.id, prefix, delimiter, after, 1000))
        return sorted([entry.key for entry in page.entries] + page.common_prefixes)

    def live(self) -> list[tuple[bytes, int]]:
        """(sha256, references) of all live blobs."""
        return [(blob.sha256, refs) for blob, _, refs in self.run(self.meta.blobs_after(0, 1000))]

    def going(self) -> list[bytes]:
        return [blob.sha256 for blob, _ in self.run(self.meta.going_blobs(FAR_MS, 1000))]

    def upload(self, key: bytes, *parts: tuple[int, PartContent, int]) -> tuple[int, list[PartPut]]:
        """Start an upload and put parts: (number, content, size)."""
        created = self.submit(CreateUpload(self.bucket.id, key, b"8 bytes.", OWNER))
        assert isinstance(created, UploadCreated)
        id = created.upload_id
        return id, [self.put_part(id, number, content, size) for number, content, size in parts]

    def put_part(self, upload_id: int, number: int, content: PartContent, size: int) -> PartPut:
        result = self.submit(PutPart(self.bucket.id, upload_id, number, size, "e" * 32, content))
        assert isinstance(result, PartPut), result
        return result

    def complete(self, upload_id: int, *parts: PartPut) -> Result:
        return self.submit(
            CompleteUpload(
                self.bucket.id,
                upload_id,
                [(one.part.number, one.part.seq) for one in parts],
                sum(one.part.size for one in parts),
                f"{'f' * 32}-{len(parts)}",
            )
        )

    def reap(self) -> int:
        """Reap until nothing is left, three parts at a time."""
        count, turns = 0, 0
        while True:
            result = self.submit(ReapParts(3))
            assert isinstance(result, Reaped)
            assert result.parts <= 3
            count, turns = count + result.parts, turns + 1
            assert turns < 1000
            if not result.more:
                return count
