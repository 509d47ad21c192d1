"""The decisions by themselves: pure functions, checked without any store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.meta import effects as fx
from holdfast.meta.commands import (
    AbortUpload,
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
    NewPart,
    NewParts,
    ObjectPut,
    PutDocument,
    PutObject,
    PutPart,
    ReapParts,
    Refused,
    RenameObject,
    Result,
    Retention,
    SetVersioning,
    SharedContent,
    SharedParts,
    StoredContent,
)
from holdfast.meta.decide import decide, needs_room, reads
from holdfast.meta.effects import Effect
from holdfast.meta.state import Clock
from holdfast.testing.memory_meta import MemoryState

OWNER = "a" * 64
SHA = b"s" * 32
NOW_MS = 1_700_000_000_000
INLINE = InlineContent(b"data")


class Watched:
    """A state that notes what is looked at."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state
        self.seen: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._state, name)

        def noted(*arguments: Any) -> Any:
            self.seen.append((name, arguments))
            return method(*arguments)

        return noted


class World:
    """A state with one bucket (id 1), and commands that were applied to it."""

    def __init__(self) -> None:
        self.state = MemoryState()
        self.clock = Clock(grace_ms=1_000)
        self.clock.set(NOW_MS * 1000)
        self.do(CreateBucket("bucket", OWNER, "us-east-1"))

    def decide(self, command: Command) -> tuple[Result, list[Effect]]:
        return decide(command, self.state, self.clock)

    def do(self, command: Command) -> Any:
        result, effects = self.decide(command)
        for effect in effects:
            self.state.apply(effect)
        return result

    def put(self, key: bytes = b"k", content: Any = INLINE, **more: Any) -> Any:
        return self.do(PutObject(1, key, 4, "0" * 32, OWNER, content, **more))

    def kinds(self, command: Command) -> list[str]:
        return [type(effect).__name__ for effect in self.decide(command)[1]]


@pytest.fixture
def world() -> World:
    return World()


def file(n: int = 1, written_ms: int = NOW_MS) -> StoredContent:
    return StoredContent(SHA, n, 4, written_ms)


def put_of(content: Any, key: bytes = b"k") -> PutObject:
    return PutObject(1, key, 4, "0" * 32, OWNER, content)


@pytest.mark.parametrize(
    ("before", "versioning", "content", "expected"),
    [
        (None, "", INLINE, ["PutInline", "PutCurrent"]),
        (INLINE, "", INLINE, ["PutInline", "DropInline", "PutCurrent"]),
        (None, "", file(), ["AddBlob", "PutCurrent"]),
        (file(), "", file(2), ["ChangeReferences", "ChangeReferences", "PutCurrent"]),
        (file(), "", INLINE, ["PutInline", "ChangeReferences", "PutCurrent"]),
        (INLINE, "Enabled", INLINE, ["PutInline", "Demote", "PutCurrent"]),
        (INLINE, "Suspended", INLINE, ["PutInline", "DropInline", "PutCurrent"]),
    ],
)
def test_put_effects(
    world: World, before: Any, versioning: str, content: Any, expected: list[str]
) -> None:
    if before is not None:
        world.put(content=before)
    if versioning:
        world.do(SetVersioning(1, versioning))
    assert world.kinds(put_of(content)) == expected


def test_references_are_taken_before_they_are_dropped(world: World) -> None:
    """Content that a command both takes and drops must not be going in between."""
    world.put(content=file())
    _, effects = world.decide(put_of(file(2)))
    changes = [effect.by for effect in effects if isinstance(effect, fx.ChangeReferences)]
    assert changes == [1, -1]


@pytest.mark.parametrize(
    ("versioning", "expected"),
    [
        ("", ["RemoveCurrent", "DropInline"]),
        ("Enabled", ["Demote", "PutOther"]),
        ("Suspended", ["RemoveCurrent", "DropInline", "PutOther"]),
    ],
)
def test_delete_effects(world: World, versioning: str, expected: list[str]) -> None:
    world.put()
    if versioning:
        world.do(SetVersioning(1, versioning))
    assert world.kinds(DeleteObject(1, b"k", OWNER)) == expected


@pytest.mark.parametrize(
    ("conditions", "absent", "present"),
    [
        (Conditions(), "", ""),
        (Conditions(if_match="*"), "NoSuchKey", ""),
        (Conditions(if_match="0" * 32), "NoSuchKey", ""),
        (Conditions(if_match="1" * 32), "NoSuchKey", "PreconditionFailed"),
        (Conditions(if_none_match="*"), "", "PreconditionFailed"),
        (Conditions(if_none_match="0" * 32), "", "PreconditionFailed"),
        (Conditions(if_none_match="1" * 32), "", ""),
        (Conditions(if_size=4), "NoSuchKey", ""),
        (Conditions(if_size=0), "NoSuchKey", "PreconditionFailed"),
        (Conditions(if_modified_ms=NOW_MS + 999), "NoSuchKey", ""),
        (Conditions(if_modified_ms=NOW_MS + 1000), "NoSuchKey", "PreconditionFailed"),
        (Conditions(if_match="*", if_none_match="0" * 32), "NoSuchKey", "PreconditionFailed"),
    ],
)
def test_conditions(world: World, conditions: Conditions, absent: str, present: str) -> None:
    for code in (absent, present):
        command = PutObject(1, b"k", 4, "0" * 32, OWNER, INLINE, conditions=conditions)
        result, effects = world.decide(command)
        if code:
            assert (result, effects) == (Refused(code), [])
        else:
            assert isinstance(result, ObjectPut)
        world.put()


@pytest.mark.parametrize(
    ("age_ms", "refused"), [(0, False), (500, False), (501, True), (-10_000, False)]
)
def test_file_is_stale_after_half_of_the_grace_time(
    world: World, age_ms: int, refused: bool
) -> None:
    result, _ = world.decide(put_of(file(written_ms=NOW_MS - age_ms)))
    assert (result == Refused("StaleContent")) == refused


def test_sequence_is_the_clock_or_one_more_than_before() -> None:
    clock = Clock()
    seqs = []
    for now_us in (100, 100, 50, 101, 200):
        clock.set(now_us)
        seqs.append(clock.next_seq())
    assert seqs == [100, 101, 102, 103, 200]


@pytest.mark.parametrize(
    "command",
    [
        put_of(InlineContent(b"not four")),
        put_of(NewParts([])),
        put_of(NewParts([NewPart(2, 4, "", INLINE), NewPart(1, 4, "", INLINE)])),
        SetVersioning(1, "enabled"),
        SetVersioning(1, ""),
        ChangeVersion(1, b"k", retention=Retention("FOR EVER", 1)),
        ChangeVersion(1, b"k", retention=Retention("GOVERNANCE", 0)),
        ChangeVersion(1, b"k", retention=Retention("", 1)),
    ],
)
def test_commands_that_no_caller_may_send(world: World, command: Command) -> None:
    with pytest.raises(ValueError):
        world.decide(command)


FREEING: list[Command] = [
    DeleteObject(1, b"k", OWNER),
    DeleteBucket(1),
    AbortUpload(1, 2),
    PutDocument(1, "cors", None),
    ForgetBlobs([1]),
    ReapParts(),
    ForgetDirectories(["bucket-1"]),
]
NEEDING: list[Command] = [
    CreateBucket("other", OWNER, "us-east-1"),
    put_of(INLINE),
    CreateUpload(1, b"k", b"12345678", OWNER),
    PutPart(1, 2, 1, 4, "", INLINE),
    CompleteUpload(1, 2, [(1, 1)], 4, ""),
    PutDocument(1, "cors", b"x"),
    SetVersioning(1, "Enabled"),
    EnableObjectLock(1),
    ChangeVersion(1, b"k", tags={"a": "b"}),
    RenameObject(1, b"k", b"other"),
]


def test_what_goes_on_when_the_disk_is_full() -> None:
    assert not any(needs_room(command) for command in FREEING)
    assert all(needs_room(command) for command in NEEDING)


@pytest.mark.parametrize("status", ["", "Enabled", "Suspended"])
def test_decisions_look_only_at_what_they_named(world: World, status: str) -> None:
    """A store that gathers the rows beforehand must have them all."""
    upload = world.do(CreateUpload(1, b"k", b"12345678", OWNER)).upload_id
    part = world.do(PutPart(1, upload, 1, 4, "", file())).part
    done = world.do(CreateUpload(1, b"done", b"12345678", OWNER)).upload_id
    world.do(PutPart(1, done, 1, 4, "", INLINE))
    if status:
        world.do(SetVersioning(1, status))
    if status == "Enabled":
        world.do(EnableObjectLock(1))
    seq = world.put().seq
    world.put(b"k", file(2))
    commands: list[Command] = [
        *FREEING,
        *NEEDING,
        put_of(file(3)),
        put_of(SharedContent(part.blob.id)),
        put_of(SharedParts(done)),
        put_of(NewParts([NewPart(1, 4, "", file(4)), NewPart(2, 4, "", INLINE)])),
        DeleteObject(1, b"k", OWNER, seq),
        DeleteObject(1, b"k", OWNER, -1),
        ChangeVersion(1, b"k", seq, acl=b"x"),
        ChangeVersion(1, b"k", -1, acl=b"x"),
        RenameObject(1, b"k", b"done"),
        PutPart(1, upload, 1, 4, "", SharedContent(part.blob.id)),
        CompleteUpload(1, upload, [(1, part.seq)], 4, ""),
        AbortUpload(1, upload, 1),
        AbortUpload(1, upload),
    ]
    for command in commands:
        watched = Watched(world.state)
        decide(command, watched, world.clock)
        assert not _unnamed(command, watched.seen), command


def _unnamed(command: Command, seen: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
    named = {(one.what, one.key) for one in reads(command)}
    of_versions = {"current", "others", "other", "other_null", "version"}
    unnamed = []
    for what, key in seen:
        if what in of_versions:
            ok = ("versions", key[:2]) in named or any(one[0] == "upload" for one in named)
        elif what in ("parts", "part_list", "part_seqs", "newest_part_ms"):
            ok = ("list", key[:1]) in named or ("going_part_list", ()) in named
        else:
            ok = (what, key) in named
        if not ok:
            unnamed.append((what, key))
    return unnamed
