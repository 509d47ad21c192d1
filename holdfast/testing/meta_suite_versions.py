"""The part of MetaStore's conformance suite about object lock, changed versions and renaming."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from holdfast.meta.commands import (
    BucketCreated,
    ChangeVersion,
    Conditions,
    CreateBucket,
    CreateUpload,
    DeleteObject,
    Done,
    EnableObjectLock,
    InlineContent,
    ObjectDeleted,
    ObjectPut,
    PutDocument,
    Refused,
    RenameObject,
    Result,
    Retention,
    SetVersioning,
    UploadCreated,
    VersionChanged,
)
from holdfast.meta.records import ObjectVersion
from holdfast.testing.meta_harness import HOUR_MS, OWNER, MetaHarness, md5, sha, stored

NONE = Retention("", 0)


def in_ms(more_ms: int) -> int:
    return int(time.time() * 1000) + more_ms


def held(mode: str, more_ms: int) -> dict[str, Any]:
    return {"lock_mode": mode, "retain_until_ms": in_ms(more_ms)}


class VersionTests(MetaHarness):
    def lock(self) -> None:
        self.versioning("Enabled")
        assert self.submit(EnableObjectLock(self.bucket.id)) == Done()

    def version(self, key: bytes, seq: int = 0) -> ObjectVersion:
        found = self.run(self.meta.find(self.bucket.id, key, seq))
        assert found is not None
        return found.version

    def change(self, key: bytes, seq: int = 0, **changes: Any) -> Result:
        return self.submit(ChangeVersion(self.bucket.id, key, seq, **changes))

    # -- buckets -------------------------------------------------------------------------------

    def test_object_lock_needs_versioning_and_keeps_it(self) -> None:
        assert self.submit(EnableObjectLock(99)) == Refused("NoSuchBucket")
        assert self.submit(SetVersioning(99, "Enabled")) == Refused("NoSuchBucket")
        assert self.submit(EnableObjectLock(self.bucket.id)) == Refused("InvalidBucketState")
        self.versioning("Suspended")
        with_rule = EnableObjectLock(self.bucket.id, {"lock": b"rule"})
        assert self.submit(with_rule) == Refused("InvalidBucketState")
        assert self.run(self.meta.document(self.bucket.id, "lock")) is None
        self.lock()
        assert self.submit(with_rule) == Done()
        assert self.run(self.meta.document(self.bucket.id, "lock")) == b"rule"
        assert self.submit(EnableObjectLock(self.bucket.id)) == Done()
        suspend = SetVersioning(self.bucket.id, "Suspended")
        assert self.submit(suspend) == Refused("InvalidBucketState")
        self.versioning("Enabled")
        bucket = self.run(self.meta.bucket("bucket"))
        assert bucket is not None
        assert (bucket.versioning, bucket.object_lock) == ("Enabled", True)

    def test_generation_moves_with_buckets_and_documents(self) -> None:
        seen = [self.meta.generation()]

        def moved(command: Any) -> bool:
            self.submit(command)
            seen.append(self.meta.generation())
            return seen[-1] != seen[-2]

        assert moved(PutDocument(self.bucket.id, "cors", b"x"))
        assert moved(PutDocument(self.bucket.id, "cors", None))
        assert moved(PutDocument(0, "users", b"x"))
        assert moved(CreateBucket("other", OWNER, "us-east-1"))
        assert moved(SetVersioning(self.bucket.id, "Enabled"))
        assert moved(EnableObjectLock(self.bucket.id))
        assert not moved(self.put_command(b"k"))
        assert not moved(ChangeVersion(self.bucket.id, b"k", tags={"a": "b"}))
        assert len(set(seen)) == 7

    # -- what may change -----------------------------------------------------------------------

    @pytest.mark.parametrize("which", ["current", "null", "older"])
    def test_changes_touch_nothing_else(self, which: str) -> None:
        self.put(b"k", b"null", metadata={"m": "null"}, content=stored(b"null", 1))
        self.lock()
        older = self.put(b"k", b"older", metadata={"m": "older"}, acl=b"a")
        self.put(b"k", b"current", metadata={"m": "current"}, checksum="AA==")
        seq = {"current": 0, "null": -1, "older": older.seq}[which]
        seqs = [version.seq for version in (self.version(b"k"), self.version(b"k", -1))]
        before = {one: self.version(b"k", one) for one in (*seqs, older.seq)}
        changed = self.version(b"k", seq)
        until = in_ms(HOUR_MS)
        result = self.change(b"k", seq, tags={"t": "ä"}, legal_hold=True)
        assert result == VersionChanged(changed.seq, which == "null")
        self.change(b"k", seq, acl=b"\x00", retention=Retention("GOVERNANCE", until))
        changed = before[changed.seq] = msgspec.structs.replace(
            before[changed.seq],
            tags={"t": "ä"},
            acl=b"\x00",
            legal_hold=True,
            lock_mode="GOVERNANCE",
            retain_until_ms=until,
        )
        assert {one: self.version(b"k", one) for one in before} == before
        assert self.data(b"k") == b"current"
        self.change(b"k", seq, tags={}, acl=b"", legal_hold=False)
        changed = msgspec.structs.replace(changed, tags={}, acl=b"", legal_hold=False)
        assert self.version(b"k", seq) == changed

    def test_what_can_not_be_changed(self) -> None:
        missing = ChangeVersion(99, b"k", tags={})
        assert self.submit(missing) == Refused("NoSuchBucket")
        assert self.change(b"k", tags={}) == Refused("NoSuchKey")
        assert self.change(b"k", -1, tags={}) == Refused("NoSuchVersion")
        assert self.change(b"k", 5, tags={}) == Refused("NoSuchVersion")
        self.put(b"k")
        for change in ({"legal_hold": False}, {"retention": NONE}):
            assert self.change(b"k", **change) == Refused("InvalidRequest")
        self.versioning("Enabled")
        one = self.put(b"k")
        marker = self.delete(b"k")
        for seq in (0, marker.seq):
            assert self.change(b"k", seq, tags={}) == Refused("MethodNotAllowed")
        assert self.change(b"k", marker.seq + 1, tags={}) == Refused("NoSuchVersion")
        assert self.change(b"k", one.seq, tags={"a": "b"}) == VersionChanged(one.seq, False)
        assert self.version(b"k", one.seq).tags == {"a": "b"}

    @pytest.mark.parametrize(
        ("mode", "wanted", "more_ms", "bypass", "allowed"),
        [
            ("GOVERNANCE", "GOVERNANCE", 1000, False, True),
            ("GOVERNANCE", "GOVERNANCE", 0, False, True),
            ("GOVERNANCE", "GOVERNANCE", -1, False, False),
            ("GOVERNANCE", "GOVERNANCE", -1, True, True),
            ("GOVERNANCE", "COMPLIANCE", 1000, False, False),
            ("GOVERNANCE", "COMPLIANCE", -1, True, True),
            ("GOVERNANCE", "", 0, False, False),
            ("GOVERNANCE", "", 0, True, True),
            ("COMPLIANCE", "COMPLIANCE", 0, False, True),
            ("COMPLIANCE", "COMPLIANCE", 1000, False, True),
            ("COMPLIANCE", "COMPLIANCE", -1, True, False),
            ("COMPLIANCE", "GOVERNANCE", 1000, True, False),
            ("COMPLIANCE", "", 0, True, False),
        ],
    )
    def test_retention(
        self, mode: str, wanted: str, more_ms: int, bypass: bool, allowed: bool
    ) -> None:
        self.lock()
        until = in_ms(HOUR_MS)
        for key, retained in ((b"retained", until), (b"expired", in_ms(-1))):
            self.put(key, lock_mode=mode, retain_until_ms=retained)
            retention = Retention(wanted, until + more_ms if wanted else 0)
            result = self.change(key, tags={"t": ""}, retention=retention, bypass_governance=bypass)
            version = self.version(key)
            if allowed or key == b"expired":
                assert isinstance(result, VersionChanged)
                assert (version.lock_mode, version.retain_until_ms) == (wanted, retention.until_ms)
            else:
                assert result == Refused("AccessDenied")
                assert (version.lock_mode, version.retain_until_ms) == (mode, retained)
                assert version.tags == {}

    # -- object lock ---------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("locked", "bypass", "kept"),
        [
            ({}, False, False),
            ({"legal_hold": True}, True, True),
            (held("COMPLIANCE", HOUR_MS), True, True),
            (held("COMPLIANCE", -1), False, False),
            (held("GOVERNANCE", HOUR_MS), False, True),
            (held("GOVERNANCE", HOUR_MS), True, False),
            (held("GOVERNANCE", -1), False, False),
            ({"legal_hold": True, **held("GOVERNANCE", HOUR_MS)}, True, True),
        ],
    )
    def test_locked_versions_stay(self, locked: dict[str, Any], bypass: bool, kept: bool) -> None:
        self.put(b"null")
        self.lock()
        current, older = self.put(b"current", **locked), self.put(b"older", **locked)
        self.put(b"older")
        retention = Retention(locked.get("lock_mode", ""), locked.get("retain_until_ms", 0))
        legal_hold = locked.get("legal_hold", False)
        self.change(b"null", retention=retention, legal_hold=legal_hold)
        for key, seq in ((b"current", current.seq), (b"older", older.seq), (b"null", -1)):
            for hidden in (False, True):
                if hidden:
                    marker = self.delete(key)
                    assert marker.marker_made
                command = DeleteObject(self.bucket.id, key, OWNER, seq, bypass_governance=bypass)
                result = self.submit(command)
                if kept:
                    assert result == Refused("AccessDenied")
                    assert self.data(key, seq) == b"data"
                else:
                    assert isinstance(result, ObjectDeleted)
                    assert self.run(self.meta.find(self.bucket.id, key, seq)) is None
            self.delete(key, marker.seq)

    def test_upload_hands_lock_and_grants_to_its_version(self) -> None:
        self.lock()
        until = in_ms(HOUR_MS)
        command = CreateUpload(
            self.bucket.id,
            b"k",
            b"8 bytes.",
            OWNER,
            lock_mode="COMPLIANCE",
            retain_until_ms=until,
            legal_hold=True,
            acl=b"grants",
            tags={"t": "v"},
        )
        created = self.submit(command)
        assert isinstance(created, UploadCreated)
        upload = self.run(self.meta.upload(self.bucket.id, created.upload_id))
        assert upload is not None
        assert (upload.acl, upload.lock_mode) == (b"grants", "COMPLIANCE")
        part = self.put_part(created.upload_id, 1, InlineContent(b"data"), 4)
        done = self.complete(created.upload_id, part)
        assert isinstance(done, ObjectPut)
        version = self.version(b"k")
        assert version.parts_id == created.upload_id
        assert (version.acl, version.legal_hold, version.tags) == (b"grants", True, {"t": "v"})
        assert (version.lock_mode, version.retain_until_ms) == ("COMPLIANCE", until)
        refused = self.submit(DeleteObject(self.bucket.id, b"k", OWNER, done.seq))
        assert refused == Refused("AccessDenied")

    def test_a_bucket_made_with_object_lock(self) -> None:
        created = self.submit(CreateBucket("locked", OWNER, "us-east-1", object_lock=True))
        assert isinstance(created, BucketCreated)
        self.bucket = created.bucket
        put = self.put(b"k", legal_hold=True)
        assert not put.is_null
        again = self.put(b"k", b"again")
        assert self.data(b"k", put.seq) == b"data"
        self.delete(b"k", again.seq)
        refused = self.submit(DeleteObject(self.bucket.id, b"k", OWNER, put.seq))
        assert refused == Refused("AccessDenied")

    # -- rename --------------------------------------------------------------------------------

    def rename(self, source: bytes, key: bytes, **conditions: Conditions) -> Result:
        return self.submit(RenameObject(self.bucket.id, source, key, **conditions))

    def test_rename_takes_everything_along(self) -> None:
        put = self.put(b"a", b"inline", metadata={"m": "v"}, tags={"t": "v"}, acl=b"x")
        before = self.version(b"a")
        renamed = self.rename(b"a", b"b/c")
        assert renamed == ObjectPut(put.seq, put.modified_ms, True)
        assert self.version(b"b/c") == msgspec.structs.replace(before, key=b"b/c")
        assert self.data(b"b/c") == b"inline"
        assert self.keys() == [b"b/c"]
        assert self.run(self.meta.find(self.bucket.id, b"a")) is None
        self.delete(b"b/c")
        assert self.run(self.meta.inline_data(put.seq)) is None

    def test_rename_lets_the_targets_content_go(self) -> None:
        self.put(b"a", b"one", content=stored(b"one", 1))
        self.put(b"b", b"two", content=stored(b"two", 2))
        upload_id, parts = self.upload(b"c", (1, stored(b"part", 3), 4))
        self.complete(upload_id, *parts)
        assert isinstance(self.rename(b"a", b"b"), ObjectPut)
        assert (self.keys(), self.going()) == ([b"b", b"c"], [sha(b"two")])
        assert isinstance(self.rename(b"b", b"c"), ObjectPut)
        assert self.reap() == 1
        assert (self.keys(), self.live()) == ([b"c"], [(sha(b"one"), 1)])
        upload_id, parts = self.upload(b"d", (1, stored(b"part", 4), 4))
        self.complete(upload_id, *parts)
        assert isinstance(self.rename(b"d", b"c"), ObjectPut)
        assert self.version(b"c").parts_id == upload_id
        assert self.live() == [(sha(b"part"), 1)]

    def test_rename_that_is_refused(self) -> None:
        self.put(b"a", b"a")
        self.put(b"b", b"b")
        unlike, exists = Conditions(if_match=md5(b"x")), Conditions(if_match="*")
        absent = Conditions(if_none_match="*")
        assert self.rename(b"x", b"b") == Refused("NoSuchKey")
        assert self.rename(b"a", b"a") == Refused("InvalidRequest")
        assert self.rename(b"a", b"b", conditions=absent) == Refused("PreconditionFailed")
        assert self.rename(b"a", b"b", conditions=unlike) == Refused("PreconditionFailed")
        assert self.rename(b"a", b"x", conditions=exists) == Refused("NoSuchKey")
        assert self.rename(b"a", b"b", source_conditions=unlike) == Refused("PreconditionFailed")
        assert self.submit(RenameObject(99, b"a", b"b")) == Refused("NoSuchBucket")
        assert [self.data(b"a"), self.data(b"b")] == [b"a", b"b"]
        same = Conditions(if_match=md5(b"a"))
        renamed = self.rename(b"a", b"b", source_conditions=same, conditions=exists)
        assert isinstance(renamed, ObjectPut)
        for status in ("Enabled", "Suspended"):
            self.versioning(status)
            assert self.rename(b"b", b"c") == Refused("NotImplemented")
        assert self.data(b"b") == b"a"
