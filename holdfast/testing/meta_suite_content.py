"""The part of MetaStore's conformance suite about content, uploads and listings."""

from __future__ import annotations

import pytest

from holdfast.meta.commands import (
    AbortUpload,
    CompleteUpload,
    Conditions,
    Done,
    ForgetBlobs,
    InlineContent,
    NewPart,
    NewParts,
    ObjectPut,
    PutPart,
    Refused,
    SharedContent,
    SharedParts,
    StoredContent,
)
from holdfast.testing.meta_harness import (
    FAR_MS,
    HOUR_MS,
    OWNER,
    MetaHarness,
    sha,
    stored,
)


class ContentTests(MetaHarness):
    # -- content -------------------------------------------------------------------------------

    def test_stored_content_is_counted(self) -> None:
        data = b"content"
        assert not self.put(b"a", data, content=stored(data, 1)).redundant
        assert self.put(b"b", data, content=stored(data, 2)).redundant
        assert self.live() == [(sha(data), 2)]
        found = self.run(self.meta.find(self.bucket.id, b"b"))
        assert found is not None
        assert found.version.blob is not None
        assert (found.version.blob.n, found.version.blob.size) == (1, len(data))
        assert self.run(self.meta.has_blob(self.bucket.directory, sha(data), 1))
        assert not self.run(self.meta.has_blob(self.bucket.directory, sha(data), 2))
        assert not self.run(self.meta.has_blob("bucket-99", sha(data), 1))
        self.delete(b"a")
        assert self.live() == [(sha(data), 1)]
        self.delete(b"b")
        assert self.live() == []
        assert self.going() == [sha(data)]
        assert self.run(self.meta.has_blob(self.bucket.directory, sha(data), 1))

    def test_overwriting_with_the_same_content_keeps_it(self) -> None:
        self.put(b"k", b"content", content=stored(b"content", 1))
        assert self.put(b"k", b"content", content=stored(b"content", 2)).redundant
        assert self.live() == [(sha(b"content"), 1)]
        assert self.going() == []

    def test_going_content_is_never_revived(self) -> None:
        self.put(b"k", b"content", content=stored(b"content", 1))
        found = self.run(self.meta.find(self.bucket.id, b"k"))
        assert found is not None
        assert found.version.blob is not None
        old = found.version.blob
        self.delete(b"k")
        shared = self.submit(self.put_command(b"k", b"content", content=SharedContent(old.id)))
        assert shared == Refused("ContentGone")
        assert not self.put(b"k", b"content", content=stored(b"content", 2)).redundant
        (live,) = self.run(self.meta.blobs_after(0, 10))
        assert (live[0].n, live[1], live[2]) == (2, self.bucket.directory, 1)
        assert live[0].id != old.id
        assert self.run(self.meta.going_blobs(FAR_MS, 10)) == [(old, self.bucket.directory)]
        assert self.run(self.meta.going_blobs(1, 10)) == []
        # A live row is not forgotten, whoever asks for it.
        self.submit(ForgetBlobs([live[0].id, old.id, 12345]))
        assert self.going() == []
        assert self.live() == [(sha(b"content"), 1)]

    def test_stale_file_is_refused(self) -> None:
        command = self.put_command(b"k", b"content", content=stored(b"content", 1, HOUR_MS))
        assert self.submit(command) == Refused("StaleContent")
        upload_id, _ = self.upload(b"k")
        part = PutPart(self.bucket.id, upload_id, 1, 7, "e", stored(b"content", 1, HOUR_MS))
        assert self.submit(part) == Refused("StaleContent")
        assert self.live() == []

    def test_content_is_kept_once_per_bucket(self) -> None:
        other = self.create("other")
        self.put(b"k", b"content", content=stored(b"content", 1))
        copy = self.put(b"k", b"content", content=stored(b"content", 2), bucket_id=other.id)
        assert not copy.redundant
        assert self.live() == [(sha(b"content"), 1)] * 2
        mine, _ = self.run(self.meta.blobs_after(0, 10))
        stolen = self.put_command(
            b"x", b"content", content=SharedContent(mine[0].id), bucket_id=other.id
        )
        assert self.submit(stolen) == Refused("ContentGone")

    def test_shared_content(self) -> None:
        self.put(b"a", b"content", content=stored(b"content", 1))
        ((blob, _, _),) = self.run(self.meta.blobs_after(0, 10))
        self.put(b"b", b"content", content=SharedContent(blob.id))
        assert self.live() == [(sha(b"content"), 2)]
        self.put(b"a", b"content", content=SharedContent(blob.id))
        assert self.live() == [(sha(b"content"), 2)]

    # -- multipart -----------------------------------------------------------------------------

    def test_upload_from_start_to_end(self) -> None:
        upload_id, (one, two) = self.upload(
            b"k", (1, stored(b"part 1", 1), 6), (2, InlineContent(b"tail"), 4)
        )
        upload = self.run(self.meta.upload(self.bucket.id, upload_id))
        assert upload is not None
        assert (upload.key, upload.token, upload.owner) == (b"k", b"8 bytes.", OWNER)
        assert self.run(self.meta.upload(99, upload_id)) is None
        assert self.keys() == []
        assert self.run(self.meta.expired_uploads(FAR_MS, 10)) == [upload]
        assert self.run(self.meta.expired_uploads(FAR_MS, 10, upload)) == []
        assert self.run(self.meta.expired_uploads(upload.initiated_ms, 10)) == []
        assert self.run(self.meta.parts(upload_id)) == [one.part, two.part]
        assert self.run(self.meta.parts(upload_id, 1)) == [two.part]
        assert self.run(self.meta.parts(upload_id, 0, 1)) == [one.part]
        assert self.run(self.meta.part_sizes(upload_id)) == [(1, 6), (2, 4)]
        assert self.run(self.meta.part_sizes(upload_id + 1)) == []
        result = self.complete(upload_id, one, two)
        assert isinstance(result, ObjectPut)
        found = self.run(self.meta.find(self.bucket.id, b"k"))
        assert found is not None
        version = found.version
        assert (version.seq, version.size, version.parts_count) == (result.seq, 10, 2)
        assert self.run(self.meta.parts(version.parts_id)) == [one.part, two.part]
        assert self.run(self.meta.inline_data(two.part.seq)) == b"tail"
        assert self.run(self.meta.upload(self.bucket.id, upload_id)) is None
        assert self.complete(upload_id, one, two) == Refused("NoSuchUpload")
        assert self.live() == [(sha(b"part 1"), 1)]
        self.put(b"k", b"small")
        assert self.live() == [(sha(b"part 1"), 1)]
        assert self.reap() == 2
        assert self.going() == [sha(b"part 1")]
        assert self.run(self.meta.inline_data(two.part.seq)) is None

    def test_part_is_replaced(self) -> None:
        upload_id, (old, new) = self.upload(
            b"k", (3, stored(b"old", 1), 3), (3, stored(b"newer", 2), 5)
        )
        assert self.run(self.meta.parts(upload_id)) == [new.part]
        assert self.going() == [sha(b"old")]
        assert self.complete(upload_id, old) == Refused("PartsChanged")
        assert isinstance(self.complete(upload_id, new), ObjectPut)

    def test_complete_drops_parts_that_are_not_named(self) -> None:
        upload_id, puts = self.upload(
            b"k",
            (1, InlineContent(b"1"), 1),
            (2, stored(b"22", 2), 2),
            (3, InlineContent(b"333"), 3),
        )
        assert self.complete(upload_id) == Refused("PartsChanged")
        assert isinstance(self.complete(upload_id, puts[0]), ObjectPut)
        assert self.run(self.meta.parts(upload_id)) == [puts[0].part]
        assert self.going() == [sha(b"22")]
        assert self.run(self.meta.inline_data(puts[2].part.seq)) is None

    def test_complete_conditions(self) -> None:
        upload_id, (part,) = self.upload(b"k", (1, InlineContent(b"1"), 1))
        self.put(b"k")
        command = CompleteUpload(
            self.bucket.id,
            upload_id,
            [(1, part.part.seq)],
            1,
            "e-1",
            conditions=Conditions(if_none_match="*"),
        )
        assert self.submit(command) == Refused("PreconditionFailed")
        assert self.run(self.meta.upload(self.bucket.id, upload_id)) is not None

    def test_abort(self) -> None:
        upload_id, _ = self.upload(b"k", *((n, stored(b"part %d" % n, n), 6) for n in range(1, 9)))
        assert self.submit(AbortUpload(self.bucket.id, upload_id)) == Done()
        assert self.submit(AbortUpload(self.bucket.id, upload_id)) == Refused("NoSuchUpload")
        late = PutPart(self.bucket.id, upload_id, 1, 0, "e", InlineContent(b""))
        assert self.submit(late) == Refused("NoSuchUpload")
        assert self.reap() == 8
        assert len(self.going()) == 8
        assert self.reap() == 0

    def test_abort_of_what_nobody_uses(self) -> None:
        upload_id, (part,) = self.upload(b"k", (1, stored(b"part", 1), 6))
        for used_ms in (1, part.part.modified_ms):
            command = AbortUpload(self.bucket.id, upload_id, used_ms)
            assert self.submit(command) == Refused("UploadInUse")
        assert self.run(self.meta.upload(self.bucket.id, upload_id)) is not None
        command = AbortUpload(self.bucket.id, upload_id, part.part.modified_ms + 1)
        assert self.submit(command) == Done()
        empty, _ = self.upload(b"empty")
        upload = self.run(self.meta.upload(self.bucket.id, empty))
        assert upload is not None
        command = AbortUpload(self.bucket.id, empty, upload.initiated_ms)
        assert self.submit(command) == Refused("UploadInUse")
        command = AbortUpload(self.bucket.id, empty, upload.initiated_ms + 1)
        assert self.submit(command) == Done()

    def test_expired_uploads_page_by_page(self) -> None:
        ids = [self.upload(b"k%d" % (n % 3))[0] for n in range(7)]
        found: list[int] = []
        after = None
        while page := self.run(self.meta.expired_uploads(FAR_MS, 2, after)):
            assert len(page) <= 2
            found += [upload.id for upload in page]
            after = page[-1]
        assert found == ids

    def test_copy_of_a_multipart_object_shares_its_parts(self) -> None:
        upload_id, parts = self.upload(
            b"a", (1, stored(b"part 1", 1), 6), (5, InlineContent(b"tail"), 4)
        )
        self.complete(upload_id, *parts)
        copied = self.put(b"b", bytes(10), content=SharedParts(upload_id))
        self.delete(b"a")
        gone = self.submit(self.put_command(b"c", bytes(10), content=SharedParts(upload_id)))
        assert gone == Refused("ContentGone")
        assert self.reap() == 2
        found = self.run(self.meta.find(self.bucket.id, b"b"))
        assert found is not None
        assert (found.version.seq, found.version.parts_count) == (copied.seq, 2)
        one, five = self.run(self.meta.parts(found.version.parts_id))
        assert (one.number, one.blob is not None, five.number) == (1, True, 5)
        assert self.run(self.meta.inline_data(five.seq)) == b"tail"
        assert self.live() == [(sha(b"part 1"), 1)]
        other = self.create("other")
        stolen = self.put_command(
            b"x", bytes(10), content=SharedParts(found.version.parts_id), bucket_id=other.id
        )
        assert self.submit(stolen) == Refused("ContentGone")

    def test_copy_of_parts_from_another_bucket(self) -> None:
        def part(number: int, content: InlineContent | StoredContent, size: int) -> NewPart:
            return NewPart(number, size, "e" * 32, content, "CRC32", "AAAAAA==")

        new = NewParts(
            [
                part(1, stored(b"same", 1), 4),
                part(2, stored(b"same", 2), 4),
                part(4, InlineContent(b"tail"), 4),
            ]
        )
        result = self.put(b"k", bytes(12), content=new)
        assert not result.redundant
        found = self.run(self.meta.find(self.bucket.id, b"k"))
        assert found is not None
        parts = self.run(self.meta.parts(found.version.parts_id))
        assert [one.number for one in parts] == [1, 2, 4]
        assert parts[0].checksum_algorithm == "CRC32"
        assert parts[0].blob == parts[1].blob
        assert self.live() == [(sha(b"same"), 2)]
        again = NewParts([part(1, stored(b"same", 3), 4)])
        assert self.put(b"k2", bytes(4), content=again).redundant

    # -- listings ------------------------------------------------------------------------------

    def fill(self, *keys: bytes) -> None:
        self.run(self.meta.submit_all([self.put_command(key, b"") for key in keys]))

    def test_keys_are_listed_as_bytes(self) -> None:
        keys = [b"a", b"a\x00", b"a/", b"a/b", b"aa", "ä".encode(), b"\xf4\x8f\xbf\xbf", b"B"]
        self.fill(*keys)
        assert self.keys() == sorted(keys)
        assert self.keys(b"a") == [b"a", b"a\x00", b"a/", b"a/b", b"aa"]
        assert self.keys(b"\xf4\x8f\xbf\xbf") == [b"\xf4\x8f\xbf\xbf"]
        assert self.keys(b"", b"", b"a/") == sorted(keys)[4:]
        assert self.keys(b"a", b"", b"0") == self.keys(b"a")
        assert self.keys(b"a", b"", b"b") == []
        assert self.keys(b"zz") == []

    def test_prefixes_of_the_highest_byte(self) -> None:
        keys = [b"a\xff", b"a\xff\xff", b"a\xff\xff/b", b"b", b"\xfe\xff"]
        self.fill(*keys)
        assert self.keys(b"a\xff") == [b"a\xff", b"a\xff\xff", b"a\xff\xff/b"]
        assert self.keys(b"a\xff\xff") == [b"a\xff\xff", b"a\xff\xff/b"]
        assert self.keys(b"a", b"\xff") == [b"a\xff"]
        assert self.keys(b"", b"\xff") == [b"a\xff", b"b", b"\xfe\xff"]

    def test_common_prefixes(self) -> None:
        keys = [b"a", b"b/1", b"b/2/3", b"b/4", b"b0", b"c/", b"d//x", b"e"]
        keys += [b"many/%03d" % i for i in range(50)] + [b"z"]
        self.fill(*keys)
        top = [b"a", b"b/", b"b0", b"c/", b"d/", b"e", b"many/", b"z"]
        assert self.keys(b"", b"/") == top
        assert self.keys(b"b/", b"/") == [b"b/1", b"b/2/", b"b/4"]
        assert self.keys(b"b", b"/") == [b"b/", b"b0"]
        assert self.keys(b"d/", b"/") == [b"d//"]
        assert self.keys(b"", b"/", b"b/") == top[2:]
        assert self.keys(b"", b"/", b"b/1") == top[2:]
        assert self.keys(b"", b"/", b"many/049") == [b"z"]
        assert self.keys(b"", b"//") == sorted([*(k for k in keys if k != b"d//x"), b"d//"])
        assert self.keys(b"c/", b"/") == [b"c/"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
    def test_pages_join_to_the_whole(self, limit: int) -> None:
        keys = [b"%s/%d" % (folder, i) for folder in (b"a", b"b", b"c") for i in range(9)]
        keys += [b"a%d" % i for i in range(5)] + [b"z"]
        self.fill(*keys)
        for prefix, delimiter in (
            (b"", b""),
            (b"", b"/"),
            (b"a", b"/"),
            (b"a", b""),
            (b"c/", b"/"),
        ):
            whole, after, turns = [], b"", 0
            while True:
                page = self.run(
                    self.meta.list_objects(self.bucket.id, prefix, delimiter, after, limit)
                )
                names = sorted([entry.key for entry in page.entries] + page.common_prefixes)
                whole += names
                assert len(names) <= limit
                turns += 1
                assert turns < 100
                if not page.truncated:
                    break
                assert page.next_after == names[-1]
                after = page.next_after
            assert whole == self.keys(prefix, delimiter)

    def test_truncated_means_there_is_more(self) -> None:
        self.fill(b"a", b"b/1", b"b/2")
        page = self.run(self.meta.list_objects(self.bucket.id, b"", b"/", b"", 2))
        assert (page.truncated, page.common_prefixes) == (False, [b"b/"])
        page = self.run(self.meta.list_objects(self.bucket.id, b"", b"", b"", 3))
        assert not page.truncated
        page = self.run(self.meta.list_objects(self.bucket.id, b"", b"", b"", 2))
        assert page.truncated
        page = self.run(self.meta.list_objects(self.bucket.id, b"", b"", b"", 0))
        assert (page.entries, page.truncated) == ([], False)

    def test_buckets_do_not_see_each_other(self) -> None:
        other = self.create("other")
        self.put(b"k")
        page = self.run(self.meta.list_objects(other.id, b"", b"", b"", 10))
        assert page.entries == []
        assert self.run(self.meta.find(other.id, b"k")) is None
        page = self.run(self.meta.list_objects(9999, b"", b"/", b"", 10))
        assert page.entries == []
