"""The part of MetaStore's conformance suite about listings of versions, uploads and documents."""

from __future__ import annotations

import pytest

from holdfast.meta.commands import AbortUpload, Done, PutDocument
from holdfast.testing.meta_harness import OTHER, OWNER, MetaHarness

VERSIONED = [b"a", b"a/b", b"a/b", b"a/b/c", b"a/c", b"b", b"b", b"b", b"c/d", b"\xff", b"\xff/x"]
PREFIXES = [b"", b"a", b"a/", b"a/b", b"b", b"\xff", b"zz"]
Name = tuple[bytes, int]  # a key and a seq, or a common prefix and 0


class ListingTests(MetaHarness):
    # -- versions ------------------------------------------------------------------------------

    def fill_versions(self) -> list[Name]:
        """Null versions, versions and delete markers, as the null, current or other version; in the
        order of a listing."""
        made = [(b"a", self.put(b"a").seq), (b"c/d", self.put(b"c/d").seq)]
        self.versioning("Enabled")
        made += [(key, self.put(key).seq) for key in VERSIONED]
        made += [(key, self.delete(key).seq) for key in (b"a/b", b"a/b", b"b", b"\xff/x", b"gone")]
        self.versioning("Suspended")
        made += [(b"b", self.put(b"b").seq), (b"a/c", self.delete(b"a/c").seq)]
        return sorted(made, key=lambda one: (one[0], -one[1]))

    def versions(
        self,
        prefix: bytes = b"",
        delimiter: bytes = b"",
        after_key: bytes = b"",
        after_seq: int | None = None,
        limit: int = 1000,
    ) -> list[Name]:
        """What a listing names, page by page, in order."""
        names: list[Name] = []
        while True:
            page = self.run(
                self.meta.list_versions(
                    self.bucket.id, prefix, delimiter, after_key, after_seq, limit
                )
            )
            found = [(one.key, one.seq) for one in page.entries]
            found += [(name, 0) for name in page.common_prefixes]
            found.sort(key=lambda one: (one[0], -one[1]))
            names += found
            if not page.truncated:
                assert (page.next_key, page.next_seq) == (b"", 0)
                return names
            assert len(found) == limit
            assert (page.next_key, page.next_seq) == found[-1]
            after_key, after_seq = page.next_key, page.next_seq or None

    def test_versions_in_order(self) -> None:
        made = self.fill_versions()
        assert self.versions() == made
        page = self.run(self.meta.list_versions(self.bucket.id, b"", b"", b"", None, 1000))
        newest: dict[bytes, int] = {}
        for key, seq in made:
            newest.setdefault(key, seq)
        for entry in page.entries:
            assert entry.is_latest == (newest[entry.key] == entry.seq)
            found = self.run(self.meta.find(self.bucket.id, entry.key, entry.seq))
            assert found is not None
            for name in set(entry.__struct_fields__) - {"is_latest"}:
                assert getattr(entry, name) == getattr(found.version, name), name

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
    def test_pages_of_versions_join_to_the_whole(self, limit: int) -> None:
        made = self.fill_versions()
        for prefix in PREFIXES:
            for delimiter in (b"", b"/", b"b"):
                wanted: list[Name] = []
                for key, seq in made:
                    at = key.find(delimiter, len(prefix)) if delimiter else -1
                    name = (key, seq) if at < 0 else (key[: at + len(delimiter)], 0)
                    if key.startswith(prefix) and name not in wanted:
                        wanted.append(name)
                assert self.versions(prefix, delimiter, limit=limit) == wanted

    def test_versions_behind_any_marker(self) -> None:
        made = self.fill_versions()
        for key, seq in made:
            assert self.versions(after_key=key) == [one for one in made if one[0] > key]
            behind = made[made.index((key, seq)) + 1 :]
            assert self.versions(after_key=key, after_seq=seq) == behind
            # a version that is no longer there marks its place all the same
            assert self.versions(after_key=key, after_seq=seq - 1) == [
                one for one in behind if one != (key, seq - 1)
            ]
        nulls = [self.run(self.meta.find(self.bucket.id, key, -1)) for key in (b"a", b"b", b"a/c")]
        for null in nulls:
            assert null is not None
            place = (null.version.key, null.version.seq)
            assert self.versions(after_key=place[0], after_seq=-1) == made[made.index(place) + 1 :]
        from_its_first = made[made.index((b"a/b/c", self.newest(b"a/b/c"))) :]
        assert self.versions(after_key=b"a/b/c", after_seq=-1) == from_its_first
        assert self.versions(after_key=b"a/b", after_seq=1, delimiter=b"/")[0][0] == b"b"
        assert self.versions(prefix=b"b", after_key=b"a", after_seq=1)[0][0] == b"b"
        assert self.versions(prefix=b"a", after_key=b"b", after_seq=1) == []

    def newest(self, key: bytes) -> int:
        found = self.run(self.meta.find(self.bucket.id, key))
        assert found is not None
        return found.version.seq

    def test_the_latest_version_is_told_in_the_midst_of_a_key(self) -> None:
        self.versioning("Enabled")
        seqs = [self.put(b"k").seq for _ in range(4)]
        latest = self.latest(seqs[3])
        assert latest == [(seqs[2], False), (seqs[1], False), (seqs[0], False)]
        self.delete(b"k", seqs[3])
        assert self.latest(seqs[3]) == [(seqs[2], True), (seqs[1], False), (seqs[0], False)]
        marker = self.delete(b"k").seq
        assert self.latest(marker + 1)[:2] == [(marker, True), (seqs[2], False)]
        assert self.latest(seqs[2]) == [(seqs[1], False), (seqs[0], False)]

    def latest(self, after_seq: int) -> list[tuple[int, bool]]:
        page = self.run(self.meta.list_versions(self.bucket.id, b"", b"", b"k", after_seq, 10))
        return [(one.seq, one.is_latest) for one in page.entries]

    def test_versions_of_other_owners_and_buckets(self) -> None:
        self.submit(self.put_command(b"k"))
        other = self.create("other", OTHER)
        self.put(b"theirs", bucket_id=other.id)
        page = self.run(self.meta.list_versions(other.id, b"", b"", b"", None, 10))
        assert [(one.key, one.owner) for one in page.entries] == [(b"theirs", OWNER)]
        empty = self.run(self.meta.list_versions(999, b"", b"/", b"", None, 10))
        assert (empty.entries, empty.common_prefixes, empty.truncated) == ([], [], False)
        empty = self.run(self.meta.list_versions(other.id, b"", b"", b"", None, 0))
        assert (empty.entries, empty.truncated, empty.next_key) == ([], False, b"")

    # -- common prefixes that hide many keys ---------------------------------------------------

    @pytest.mark.parametrize("delimiter", [b"/", b"\0", b"\xff", b"/\xff", b"\xff/", b"\xff\xff"])
    def test_large_folders_between_plain_keys(self, delimiter: bytes) -> None:
        """Folders of many keys in a row and one by one, with plain keys before, between, behind."""
        folders = [b"a", b"b", b"b\0", b"b\xff", b"d", b"d\xff\xff", b"e/\0"]
        folders += [b"f", b"g", b"h", b"\xff"]
        keys = [b"a", b"b ", b"c", b"d\xff\xfe", b"\xff\xff\xff\xff", b"\0"]
        keys += [folder + delimiter + b"%d" % n for folder in folders for n in range(12)]
        made: dict[bytes, list[int]] = {key: [self.put(key).seq] for key in keys}
        self.versioning("Enabled")
        for key in keys[::5]:
            made[key].append(self.put(key).seq)
        # the first of a folder, all of one, and the last
        hidden = [keys[6], *(key for key in keys if key.startswith(b"g")), keys[-1]]
        for key in hidden:
            made[key].append(self.delete(key).seq)
            self.upload(key)
        for prefix in (b"", b"b", b"d\xff", b"\xff", b"a" + delimiter):
            for after in (b"", b"a" + delimiter, b"b" + delimiter + b"5", b"d\xff", b"\xff"):
                self._objects_alike(
                    [key for key in keys if key not in hidden], prefix, delimiter, after
                )
            wanted = []
            for key in sorted(key for key in made if key.startswith(prefix)):
                rolled = self._rolled_up(key, prefix, delimiter)
                wanted += [(rolled, 0)] if rolled else [(key, seq) for seq in made[key][::-1]]
            for limit in (1, 2, 5, 1000):
                found = self.versions(prefix, delimiter, limit=limit)
                assert found == list(dict.fromkeys(wanted))
        names = {self._rolled_up(key, b"", delimiter) or key for key in hidden}
        assert [name for name, _ in self.uploads(delimiter=delimiter, limit=1)] == sorted(names)

    @staticmethod
    def _rolled_up(key: bytes, prefix: bytes, delimiter: bytes) -> bytes:
        at = key.find(delimiter, len(prefix))
        return b"" if at < 0 else key[: at + len(delimiter)]

    def _objects_alike(
        self, keys: list[bytes], prefix: bytes, delimiter: bytes, after: bytes
    ) -> None:
        names: set[bytes] = set()
        for key in keys:
            rolled = self._rolled_up(key, prefix, delimiter)
            if rolled and after.startswith(rolled):
                continue
            if key.startswith(prefix) and (rolled or key) > after:
                names.add(rolled or key)
        wanted = sorted(names)
        for limit in (1, 2, 3, 7, len(wanted), 1000):
            rest, place = wanted, after
            while rest:
                page = self.run(
                    self.meta.list_objects(self.bucket.id, prefix, delimiter, place, limit)
                )
                found = sorted([one.key for one in page.entries] + page.common_prefixes)
                assert (found, page.truncated) == (rest[:limit], len(rest) > limit)
                rest, place = rest[limit:], page.next_after

    # -- uploads -------------------------------------------------------------------------------

    def uploads(
        self,
        prefix: bytes = b"",
        delimiter: bytes = b"",
        after_key: bytes = b"",
        after_id: int | None = None,
        limit: int = 1000,
    ) -> list[Name]:
        names: list[Name] = []
        while True:
            page = self.run(
                self.meta.list_uploads(
                    self.bucket.id, prefix, delimiter, after_key, after_id, limit
                )
            )
            found = [(one.key, one.id) for one in page.uploads]
            found += [(name, 0) for name in page.common_prefixes]
            found.sort()
            names += found
            if not page.truncated:
                assert (page.next_key, page.next_upload_id) == (b"", 0)
                return names
            assert len(found) == limit
            assert (page.next_key, page.next_upload_id) == found[-1]
            after_key, after_id = page.next_key, page.next_upload_id or None

    @pytest.mark.parametrize("limit", [1, 2, 5, 1000])
    def test_uploads(self, limit: int) -> None:
        keys = [b"b", b"a/b", b"b", b"a", b"a/c", b"b", b"\xff", b"a"]
        made = sorted((key, self.upload(key)[0]) for key in keys)
        self.put(b"a")
        assert self.uploads(limit=limit) == made
        page = self.run(self.meta.list_uploads(self.bucket.id, b"", b"", b"", None, 1000))
        for one in page.uploads:
            assert one == self.run(self.meta.upload(self.bucket.id, one.id))
        for key, id in made:
            behind = made[made.index((key, id)) + 1 :]
            assert self.uploads(after_key=key, after_id=id, limit=limit) == behind
            others = [one for one in made if one[0] > key]
            assert self.uploads(after_key=key, limit=limit) == others
        in_a = [one for one in made if one[0].startswith(b"a/")]
        assert self.uploads(prefix=b"a/", limit=limit) == in_a
        rolled = [one for one in made if one not in in_a]
        rolled.insert(2, (b"a/", 0))
        assert self.uploads(delimiter=b"/", limit=limit) == rolled
        self.submit(AbortUpload(self.bucket.id, made[0][1]))
        assert self.uploads(limit=limit) == made[1:]
        other = self.create("other")
        page = self.run(self.meta.list_uploads(other.id, b"", b"", b"", None, limit))
        assert page.uploads == []
        page = self.run(self.meta.list_uploads(self.bucket.id, b"", b"", b"", None, 0))
        assert (page.uploads, page.truncated) == ([], False)

    # -- documents -----------------------------------------------------------------------------

    def test_documents_by_prefix(self) -> None:
        kinds = ["cors", "inventory:", "inventory:a", "inventory:ä", "inventory;", "\ud7ff1", "z"]
        kinds += ["\U0010ffff", "\U0010ffff\U0010ffff2"]
        for kind in kinds:
            body = kind.encode()
            assert self.submit(PutDocument(self.bucket.id, kind, body)) == Done()
        self.submit(PutDocument(0, "inventory:other", b""))
        for prefix in ("", "inventory:", "inventory:a", "c", "\ud7ff", "\U0010ffff", "none"):
            wanted = sorted(kind for kind in kinds if kind.startswith(prefix))
            found = self.run(self.meta.documents(self.bucket.id, prefix))
            assert found == [(kind, kind.encode()) for kind in wanted]
            for after in kinds:
                found = self.run(self.meta.documents(self.bucket.id, prefix, after, 2))
                assert [kind for kind, _ in found] == [one for one in wanted if one > after][:2]
        assert self.run(self.meta.documents(0, "inv")) == [("inventory:other", b"")]
