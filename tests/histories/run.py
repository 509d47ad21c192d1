"""The whole run: histories in many buckets at once, crashes in between, fsck at the end.

A history is made of the seed and its number alone, so a failing one can be run again by itself. What
the crashes and the other histories did to it can't: one that fails without them is shrunk.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.process import ServerFault
from tests.histories.history import Counts, Failure, History
from tests.histories.site import ServedSite

SHRINK_ATTEMPTS_MAX = 300
SHRINK_SECONDS_MAX = 120.0
TRACE_LINES_MAX = 60


@dataclass
class Outcome:
    sequences: int = 0
    disturbed: int = 0
    crashes: Counter[str] = field(default_factory=Counter)
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    fsck: str = ""
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        counts = self.counts
        kinds = ", ".join(f"{n} {name}" for name, n in sorted(self.crashes.items()))
        return (
            f"sequences {self.sequences}, operations {counts.operations}, pairs at once "
            f"{counts.races}, reads compared {counts.reads}, crashes {self.crashes.total()}"
            f"{f' ({kinds})' if kinds else ''}, operations without an answer {counts.unknown}, "
            f"sequences that lost one {self.disturbed}, {self.seconds:.0f} s, "
            f"failures {len(self.failures)}"
        )


class HistoriesRun:
    """`data` and its log lie in `directory`, which the caller makes and removes.

    crash_every: about so many operations lie between two crashes, 0 for none.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        first: int = 0,
        lanes: int = 24,
        crash_every: int = 1000,
        say: Callable[[str], None],
    ) -> None:
        self.outcome = Outcome()
        self.stopping = False
        self._directory = directory
        self._seed = seed
        self._next = first
        self._lanes = lanes
        self._crash_every = crash_every
        self._say = say
        self._failed: History | None = None

    async def run(self, sequences: int, seconds: float) -> Outcome:
        """Until so many sequences are through, the time is up, or one has failed."""
        self._started = time.monotonic()
        self._site = ServedSite(self._directory, self._seed)
        self._end = self._next + sequences
        self._total = sequences
        self._until = self._started + seconds
        try:
            await self._site.start()
            await self._work()
            if self._failed is not None:
                await self._shrink(self._failed)
            await self._check_store()
        except ServerFault as fault:
            self.outcome.failures.append(f"server: {fault}")
        finally:
            self._site.close()
            self._site.server.destroy()
            self._count()
        return self.outcome

    def _count(self) -> None:
        server = self._site.server
        self.outcome.seconds = time.monotonic() - self._started
        self.outcome.crashes = server.kills + server.child_kills()

    async def _work(self) -> None:
        lanes = [asyncio.create_task(self._lane(number)) for number in range(self._lanes)]
        helpers = [asyncio.create_task(self._tell())]
        if self._crash_every:
            helpers.append(asyncio.create_task(self._crash_now_and_then()))
        try:
            working = asyncio.gather(*lanes)
            everything: list[asyncio.Future[Any]] = [working, *helpers]
            await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            for helper in helpers:
                if helper.done():
                    helper.result()  # the server does not come back
            await working
        finally:
            for task in (*lanes, *helpers):
                task.cancel()
            await asyncio.gather(*lanes, *helpers, return_exceptions=True)

    async def _lane(self, lane: int) -> None:
        while not self._over():
            number = self._next
            self._next += 1
            history = History(
                self._site, self.outcome.counts, seed=self._seed, number=number, lane=lane
            )
            try:
                await history.run()
            except Failure as failure:
                self._note(history, failure)
            self.outcome.sequences += 1
            self.outcome.disturbed += history.disturbed

    def _over(self) -> bool:
        return (
            self.stopping
            or self._failed is not None
            or self._next >= self._end
            or time.monotonic() > self._until
        )

    def _note(self, history: History, failure: Failure) -> None:
        trace = "\n".join(history.trace[-TRACE_LINES_MAX:])
        self.outcome.failures.append(
            f"sequence {history.number} of seed {self._seed}: {failure}\n{trace}\n"
            f"again: python -m tests.histories --seed {self._seed} --first {history.number} "
            f"--sequences 1 --crash-every 0"
        )
        if self._failed is None:
            self._failed = history

    async def _crash_now_and_then(self) -> None:
        chance = random.Random(f"{self._seed}/crashes")
        while True:
            every = self._crash_every
            await self.outcome.counts.wait_for(chance.randint(every // 2, every * 3 // 2))
            await self._site.crash(chance)

    # ---- what is said

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._say(self.progress())

    def progress(self) -> str:
        """One line: how far, how fast, how long still."""
        seconds = time.monotonic() - self._started
        done = self.outcome.sequences
        rate = done / seconds if seconds else 0.0
        left = self._until - time.monotonic()
        if done:
            left = min((self._total - done) / rate, left)
        share = done * 20 // max(1, self._total)
        return (
            f"[{'#' * share}{'.' * (20 - share)}] {done}/{self._total} sequences, "
            f"{self.outcome.counts.operations} operations ({rate:.1f} sequences/s), "
            f"{self._site.crashes} crashes, {_minutes(seconds)} gone, {_minutes(left)} left"
        )

    # ---- after a failure

    async def _shrink(self, failed: History) -> None:
        """Leave out operations while it still fails, by itself and without crashes."""
        attempt, until = 0, time.monotonic() + SHRINK_SECONDS_MAX

        async def fails(skip: frozenset[int]) -> History | None:
            nonlocal attempt
            attempt += 1
            history = History(
                self._site, Counts(), seed=self._seed, number=failed.number, lane=0,
                attempt=attempt, skip=skip,
            )  # fmt: skip
            try:
                await history.run()
            except Failure as failure:
                history.trace.append(str(failure))
                return history
            return None

        skip: frozenset[int] = frozenset()
        least = await fails(skip)
        if least is None:
            self.outcome.failures.append("it passes by itself, without crashes and other load")
            return
        size = max(1, len(failed.steps) // 2)
        while size and attempt < SHRINK_ATTEMPTS_MAX and time.monotonic() < until:
            left = [step for step in failed.steps if step not in skip]
            for at in range(0, len(left), size):
                smaller = await fails(skip | frozenset(left[at : at + size]))
                if smaller is not None:
                    least, skip = smaller, skip | frozenset(left[at : at + size])
            size //= 2
        trace = "\n".join(least.trace)
        self.outcome.failures.append(
            f"shrunk to {len(least.steps)} of {len(failed.steps)} steps by {attempt} runs:\n{trace}"
        )

    # ---- the end

    async def _check_store(self) -> None:
        """Stop in order; nothing but garbage; reclaim it; then nothing at all."""
        self._site.close()
        server = self._site.server
        await asyncio.to_thread(server.wait_whole)
        await asyncio.to_thread(server.stop)
        found = await asyncio.to_thread(server.fsck, True)
        self.outcome.fsck = "\n".join(found.lines())
        if found.damage_count:
            self.outcome.failures.append(f"fsck: {self.outcome.fsck}")
            return
        after = await asyncio.to_thread(server.fsck, False)
        if not after.clean:
            self.outcome.failures.append(f"fsck after reclaim: {after.lines()}")


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
