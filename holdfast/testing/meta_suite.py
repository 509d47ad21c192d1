"""The conformance suite of every MetaStore.

An implementation joins by a subclass with a fixture `store`; see tests/meta/test_conformance.py.
`store` is a StoreUnderTest: a store that runs, and a way to drive its coroutines. Every test leaves
the store as it may be left, and the suite's own fixture checks it (`check()` finds nothing).
"""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.meta.commands import (
    NO_CONDITIONS,
    AbortUpload,
    BucketCreated,
    Command,
    Conditions,
    CreateBucket,
    DeleteBucket,
    DeleteObject,
    Done,
    ForgetBlobs,
    ForgetDirectories,
    InlineContent,
    ObjectDeleted,
    ObjectPut,
    PutDocument,
    PutObject,
    Refused,
    SetVersioning,
)
from holdfast.testing.meta_harness import (
    FAR_MS,
    OTHER,
    OWNER,
    StoreUnderTest,
    md5,
    stored,
)
from holdfast.testing.meta_suite_content import ContentTests
from holdfast.testing.meta_suite_listing import ListingTests
from holdfast.testing.meta_suite_versions import VersionTests

__all__ = ["MetaSuite", "StoreUnderTest"]


class MetaSuite(ContentTests, VersionTests, ListingTests):
    """Subclass it with a fixture `store` that gives a StoreUnderTest, empty."""

    # -- buckets and documents -----------------------------------------------------------------

    def test_bucket_is_found_by_name(self) -> None:
        assert self.run(self.meta.bucket("bucket")) == self.bucket
        assert self.run(self.meta.bucket("other")) is None
        other = self.create("other")
        assert self.run(self.meta.bucket("other")) == other
        assert other.id != self.bucket.id

    def test_bucket_names_are_taken_once(self) -> None:
        mine = self.submit(CreateBucket("bucket", OWNER, "us-east-1"))
        assert mine == Refused("BucketAlreadyOwnedByYou")
        others = self.submit(CreateBucket("bucket", OTHER, "us-east-1"))
        assert others == Refused("BucketAlreadyExists")

    def test_buckets_of_an_owner_are_bounded(self) -> None:
        command = CreateBucket("second", OWNER, "us-east-1", owner_buckets_max=1)
        assert self.submit(command) == Refused("TooManyBuckets")
        another = CreateBucket("second", OTHER, "us-east-1", owner_buckets_max=1)
        assert isinstance(self.submit(another), BucketCreated)

    def test_buckets_are_listed_by_name(self) -> None:
        for name, owner in (("c", OWNER), ("a", OTHER), ("b1", OWNER), ("b0", OWNER)):
            self.create(name, owner)

        def names(*arguments: Any) -> list[str]:
            return [one.name for one in self.run(self.meta.list_buckets(*arguments))]

        assert names(None) == ["a", "b0", "b1", "bucket", "c"]
        assert names(OWNER) == ["b0", "b1", "bucket", "c"]
        assert names(OWNER, "b") == ["b0", "b1", "bucket"]
        assert names(OWNER, "b", "b0", 1) == ["b1"]
        assert names(OTHER) == ["a"]
        assert names("nobody") == []

    def test_bucket_with_anything_in_it_is_not_deleted(self) -> None:
        refused = Refused("BucketNotEmpty")
        self.put(b"key")
        assert self.submit(DeleteBucket(self.bucket.id)) == refused
        self.versioning("Enabled")
        marker = self.delete(b"key")
        assert self.submit(DeleteBucket(self.bucket.id)) == refused
        self.delete(b"key", -1)
        assert self.submit(DeleteBucket(self.bucket.id)) == refused
        self.delete(b"key", marker.seq)
        upload_id, _ = self.upload(b"key")
        assert self.submit(DeleteBucket(self.bucket.id)) == refused
        self.submit(AbortUpload(self.bucket.id, upload_id))
        assert self.submit(DeleteBucket(self.bucket.id)) == Done()
        assert self.submit(DeleteBucket(self.bucket.id)) == Refused("NoSuchBucket")
        assert self.run(self.meta.bucket("bucket")) is None

    def test_bucket_made_anew_shares_nothing(self) -> None:
        self.submit(PutDocument(self.bucket.id, "cors", b"x"))
        assert self.submit(DeleteBucket(self.bucket.id)) == Done()
        anew = self.create("bucket")
        assert anew.id > self.bucket.id
        assert self.run(self.meta.bucket("bucket")) == anew
        assert self.run(self.meta.document(anew.id, "cors")) is None
        assert self.run(self.meta.document(self.bucket.id, "cors")) is None
        gone = self.submit(self.put_command(b"key"))
        assert gone == Refused("NoSuchBucket")

    def test_directory_of_deleted_bucket_waits_for_its_content(self) -> None:
        self.put(b"key", b"content", content=stored(b"content", 7))
        self.delete(b"key")
        upload_id, _ = self.upload(b"u", (1, stored(b"part", 8), 4))
        self.submit(AbortUpload(self.bucket.id, upload_id))
        self.submit(DeleteBucket(self.bucket.id))
        directory = self.bucket.directory
        assert self.run(self.meta.deleted_bucket_directories(10)) == []
        self.submit(ForgetDirectories([directory]))  # too early: nothing happens
        assert self.reap() == 1
        blobs = [blob.id for blob, _ in self.run(self.meta.going_blobs(FAR_MS, 10))]
        assert len(blobs) == 2
        assert self.run(self.meta.deleted_bucket_directories(10)) == []
        assert self.submit(ForgetBlobs(blobs)) == Done()
        assert self.run(self.meta.deleted_bucket_directories(10)) == [directory]
        self.submit(ForgetDirectories(["bucket-999", "x", "", directory]))
        assert self.run(self.meta.deleted_bucket_directories(10)) == []
        assert self.create("bucket").id > self.bucket.id

    def test_a_bucket_begins_with_its_documents(self) -> None:
        """In one command: nobody sees it without them, and no crash leaves it so."""
        documents = {"acl": b"one", "ownership": b"two"}
        command = CreateBucket("second", OWNER, "us-east-1", documents=documents)
        made = self.submit(command)
        assert isinstance(made, BucketCreated)
        for kind, body in documents.items():
            assert self.run(self.meta.document(made.bucket.id, kind)) == body
        again = CreateBucket("second", OWNER, "us-east-1", documents={"acl": b"three"})
        assert self.submit(again) == Refused("BucketAlreadyOwnedByYou")
        assert self.run(self.meta.document(made.bucket.id, "acl")) == b"one"

    def test_documents(self) -> None:
        assert self.run(self.meta.document(0, "users")) is None
        for bucket_id in (0, self.bucket.id):
            assert self.submit(PutDocument(bucket_id, "k", b"one")) == Done()
            assert self.submit(PutDocument(bucket_id, "k", b"two")) == Done()
            assert self.run(self.meta.document(bucket_id, "k")) == b"two"
        assert self.submit(PutDocument(self.bucket.id, "k", None)) == Done()
        assert self.run(self.meta.document(self.bucket.id, "k")) is None
        assert self.run(self.meta.document(0, "k")) == b"two"
        assert self.submit(PutDocument(99, "k", b"")) == Refused("NoSuchBucket")

    # -- versions ------------------------------------------------------------------------------

    def test_put_gives_back_all_that_was_put(self) -> None:
        full = self.put_command(
            b"k\x00\xc3\xa4/..",
            b"hello",
            storage_class="STANDARD_IA",
            checksum_algorithm="CRC64NVME",
            checksum_type="FULL_OBJECT",
            checksum="AAAAAAAAAAA=",
            headers={"content-type": "text/plain"},
            metadata={"a": "ä", "b": ""},
            tags={"t": "v"},
            lock_mode="GOVERNANCE",
            retain_until_ms=5,
            legal_hold=True,
            encryption=b"\x00\xff",
            acl=b"\x01",
        )
        result = self.submit(full)
        assert isinstance(result, ObjectPut)
        assert result.is_null
        assert not result.redundant
        found = self.run(self.meta.find(self.bucket.id, full.key, with_data=True))
        assert found is not None
        version = found.version
        assert found.data == b"hello"
        assert (version.seq, version.modified_ms) == (result.seq, result.modified_ms)
        assert (version.bucket_id, version.key, version.owner) == (self.bucket.id, full.key, OWNER)
        names = set(full.__struct_fields__) & set(version.__struct_fields__)
        assert len(names) == 17
        for name in names:
            assert getattr(version, name) == getattr(full, name), name
        assert (version.is_null, version.delete_marker, version.blob) == (True, False, None)
        page = self.run(self.meta.list_objects(self.bucket.id, b"", b"", b"", 10))
        (entry,) = page.entries
        assert (entry.key, entry.size, entry.etag) == (full.key, 5, full.etag)
        assert (entry.owner, entry.storage_class) == (OWNER, "STANDARD_IA")
        assert (entry.checksum_algorithm, entry.checksum_type) == ("CRC64NVME", "FULL_OBJECT")
        assert entry.modified_ms == result.modified_ms

    def test_an_owner_that_is_not_the_buckets(self) -> None:
        command = PutObject(self.bucket.id, b"k", 0, "e" * 32, OTHER, InlineContent(b""))
        self.submit(command)
        found = self.run(self.meta.find(self.bucket.id, b"k"))
        assert found is not None
        assert found.version.owner == OTHER
        page = self.run(self.meta.list_objects(self.bucket.id, b"", b"", b"", 1))
        assert page.entries[0].owner == OTHER

    @pytest.mark.parametrize(
        "etag", ["0" * 32, "0" * 32 + "-3", "A" * 32, " " * 32, "not hexadecimal digits, thirty-2"]
    )
    def test_any_etag_comes_back(self, etag: str) -> None:
        self.submit(PutObject(self.bucket.id, b"k", 0, etag, OWNER, InlineContent(b"")))
        found = self.run(self.meta.find(self.bucket.id, b"k"))
        assert found is not None
        assert found.version.etag == etag
        page = self.run(self.meta.list_objects(self.bucket.id, b"", b"", b"", 1))
        assert page.entries[0].etag == etag

    def test_data_comes_only_when_asked_for(self) -> None:
        self.put(b"k", b"hello")
        found = self.run(self.meta.find(self.bucket.id, b"k"))
        assert found is not None
        assert found.data is None

    def test_overwrite_and_delete(self) -> None:
        first = self.put(b"k", b"one")
        second = self.put(b"k", b"two")
        assert second.seq > first.seq
        assert self.data(b"k") == b"two"
        assert self.run(self.meta.find(self.bucket.id, b"k", first.seq)) is None
        assert self.run(self.meta.inline_data(first.seq)) is None
        assert self.run(self.meta.inline_data(second.seq)) == b"two"
        assert self.delete(b"k") == ObjectDeleted(second.seq, True)
        assert self.data(b"k") is None
        assert self.run(self.meta.find(self.bucket.id, b"k")) is None
        assert self.delete(b"k") == ObjectDeleted()
        assert self.keys() == []

    def test_sequence_rises_over_the_whole_store(self) -> None:
        other = self.create("other")
        seqs = [
            self.put(b"k%d" % i, bucket_id=(self.bucket.id, other.id)[i % 2]).seq for i in range(20)
        ]
        assert seqs == sorted(set(seqs))

    def test_commands_of_one_call_happen_in_order(self) -> None:
        commands: list[Command] = [self.put_command(b"k", b"%d" % i) for i in range(50)]
        commands.append(self.put_command(b"k", conditions=Conditions(if_none_match="*")))
        results = self.run(self.meta.submit_all(commands))
        assert results[-1] == Refused("PreconditionFailed")
        seqs = [one.seq for one in results[:-1] if isinstance(one, ObjectPut)]
        assert len(seqs) == 50
        assert seqs == sorted(seqs)
        assert self.data(b"k") == b"49"

    def test_versioned_bucket_keeps_versions(self) -> None:
        null = self.put(b"k", b"null")
        self.versioning("Enabled")
        one, two = self.put(b"k", b"one"), self.put(b"k", b"two")
        assert not one.is_null
        assert self.data(b"k") == b"two"
        assert self.data(b"k", one.seq) == b"one"
        assert self.data(b"k", -1) == b"null"
        assert self.data(b"k", null.seq) == b"null"
        marker = self.delete(b"k")
        assert (marker.delete_marker, marker.marker_made, marker.is_null) == (True, True, False)
        assert self.data(b"k") is None
        found = self.run(self.meta.find(self.bucket.id, b"k"))
        assert found is not None
        assert (found.version.delete_marker, found.version.seq) == (True, marker.seq)
        assert self.keys() == []
        assert self.delete(b"k", marker.seq) == ObjectDeleted(marker.seq, False, True)
        assert self.data(b"k") == b"two"
        assert self.delete(b"k", two.seq) == ObjectDeleted(two.seq, False)
        assert self.data(b"k") == b"one"
        assert self.delete(b"k", -1) == ObjectDeleted(null.seq, True)
        assert self.data(b"k") == b"one"
        assert self.delete(b"k", null.seq) == ObjectDeleted()
        self.delete(b"k", one.seq)
        assert self.run(self.meta.find(self.bucket.id, b"k")) is None

    def test_suspended_bucket_replaces_the_null_version(self) -> None:
        self.versioning("Enabled")
        one = self.put(b"k", b"one")
        self.versioning("Suspended")
        null = self.put(b"k", b"null 1")
        assert null.is_null
        again = self.put(b"k", b"null 2")
        assert self.run(self.meta.find(self.bucket.id, b"k", null.seq)) is None
        assert self.data(b"k", one.seq) == b"one"
        marker = self.delete(b"k")
        assert (marker.is_null, marker.marker_made) == (True, True)
        assert self.run(self.meta.find(self.bucket.id, b"k", again.seq)) is None
        second = self.delete(b"k")
        assert second.seq > marker.seq
        assert self.run(self.meta.find(self.bucket.id, b"k", marker.seq)) is None
        assert self.keys() == []
        self.put(b"k", b"null 3")
        assert self.run(self.meta.find(self.bucket.id, b"k", second.seq)) is None
        assert self.data(b"k", -1) == b"null 3"
        self.versioning("Enabled")
        two = self.put(b"k", b"two")
        assert self.data(b"k", -1) == b"null 3"
        self.versioning("Suspended")
        self.put(b"k", b"null 4")
        assert self.data(b"k", -1) == b"null 4"
        assert self.data(b"k", two.seq) == b"two"
        assert self.delete(b"k", -1).seq
        assert self.data(b"k") == b"two"

    def test_delete_markers_one_behind_the_other(self) -> None:
        self.versioning("Enabled")
        one = self.put(b"k", b"one")
        older, newer = self.delete(b"k"), self.delete(b"k")
        self.delete(b"k", newer.seq)
        assert self.data(b"k") is None
        self.delete(b"k", older.seq)
        assert self.data(b"k") == b"one"
        marker = self.delete(b"k")
        self.delete(b"k", one.seq)
        assert self.data(b"k") is None
        found = self.run(self.meta.find(self.bucket.id, b"k"))
        assert found is not None
        assert found.version.seq == marker.seq

    def test_versioning_is_never_taken_back(self) -> None:
        self.versioning("Enabled")
        bucket = self.run(self.meta.bucket("bucket"))
        assert bucket is not None
        assert bucket.versioning == "Enabled"
        self.versioning("Suspended")
        bucket = self.run(self.meta.bucket("bucket"))
        assert bucket is not None
        assert bucket.versioning == "Suspended"

    def test_object_lock_comes_with_versioning(self) -> None:
        result = self.submit(CreateBucket("locked", OWNER, "us-east-1", object_lock=True))
        assert isinstance(result, BucketCreated)
        assert (result.bucket.versioning, result.bucket.object_lock) == ("Enabled", True)
        suspended = self.submit(SetVersioning(result.bucket.id, "Suspended"))
        assert suspended == Refused("InvalidBucketState")

    # -- conditions ----------------------------------------------------------------------------

    def test_put_conditions(self) -> None:
        def put(conditions: Conditions) -> str:
            result = self.submit(self.put_command(b"k", b"new", conditions=conditions))
            return result.code if isinstance(result, Refused) else "ok"

        assert put(Conditions(if_match="*")) == "NoSuchKey"
        assert put(Conditions(if_match=md5(b"x"))) == "NoSuchKey"
        assert put(Conditions(if_none_match=md5(b"x"))) == "ok"
        assert put(Conditions(if_none_match="*")) == "PreconditionFailed"
        assert put(Conditions(if_none_match=md5(b"new"))) == "PreconditionFailed"
        assert put(Conditions(if_none_match=md5(b"x"))) == "ok"
        assert put(Conditions(if_match=md5(b"x"))) == "PreconditionFailed"
        assert put(Conditions(if_match=md5(b"new"))) == "ok"
        assert put(Conditions(if_match="*")) == "ok"
        self.delete(b"k")
        assert put(Conditions(if_none_match="*")) == "ok"

    def test_delete_marker_is_no_version_to_conditions(self) -> None:
        self.versioning("Enabled")
        self.put(b"k")
        self.delete(b"k")
        exists = Conditions(if_match="*")
        assert self.submit(self.put_command(b"k", conditions=exists)) == Refused("NoSuchKey")
        for key, code in ((b"k", "PreconditionFailed"), (b"never", "NoSuchKey")):
            delete = DeleteObject(self.bucket.id, key, OWNER, conditions=exists)
            assert self.submit(delete) == Refused(code)
        created = self.submit(self.put_command(b"k", conditions=Conditions(if_none_match="*")))
        assert isinstance(created, ObjectPut)

    def test_delete_conditions(self) -> None:
        put = self.put(b"k", b"four")

        def delete(conditions: Conditions) -> str:
            command = DeleteObject(self.bucket.id, b"k", OWNER, conditions=conditions)
            result = self.submit(command)
            return result.code if isinstance(result, Refused) else "ok"

        assert delete(Conditions(if_match=md5(b"x"))) == "PreconditionFailed"
        assert delete(Conditions(if_size=3)) == "PreconditionFailed"
        assert delete(Conditions(if_modified_ms=put.modified_ms + 2000)) == "PreconditionFailed"
        within_s = put.modified_ms // 1000 * 1000
        same = Conditions(if_match=md5(b"four"), if_size=4, if_modified_ms=within_s)
        assert delete(same) == "ok"
        assert delete(same) == "NoSuchKey"
        assert delete(NO_CONDITIONS) == "ok"
