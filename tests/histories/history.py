"""One history: its operations one after the other (now and then two at once), each followed by a look
at all that it touched through both workers.

While the outcome of an operation is unknown (its answer was lost, or two raced) all states that it
may have left stand side by side; what is read next leaves those that agree. None left is a failure.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.histories.branches import advance, code_of
from tests.histories.generate import (
    FLAVOURS,
    LOCKED,
    VERSIONED,
    Contents,
    draw_step,
)
from tests.histories.model import UNKNOWN_PREFIX, Mismatch, State
from tests.histories.operations import (
    SOURCE_BUCKET,
    Call,
    Delete,
    DeleteMany,
    EnableLock,
    Operation,
    PutAcl,
    PutHold,
    PutRetention,
    PutTags,
    SetVersioning,
)
from tests.histories.reads import (
    FOLDERS,
    OBJECTS,
    UPLOADS,
    VERSIONING,
    VERSIONS,
    Read,
    acl_at,
    object_at,
    parts_of,
    tags_at,
)
from tests.histories.uploads import Abort, Complete, CreateUpload, OfUpload
from tests.histories.wire import Hung, Lost
from tests.s3.raw import Answer

STEPS_MIN, STEPS_MAX = 10, 25
#: at once: each of them may or may not be done when the answer is lost
END_DELETES_MAX = 5
BARRIER_KEY = "barrier"
#: two in a row: by the second, all that came before the first was read from every socket
BARRIER_WRITES = 2
#: larger objects are read whole only at the end
BODY_BYTES_MAX = 1024 * 1024
TAIL_BYTES = 100
#: such answers say: not now
UNAVAILABLE = 503
WORKERS = 2


class Failure(Exception):
    """A history went as it must not."""


class Site(Protocol):
    """Where histories happen."""

    contents: Contents

    async def ask(self, lane: int, worker: int, bucket: str, calls: list[Call]) -> list[Answer]:
        """Answers of one of the two workers. Raises Lost, Hung."""

    async def settle(self) -> None:
        """Until what was killed is back."""


@dataclass
class Counts:
    operations: int = 0
    races: int = 0
    reads: int = 0
    unknown: int = 0  # operations without an answer
    #: how often each operation had each answer
    answers: Counter[str] = field(default_factory=Counter)
    _milestone: int = 0
    _reached: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, op: Operation, answer: Answer | None) -> None:
        self.operations += 1
        answered = "no answer" if answer is None else answer.status
        self.answers[f"{type(op).__name__} {answered}"] += 1
        if self.operations >= self._milestone:
            self._reached.set()

    async def wait_for(self, operations: int) -> None:
        """Until so many more were done."""
        self._milestone = self.operations + operations
        self._reached.clear()
        await self._reached.wait()


class History:
    """`skip`: the steps to leave out. `disturbed`: an answer was lost in it."""

    def __init__(
        self,
        site: Site,
        counts: Counts,
        *,
        seed: int,
        number: int,
        lane: int,
        attempt: int = 0,
        skip: frozenset[int] = frozenset(),
    ) -> None:
        self.number = number
        self.bucket = f"h-{number}-{attempt}"
        self.trace: list[str] = []
        self.disturbed = False
        self._site = site
        self._counts = counts
        self._seed = seed
        self._lane = lane
        chance = self._chance("history")
        self._flavour = chance.choice(FLAVOURS)
        count = chance.randint(STEPS_MIN, STEPS_MAX)
        self.steps = [step for step in range(count) if step not in skip]
        self._clean_up = number % 5 != 0
        self._unknown_ids = itertools.count()
        self._states = [State()]

    def _chance(self, what: object) -> random.Random:
        return random.Random(f"{self._seed}/{self.number}/{what}")

    async def run(self) -> None:
        """Raises Failure."""
        try:
            await self._begin()
            for step in self.steps:
                await self._step(step)
            await self._look_at_all(self._chance("end"))
            if self._clean_up:
                await self._end()
        except (Mismatch, Hung) as error:
            raise Failure(f"{type(error).__name__}: {error}") from None

    # ---- sending

    async def _ask(self, worker: int, calls: list[Call], bucket: str = "") -> list[Answer]:
        return await self._site.ask(self._lane, worker, bucket or self.bucket, calls)

    async def _write(self, worker: int, op: Operation) -> Answer | None:
        """None when the outcome is unknown."""
        try:
            (answer,) = await self._ask(worker, [op.call()])
        except Lost:
            return None
        return None if answer.status == UNAVAILABLE else answer

    async def _insist(self, worker: int, call: Call, bucket: str = "") -> Answer:
        """Until there is an answer: for what may be done twice."""
        while True:
            try:
                (answer,) = await self._ask(worker, [call], bucket)
                if answer.status != UNAVAILABLE:
                    return answer
            except Lost:
                self.disturbed = True
            await self._site.settle()

    async def _barrier(self) -> None:
        """Returns when nothing that was sent before can still be carried out: what a worker left
        behind is in the committer's sockets, and commands that come later are done later."""
        self.disturbed = True
        await self._site.settle()
        for worker in range(WORKERS):
            done = 0
            while done < BARRIER_WRITES:
                call = Call("PUT", f"{BARRIER_KEY}-{self._lane}", (), {}, b"x")
                try:
                    (answer,) = await self._ask(worker, [call], SOURCE_BUCKET)
                    done = done + 1 if answer.status == 200 else 0
                except Lost:
                    done = 0
                    await self._site.settle()

    # ---- steps

    async def _begin(self) -> None:
        locked = self._flavour == LOCKED
        headers = {"x-amz-bucket-object-lock-enabled": "true"} if locked else {}
        answer = await self._insist(0, Call("PUT", "", (), headers))
        if answer.status != 200:
            raise Mismatch(f"CreateBucket answered {answer.status} {answer.body!r}")
        self._states = [State("Enabled" if locked else "", locked)]
        if self._flavour == VERSIONED:
            await self._perform([SetVersioning("Enabled")], 1, "begin")
        self.trace.append(f"bucket {self.bucket}{' with object lock' if locked else ''}")

    async def _step(self, step: int) -> None:
        chance = self._chance(step)
        ops = draw_step(
            chance, self._states[0], self._site.contents, self.bucket, self._flavour
        )  # fmt: skip
        self._counts.races += len(ops) > 1
        await self._perform(ops, chance.randrange(WORKERS), step)
        await self._look(ops, chance)

    async def _perform(self, ops: list[Operation], worker: int, step: object) -> None:
        """Send them at once, each to another worker, and take the states on."""
        answers = await asyncio.gather(
            *(self._write((worker + at) % WORKERS, op) for at, op in enumerate(ops))
        )
        for op, answer in zip(ops, answers, strict=True):
            self._counts.note(op, answer)
            answered = "no answer" if answer is None else f"{answer.status} {code_of(answer)}"
            race = " at once" if len(ops) > 1 else ""
            self.trace.append(f"{step:>5} {answered}{race}: {op}")
        doubtful = sum(answer is None for answer in answers)
        if doubtful:
            self._counts.unknown += doubtful
            await self._barrier()
        attempts = list(zip(ops, answers, strict=True))
        self._states = advance(self._states, attempts, self._unknown_ids)
        if len(self._states) > 1:
            await self._reduce(ops)

    # ---- looking

    async def _reduce(self, ops: list[Operation]) -> None:
        """Read until one state is left, or everything was read."""
        await self._see([VERSIONS, UPLOADS, VERSIONING])
        if len(self._states) > 1:
            keys = dict.fromkeys(key for op in ops for key in op.keys)
            await self._see([read for key in keys for read in self._versions_of(key)])

    def _versions_of(self, key: str) -> Iterable[Read]:
        state = self._states[0]
        for version in state.versions(key):
            if version.content is not None and version.id[0] != UNKNOWN_PREFIX:
                yield object_at(key, version.id, head=True)
                yield tags_at(key, version.id)
                yield acl_at(key, version.id)
        for upload in state.uploads:
            if upload.key == key and upload.id[0] != UNKNOWN_PREFIX:
                yield parts_of(key, upload.id)

    async def _look(self, ops: list[Operation], chance: random.Random) -> None:
        """What the operations touched."""
        reads: list[Read] = []
        state = self._states[0]
        for op in ops:
            if isinstance(op, OfUpload) and op.upload[0] != UNKNOWN_PREFIX:
                reads.append(parts_of(op.key, op.upload))
            if isinstance(op, (CreateUpload, Complete, Abort)):
                reads.append(UPLOADS)
            if isinstance(op, PutTags):
                reads.append(tags_at(op.key, op.version))
            elif isinstance(op, PutAcl):
                reads.append(acl_at(op.key, op.version))
            elif isinstance(op, (PutRetention, PutHold)):
                reads.append(object_at(op.key, op.version, head=True))
            elif isinstance(op, (SetVersioning, EnableLock)):
                reads.append(VERSIONING)
            if not isinstance(op, OfUpload) or isinstance(op, Complete):
                reads.append(VERSIONS)
                reads += [self._current(state, key, chance) for key in op.keys]
            if isinstance(op, Delete) and op.version:
                reads.append(object_at(op.key, op.version))
        if VERSIONS in reads and chance.random() < 0.6:
            reads.append(OBJECTS)
        unique = [read for at, read in enumerate(reads) if read.call not in _calls(reads[:at])]
        await self._see(unique)

    def _current(self, state: State, key: str, chance: random.Random) -> Read:
        current = state.current(key)
        size = len(current.content.data) if current and current.content else 0
        if size > BODY_BYTES_MAX:
            return object_at(key, tail_bytes=TAIL_BYTES)
        return object_at(key, head=chance.random() < 0.3)

    async def _look_at_all(self, chance: random.Random) -> None:
        """Everything there is."""
        await self._see([VERSIONS, OBJECTS, UPLOADS, VERSIONING, FOLDERS])
        reads: list[Read] = []
        state = self._states[0]
        for upload in state.uploads:
            reads.append(parts_of(upload.key, upload.id))
        for key, versions in state.keys.items():
            reads.append(object_at(key))
            for version in versions:
                reads.append(object_at(key, version.id, head=chance.random() < 0.3))
                reads.append(tags_at(key, version.id))
                if chance.random() < 0.3:
                    reads.append(acl_at(key, version.id))
        await self._see(reads)

    async def _see(self, reads: list[Read]) -> None:
        """Through both workers at once; what does not agree with them is no possible state."""
        if not reads:
            return
        calls = [read.call for read in reads]
        pages = await asyncio.gather(*(self._read(worker, calls) for worker in range(WORKERS)))
        self._counts.reads += WORKERS * len(reads)
        for read, *answers in zip(reads, *pages, strict=True):
            seen_bodies: list[bytes] = []
            for worker, answer in enumerate(answers):
                if read.whole and answer.status == 200 and answer.body in seen_bodies:
                    continue
                self._fit(read, answer, worker)
                seen_bodies.append(answer.body)

    async def _read(self, worker: int, calls: list[Call]) -> list[Answer]:
        """Until there are answers."""
        while True:
            try:
                answers = await self._ask(worker, calls)
                if all(answer.status != UNAVAILABLE for answer in answers):
                    return answers
            except Lost:
                self.disturbed = True
            await self._site.settle()

    def _fit(self, read: Read, answer: Answer, worker: int) -> None:
        what = f"{read.call.method} {read.call.key} {dict(read.call.query)} of worker {worker}"
        states: list[State] = []
        problems: list[str] = []
        try:
            seen: Any = read.parse(answer)
            for state in self._states:
                try:
                    known = read.fit(state, seen)
                except Mismatch as mismatch:
                    problems.append(str(mismatch))
                    continue
                if known not in states:
                    states.append(known)
        except Mismatch as mismatch:
            problems.append(str(mismatch))
        if not states:
            raise Mismatch(f"{what}: {'; or '.join(dict.fromkeys(problems))}")
        self._states = states

    # ---- the end

    async def _end(self) -> None:
        """Empty the bucket and delete it; what is under COMPLIANCE stays, and keeps the bucket."""
        state = self._states[0]
        if state.keys:
            answer = await self._insist(0, Call("DELETE"))
            if answer.status != 409 or answer.code != "BucketNotEmpty":
                raise Mismatch(f"DeleteBucket of a full bucket answered {answer.status}")
            for key, versions in state.keys.items():
                for version in versions:
                    if version.attributes.lock.hold:
                        await self._perform([PutHold(key, version.id, False)], 0, "end")
            entries = [
                Delete(key, version.id)
                for key, versions in state.keys.items()
                for version in versions
            ]
            for at in range(0, len(entries), END_DELETES_MAX):
                part = tuple(entries[at : at + END_DELETES_MAX])
                await self._perform([DeleteMany(part, bypass=True)], 1, "end")
            await self._see([VERSIONS, OBJECTS])
        if self._states[0].keys or len(self._states) > 1:
            return
        answer = await self._insist(1, Call("DELETE"))
        if answer.status != 204 and not (answer.status == 404 and self.disturbed):
            raise Mismatch(f"DeleteBucket of an empty bucket answered {answer.status}")
        for worker in range(WORKERS):
            (gone,) = await self._read(worker, [OBJECTS.call])
            if gone.status != 404 or gone.code != "NoSuchBucket":
                raise Mismatch(f"a deleted bucket answered {gone.status} of worker {worker}")


def _calls(reads: list[Read]) -> list[Call]:
    return [read.call for read in reads]
