"""What a history does next: drawn from a source of chance and the state as it is known.

Rule: each step has a source of its own, so that leaving out other steps changes it as little as
can be; that is what makes a failing history shrink.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from holdfast.s3.names import encode_upload_id, encode_version_id
from tests.histories.model import (
    NULL,
    UNCONDITIONAL,
    UNKNOWN_PREFIX,
    UNLOCKED,
    Attributes,
    Conditions,
    Content,
    Lock,
    Pairs,
    State,
    Upload,
)
from tests.histories.operations import (
    Copy,
    Delete,
    DeleteMany,
    EnableLock,
    Operation,
    Put,
    PutAcl,
    PutHold,
    PutRetention,
    PutTags,
    Rename,
    SetVersioning,
    Source,
)
from tests.histories.reads import CANNED
from tests.histories.uploads import (
    Abort,
    Complete,
    CreateUpload,
    UploadPart,
    UploadPartCopy,
)

#: some that need escapes, some below a common prefix
KEYS = ("a", "a/b", "c d&é<+", "z/1")
#: well-formed, and nobody's
NO_VERSION = encode_version_id(12345, False)
NO_UPLOAD = encode_upload_id(12345, b"\0" * 8)
NO_ETAG = "0" * 32
UNTIL = tuple(f"20{90 + year}-01-01T00:00:00Z" for year in range(5))
PARTS_NUMBER_MAX = 3
#: so often two operations are sent at once, and a key is chosen that has versions
RACES = 0.1
EXISTING = 0.55


class Contents:
    """The bodies that histories choose from. inline_bytes_max: up to it the server keeps a content
    in its database. `big` is as large as a part that is not the last one has to be."""

    def __init__(self, seed: int, inline_bytes_max: int) -> None:
        chance = random.Random(seed)
        self.small = [Content.of(chance.randbytes(size)) for size in (0, 1, 100, inline_bytes_max)]
        sizes = [inline_bytes_max + 1, 2 * inline_bytes_max, 5000]
        self.files = [Content.of(chance.randbytes(size)) for size in sizes]
        self.big = Content.of(chance.randbytes(5 * 1024 * 1024 + 17))
        self._noise = chance.randbytes(3 * inline_bytes_max)

    def sources(self) -> dict[str, Content]:
        """What is in the bucket that never changes, by key."""
        return {"small": self.small[2], "file": self.files[0], "big": self.big}

    def draw(self, chance: random.Random, name: str) -> Content:
        """Half of them shared by many, half of this history's own."""
        what = chance.random()
        if what < 0.2:
            return chance.choice(self.small)
        if what < 0.5:
            return chance.choice(self.files)
        size = chance.randrange(len(self._noise) if what < 0.7 else 200)
        return Content.of(f"{name}:{chance.random()}:".encode() + self._noise[:size])


class Draw:
    """One step's draw. `key`: the key that it is about."""

    def __init__(
        self, chance: random.Random, state: State, contents: Contents, bucket: str, key: str
    ) -> None:
        self.chance = chance
        self.state = state
        self.contents = contents
        self.bucket = bucket
        self.key = key

    def about(self, key: str) -> Draw:
        return Draw(self.chance, self.state, self.contents, self.bucket, key)

    # ---- pieces

    def content(self) -> Content:
        return self.contents.draw(self.chance, self.bucket)

    def metadata(self) -> Pairs:
        return (("color", self.chance.choice(("red", "green", "blue"))),)

    def tags(self) -> Pairs:
        count = self.chance.randrange(3)
        return tuple((f"t{n}", self.chance.choice(("x", "y z", "a+b"))) for n in range(count))

    def attributes(self) -> Attributes:
        chance = self.chance
        lock = UNLOCKED
        if self.state.lock:
            if chance.random() < 0.3:
                lock = self.lock()
        elif chance.random() < 0.02:
            lock = self.lock()
        return Attributes(
            self.metadata() if chance.random() < 0.4 else (),
            self.tags() if chance.random() < 0.3 else (),
            lock,
            chance.choice(list(CANNED)) if chance.random() < 0.1 else "private",
        )

    def lock(self) -> Lock:
        mode, until = self.retention()
        hold = self.chance.random() < 0.2
        return Lock(mode, until, hold) if mode else Lock(hold=True)

    def retention(self) -> tuple[str, str]:
        modes = ("GOVERNANCE", "GOVERNANCE", "GOVERNANCE", "COMPLIANCE", "")
        mode = self.chance.choice(modes)
        return mode, self.chance.choice(UNTIL) if mode else ""

    def etags(self) -> list[str]:
        """Of all versions of the key: the right one, wrong ones."""
        return [v.content.etag for v in self.state.versions(self.key) if v.content is not None]

    def wanted(self) -> str:
        """An If-Match that holds as often as not."""
        current = self.state.current(self.key)
        if current is not None and current.content is not None and self.chance.random() < 0.55:
            return current.content.etag
        return self.chance.choice([*self.etags(), NO_ETAG, "*"])

    def conditions(self, often: float = 0.25) -> Conditions:
        if self.chance.random() >= often:
            return UNCONDITIONAL
        if self.chance.random() < 0.4:
            return Conditions(if_none_match="*")
        return Conditions(if_match=self.wanted())

    def version(self, or_current: float = 0.4) -> str:
        if self.chance.random() < or_current:
            return ""
        known = [v.id for v in self.state.versions(self.key) if v.id[0] != UNKNOWN_PREFIX]
        if known and self.chance.random() < 0.9:
            return self.chance.choice(known)
        return self.chance.choice((NULL, NO_VERSION))

    def source(self) -> Source:
        """Another key of the bucket or a version of it, the same one, or one that never changes."""
        chance = self.chance
        if chance.random() < 0.2:
            name = chance.choice(("small", "file"))
            return Source(name, "", self.contents.sources()[name])
        key = chance.choice(sorted(self.state.keys) or [self.key])
        if chance.random() < 0.1:
            key = chance.choice(KEYS)
        there = [v.id for v in self.state.versions(key) if v.id[0] != UNKNOWN_PREFIX]
        if there and chance.random() < 0.4:
            return Source(key, chance.choice(there))
        return Source(key)

    def upload(self) -> Upload | None:
        """One in progress, rarely one that has ended; None where there is none."""
        live = [u for u in self.state.uploads if u.id[0] != UNKNOWN_PREFIX]
        ended = [u for u in self.state.ended if u.id[0] != UNKNOWN_PREFIX]
        if ended and (self.chance.random() < 0.12 or not live):
            return self.chance.choice(ended)
        if live:
            return self.chance.choice(live)
        return None

    # ---- operations

    def put(self) -> Operation:
        return Put(self.key, self.content(), self.attributes(), self.conditions())

    def copy(self) -> Operation:
        chance = self.chance
        source = self.source()
        itself = source.key == self.key and source.content is None
        replaces = chance.random() < (0.85 if itself else 0.3)
        found = self.state.named(source.key, source.version) or self.state.current(source.key)
        if_match = ""
        if chance.random() < 0.1:
            content = found.content if found is not None else None
            if_match = chance.choice([content.etag if content else NO_ETAG, NO_ETAG])
        return Copy(
            self.bucket,
            source,
            self.key,
            self.metadata() if replaces else None,
            self.tags() if chance.random() < 0.2 else None,
            if_match,
            self.conditions(0.15),
        )

    def delete(self) -> Operation:
        if self.chance.random() < 0.3:
            current = self.state.current(self.key)
            if self.chance.random() < 0.3:
                size = len(current.content.data) if current and current.content else 7
                size += self.chance.randrange(2)
                return Delete(self.key, "", Conditions(size=size))
            return Delete(self.key, "", Conditions(if_match=self.wanted()))
        return Delete(self.key)

    def delete_version(self) -> Operation:
        return Delete(self.key, self.version(0.0), bypass=self.chance.random() < 0.5)

    def delete_many(self) -> Operation:
        entries: list[Delete] = []
        for key in self.chance.sample(KEYS, self.chance.randint(1, 3)):
            of_key = self.about(key)
            version = of_key.version(0.5)
            conditions = UNCONDITIONAL
            if not version and self.chance.random() < 0.2:
                conditions = Conditions(if_match=of_key.wanted())
            entries.append(Delete(key, version, conditions))
        return DeleteMany(tuple(entries), self.chance.random() < 0.5)

    def create_upload(self) -> Operation:
        return CreateUpload(self.key, self.attributes())

    def upload_part(self) -> Operation:
        upload = self.upload()
        if upload is None:
            return self.create_upload()
        number = self.chance.randint(1, PARTS_NUMBER_MAX)
        return UploadPart(upload.key, upload.id, number, self.content())

    def upload_part_copy(self) -> Operation:
        upload = self.upload()
        if upload is None:
            return self.create_upload()
        chance = self.chance
        if chance.random() < 0.25:
            source = Source("big", "", self.contents.big)
            return UploadPartCopy(upload.key, upload.id, self.bucket, 1, source)
        number = chance.randint(1, PARTS_NUMBER_MAX)
        source = self.source()
        found = source.content
        if found is None:
            version = (
                self.state.named(source.key, source.version)
                if source.version
                else self.state.current(source.key)
            )
            found = version.content if version is not None else None
        first = count = 0
        if found is not None and found.data and chance.random() < 0.5:
            first = chance.randrange(len(found.data))
            count = chance.randint(1, min(4000, len(found.data) - first))
        return UploadPartCopy(upload.key, upload.id, self.bucket, number, source, first, count)

    def complete(self) -> Operation:
        upload = self.upload()
        if upload is None:
            return self.create_upload()
        chance = self.chance
        conditions = self.about(upload.key).conditions(0.2)
        there = [(number, part.etag) for number, part in upload.parts]
        if not there:
            return UploadPart(upload.key, upload.id, 1, self.content())
        if chance.random() < 0.1:
            number, etag = there[-1]
            wrong = chance.choice([(number, NO_ETAG), (number + 1, etag)])
            return Complete(upload.key, upload.id, (*there[:-1], wrong), conditions)
        whole_first = len(upload.parts[0][1].data) >= len(self.contents.big.data)
        if whole_first and len(there) > 1 and chance.random() < 0.7:
            chosen = [there[0], chance.choice(there[1:])]
        elif chance.random() < 0.75:
            chosen = [chance.choice(there)]
        else:
            chosen = chance.choice([there, there[::-1]])
        return Complete(upload.key, upload.id, tuple(chosen), conditions)

    def abort(self) -> Operation:
        upload = self.upload()
        if upload is None:
            return Abort(self.key, NO_UPLOAD)
        return Abort(upload.key, upload.id)

    def put_tags(self) -> Operation:
        tags = self.tags() if self.chance.random() < 0.75 else None
        return PutTags(self.key, self.version(), tags)

    def put_acl(self) -> Operation:
        return PutAcl(self.key, self.version(), self.chance.choice(list(CANNED)))

    def put_retention(self) -> Operation:
        mode, until = self.retention()
        return PutRetention(self.key, self.version(), mode, until, self.chance.random() < 0.4)

    def put_hold(self) -> Operation:
        return PutHold(self.key, self.version(), self.chance.random() < 0.4)

    def set_versioning(self) -> Operation:
        return SetVersioning(self.chance.choice(("Enabled", "Suspended")))

    def enable_lock(self) -> Operation:
        return EnableLock()

    def rename(self) -> Operation:
        chance = self.chance
        sources = [key for key in sorted(self.state.keys) if key != self.key] or [self.key]
        source = chance.choice(KEYS) if chance.random() < 0.1 else chance.choice(sources)
        if_match = ""
        if chance.random() < 0.2:
            current = self.state.current(source)
            right = current.content.etag if current and current.content else NO_ETAG
            if_match = chance.choice((right, NO_ETAG))
        return Rename(source, self.key, if_match, self.conditions(0.2))


Drawer = Callable[[Draw], Operation]
#: how often each operation comes, in a bucket that begins without versioning, with it, with a lock
WEIGHTS: dict[Drawer, tuple[int, int, int]] = {
    Draw.put: (24, 24, 24),
    Draw.copy: (12, 12, 10),
    Draw.delete: (10, 10, 8),
    Draw.delete_version: (3, 10, 12),
    Draw.delete_many: (4, 5, 5),
    Draw.create_upload: (4, 4, 4),
    Draw.upload_part: (8, 8, 6),
    Draw.upload_part_copy: (6, 6, 4),
    Draw.complete: (9, 9, 7),
    Draw.abort: (2, 2, 2),
    Draw.put_tags: (4, 6, 4),
    Draw.put_acl: (2, 2, 1),
    Draw.put_retention: (1, 1, 8),
    Draw.put_hold: (1, 1, 4),
    Draw.set_versioning: (2, 6, 1),
    Draw.enable_lock: (0, 1, 1),
    Draw.rename: (10, 1, 1),
}
DRAWERS = list(WEIGHTS)
PLAIN, VERSIONED, LOCKED = 0, 1, 2
FLAVOURS = (PLAIN, PLAIN, VERSIONED, VERSIONED, VERSIONED, LOCKED)


def draw_step(
    chance: random.Random, state: State, contents: Contents, bucket: str, flavour: int
) -> list[Operation]:
    """One operation, or two to be sent at once."""
    there = sorted(state.keys)
    key = chance.choice(there if there and chance.random() < EXISTING else KEYS)
    draw = Draw(chance, state, contents, bucket, key)
    weights = [of_flavours[flavour] for of_flavours in WEIGHTS.values()]
    races = chance.random() < RACES
    first, second = chance.choices(DRAWERS, weights, k=2)
    one = first(draw)
    if races:
        other = second(draw.about(one.keys[-1]) if one.keys else draw)
        if may_race(one, other) and may_race(other, one):
            return [one, other]
    return [one]


def may_race(one: Operation, other: Operation) -> bool:
    """Whether S3 promises that the two happen one after the other. What it does in several steps
    (a copy reads, then writes; DeleteObjects is many) may come apart, and a bucket's
    configuration is not read with the object."""
    if isinstance(one, (DeleteMany, EnableLock)):
        return False
    if isinstance(one, SetVersioning):
        return isinstance(other, (Put, Delete, Complete, Rename))
    if isinstance(one, Copy) and one.source.content is None:
        return one.source.key != one.key and one.source.key not in other.keys
    return True
