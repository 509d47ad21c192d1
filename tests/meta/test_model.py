"""The SQLite store against the model: the same random commands, the same clock, equal in all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.meta.commands import (
    AbortUpload,
    BucketCreated,
    ChangeVersion,
    Command,
    CompleteUpload,
    Conditions,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    EnableObjectLock,
    ForgetBlobs,
    ForgetDirectories,
    InlineContent,
    ObjectPut,
    PartPut,
    PutDocument,
    PutObject,
    PutPart,
    ReapParts,
    RenameObject,
    Retention,
    SetVersioning,
    SharedContent,
    SharedParts,
    StoredContent,
    UploadCreated,
)
from holdfast.testing.memory_meta import MemoryMetaStore
from tests.meta.running import OWNER, Running

START_US = 1_700_000_000_000_000
KEYS = st.sampled_from([b"a", b"a/b", b"a/b/c", b"a/c", b"b", b"\xc3\xa4", b"\xff", b"\xff\xff/x"])
NAMES = st.sampled_from(["one", "two"])
ETAGS = st.sampled_from(["0" * 32, "1" * 32, "f" * 32 + "-2"])
VERSIONS = st.sampled_from(["current", "null", "some"])
UNTIL_MS = START_US // 1000 + 5_000
CHANGES: list[dict[str, Any]] = [
    {"tags": {"a": "b"}, "acl": b"x"},
    {"legal_hold": True},
    {"legal_hold": False, "tags": {}},
    {"retention": Retention("", 0)},
    {"retention": Retention("GOVERNANCE", UNTIL_MS)},
    {"retention": Retention("COMPLIANCE", UNTIL_MS - 3_000)},
]
CONTENTS = st.integers(0, 3)
LATEST = st.integers(-3, -1)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_us = START_US
        self.n = 0
        self.directory = Path(tempfile.mkdtemp(prefix="holdfast-model-"))
        self.model = MemoryMetaStore(now_us=lambda: self.now_us)
        self.running = Running(self.directory, now_us=lambda: self.now_us)
        self.running.__enter__()
        self.bucket_ids = [99]
        self.seqs = [1]
        self.uploads = [1]
        self.parts: list[tuple[int, int, int]] = []
        self.blobs = [1]

    def teardown(self) -> None:
        self.running.__exit__(None, None, None)
        shutil.rmtree(self.directory)

    def both(self, work: Any) -> Any:
        """`work(store)` of both; equal, or this test fails."""
        expected = self.running.run(work(self.model))
        assert self.running.run(work(self.running.meta)) == expected
        return expected

    def submit(self, command: Command) -> Any:
        result = self.both(lambda store: store.submit(command))
        if isinstance(result, ObjectPut):
            self.seqs.append(result.seq)
        return result

    def content(self, which: int) -> tuple[InlineContent | StoredContent, int]:
        """Two small inline ones, two files of which there are many copies."""
        self.n += 1
        if which < 2:
            return InlineContent(b"x" * which), which
        return StoredContent(bytes([which]) * 32, self.n, 100_000, self.now_us // 1000), 100_000

    @initialize()
    def first_bucket(self) -> None:
        self.create("one")

    @rule(us=st.integers(-2_000_000, 5_000_000))
    def time_passes(self, us: int) -> None:
        self.now_us += us

    @rule(name=NAMES)
    def create(self, name: str) -> None:
        result = self.submit(CreateBucket(name, OWNER, "us-east-1"))
        if isinstance(result, BucketCreated):
            self.bucket_ids.append(result.bucket.id)

    @rule(at=LATEST)
    def delete_bucket(self, at: int) -> None:
        self.submit(DeleteBucket(self.bucket_ids[max(at, -len(self.bucket_ids))]))

    @rule(status=st.sampled_from(["Enabled", "Suspended"]))
    def versioning(self, status: str) -> None:
        self.submit(SetVersioning(self.bucket_ids[-1], status))

    @rule()
    def enable_object_lock(self) -> None:
        self.submit(EnableObjectLock(self.bucket_ids[-1]))

    @rule(kind=st.sampled_from(["a", "a:1", "b"]), body=st.sampled_from([b"x", None]))
    def configure(self, kind: str, body: bytes | None) -> None:
        self.submit(PutDocument(self.bucket_ids[-1], kind, body))
        self.both(lambda store: store.documents(self.bucket_ids[-1], "a"))

    @rule(
        key=KEYS,
        version=VERSIONS,
        at=st.integers(-8, -1),
        change=st.sampled_from(CHANGES),
        bypass=st.booleans(),
    )
    def change(
        self, key: bytes, version: str, at: int, change: dict[str, Any], bypass: bool
    ) -> None:
        seq, bucket_id = self.seq_of(version, at), self.bucket_ids[-1]
        self.submit(ChangeVersion(bucket_id, key, seq, bypass_governance=bypass, **change))

    @rule(source=KEYS, key=KEYS)
    def rename(self, source: bytes, key: bytes) -> None:
        self.submit(RenameObject(self.bucket_ids[-1], source, key))

    @rule(key=KEYS, etag=ETAGS, which=CONTENTS, match=st.sampled_from(["", "", "*", "0" * 32]))
    def put(self, key: bytes, etag: str, which: int, match: str) -> None:
        content, size = self.content(which)
        conditions = Conditions(if_match=match)
        bucket_id = self.bucket_ids[-1]
        self.submit(PutObject(bucket_id, key, size, etag, OWNER, content, conditions=conditions))

    @rule(key=KEYS, at=LATEST)
    def copy(self, key: bytes, at: int) -> None:
        blob_id = self.blobs[max(at, -len(self.blobs))]
        shared = SharedContent(blob_id)
        self.submit(PutObject(self.bucket_ids[-1], key, 100_000, "0" * 32, OWNER, shared))

    @rule(key=KEYS, at=LATEST)
    def copy_parts(self, key: bytes, at: int) -> None:
        shared = SharedParts(self.uploads[max(at, -len(self.uploads))])
        self.submit(PutObject(self.bucket_ids[-1], key, 9, "0" * 32, OWNER, shared))

    def seq_of(self, version: str, at: int) -> int:
        return {"current": 0, "null": -1, "some": self.seqs[max(at, -len(self.seqs))]}[version]

    @rule(key=KEYS, version=VERSIONS, at=st.integers(-8, -1), bypass=st.booleans())
    def delete(self, key: bytes, version: str, at: int, bypass: bool) -> None:
        command = DeleteObject(self.bucket_ids[-1], key, OWNER, self.seq_of(version, at))
        self.submit(msgspec.structs.replace(command, bypass_governance=bypass))

    @rule(key=KEYS)
    def create_upload(self, key: bytes) -> None:
        result = self.submit(CreateUpload(self.bucket_ids[-1], key, b"12345678", OWNER))
        if isinstance(result, UploadCreated):
            self.uploads.append(result.upload_id)
            self.parts = []

    @rule(number=st.integers(1, 4), which=CONTENTS)
    def put_part(self, number: int, which: int) -> None:
        content, size = self.content(which)
        bucket_id, upload_id = self.bucket_ids[-1], self.uploads[-1]
        result = self.submit(PutPart(bucket_id, upload_id, number, size, "0" * 32, content))
        if isinstance(result, PartPut):
            self.parts = [one for one in self.parts if one[0] != number]
            self.parts.append((number, result.part.seq, size))

    @rule(skipped=st.integers(0, 2))
    def complete(self, skipped: int) -> None:
        named = sorted(self.parts)[skipped:]
        self.submit(
            CompleteUpload(
                self.bucket_ids[-1],
                self.uploads[-1],
                [(number, seq) for number, seq, _ in named],
                sum(size for _, _, size in named),
                "0" * 32 + "-1",
            )
        )

    @rule()
    def abort(self) -> None:
        self.submit(AbortUpload(self.bucket_ids[-1], self.uploads[-1]))

    @rule(limit=st.integers(1, 3))
    def collect(self, limit: int) -> None:
        self.submit(ReapParts(limit))
        going = self.both(lambda store: store.going_blobs(1 << 60, 3))
        self.submit(ForgetBlobs([blob.id for blob, _ in going][:limit]))
        directories = self.both(lambda store: store.deleted_bucket_directories(3))
        self.submit(ForgetDirectories(directories))

    @rule(
        prefix=st.sampled_from([b"", b"a", b"a/", b"\xff"]),
        delimiter=st.sampled_from([b"", b"/", b"\xff"]),
        after=st.sampled_from([b"", b"a", b"a/", b"a/b", b"\xff"]),
        limit=st.integers(0, 4),
    )
    def list(self, prefix: bytes, delimiter: bytes, after: bytes, limit: int) -> None:
        for bucket_id in self.bucket_ids:
            self.both(
                lambda store, bucket_id=bucket_id: store.list_objects(
                    bucket_id, prefix, delimiter, after, limit
                )
            )

    @rule(
        prefix=st.sampled_from([b"", b"a", b"a/", b"\xff"]),
        delimiter=st.sampled_from([b"", b"/", b"\xff"]),
        after=st.sampled_from([b"", b"a", b"a/", b"a/b", b"\xff"]),
        at=st.none() | st.integers(-9, -1),
        limit=st.integers(0, 4),
    )
    def list_versions(
        self, prefix: bytes, delimiter: bytes, after: bytes, at: int | None, limit: int
    ) -> None:
        bucket_id = self.bucket_ids[-1]
        seqs = [-1, *self.seqs]
        seq = None if at is None else seqs[max(at, -len(seqs))]
        arguments = (bucket_id, prefix, delimiter, after, seq, limit)
        self.both(lambda store: store.list_versions(*arguments))
        upload_id = None if at is None else self.uploads[max(at, -len(self.uploads))]
        arguments = (bucket_id, prefix, delimiter, after, upload_id, limit)
        self.both(lambda store: store.list_uploads(*arguments))

    @rule(key=KEYS, at=st.integers(-8, -1))
    def find(self, key: bytes, at: int) -> None:
        bucket_id, seq = self.bucket_ids[-1], self.seqs[max(at, -len(self.seqs))]
        for which in (0, -1, seq):
            found = self.both(
                lambda store, which=which: store.find(bucket_id, key, which, with_data=True)
            )
            if found is not None and found.version.parts_id:
                self.both(lambda store, found=found: store.parts(found.version.parts_id))

    @invariant()
    def blobs_agree(self) -> None:
        live = self.both(lambda store: store.blobs_after(0, 100))
        self.blobs = [1] + [blob.id for blob, _, _ in live]
        self.both(lambda store: store.list_buckets(None))
        self.both(lambda store: store.expired_uploads(1 << 60, 100))

    @invariant()
    def check_is_clean(self) -> None:
        assert self.both(lambda store: store.check()) == []


TestModel = Machine.TestCase
TestModel.settings = settings(
    max_examples=20,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Shrinking would start hundreds of committers.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
