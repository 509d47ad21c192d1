"""The crash run: writers work, the killer kills, everything is compared with what was acknowledged.

After each kill of everything, and now and then after that of one process, the writers rest and each
of their keys is read and compared, with the listings too. A state that is in doubt is settled only
after everything was restarted: before that the operation may still be under way. Every so many
kills the server is stopped in order, and fsck must find nothing but garbage, and reclaim it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.maintenance.fsck import FsckReport
from tests.crash.client import Client, Unanswered, list_objects
from tests.crash.model import BUCKETS, Contents, Place, State
from tests.crash.process import ACCESS_KEY, SECRET_KEY, ServerFault, ServerProcess
from tests.crash.writer import Gate, Unavailable, Violation, Writer, read_place

#: how long writers work before the next kill
WORK_SECONDS_MIN = 0.02
WORK_SECONDS_MAX = 0.7
#: of 100 kills: so many of everything, of the supervisor alone; the rest hits one child
KILLS_OF_EVERYTHING = 40
KILLS_OF_SUPERVISOR = 8
CHECK_AFTER_CHILD_KILL = 0.2
READ_ATTEMPTS_MAX = 200
READ_REST_SECONDS = 0.1
FINDINGS_SHOWN_MAX = 20


@dataclass
class Outcome:
    kills: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    reads_compared: int = 0
    fsck_runs: int = 0
    garbage_files: int = 0
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)

    def line(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(self.kinds.items()))
        return (
            f"kills {self.kills} ({kinds}), operations acknowledged {self.acknowledged}, "
            f"without an answer {self.unanswered}, states compared {self.reads_compared}, "
            f"fsck runs {self.fsck_runs} ({self.garbage_files} files of garbage), "
            f"{self.seconds:.0f} s, losses {len(self.losses)}"
        )


class CrashRun:
    """`data` and its log lie in `directory`, which the caller makes and removes."""

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        writers: int,
        fsck_every_kills: int,
        arguments: tuple[str, ...],
        say: Callable[[str], None],
    ) -> None:
        self.server = ServerProcess(directory / "data", directory / "server.log", arguments)
        self.outcome = Outcome()
        self._say = say
        self._chance = random.Random(seed)
        self._fsck_every_kills = fsck_every_kills
        self._gate = Gate()
        contents = Contents(seed)
        self._writers = [
            Writer(number, self._client(), contents, self._gate, seed) for number in range(writers)
        ]

    def _client(self) -> Client:
        return Client(self.server.port, ACCESS_KEY, SECRET_KEY)

    def run(self, kills: int, seconds: float) -> Outcome:
        """Until so many kills are done or the time is up, or something was lost."""
        self._started = started = time.monotonic()
        try:
            self.server.start()
            self._make_buckets()
            for writer in self._writers:
                writer.start()
            while self.outcome.kills < kills and time.monotonic() - started < seconds:
                self._one_kill()
                if self.outcome.losses:
                    break
                if self.outcome.kills % self._fsck_every_kills == 0:
                    self._fsck()
            if not self.outcome.losses:
                self._fsck()
        except ServerFault as fault:
            self.outcome.losses.append(f"server: {fault}")
        finally:
            self._gate.end()
            self.server.destroy()
            for writer in self._writers:
                writer.join()
            self._count()
        return self.outcome

    def _make_buckets(self) -> None:
        with closing(self._client()) as client:
            for bucket in BUCKETS:
                answer = client.request("PUT", bucket)
                if answer.status != 200:
                    raise ServerFault(f"bucket {bucket} answered {answer.status} {answer.body!r}")

    def _one_kill(self) -> None:
        self._gate.open()
        time.sleep(self._chance.uniform(WORK_SECONDS_MIN, WORK_SECONDS_MAX))
        what = self._chance.randrange(100)
        self.outcome.kills += 1
        if what < KILLS_OF_EVERYTHING + KILLS_OF_SUPERVISOR:
            if what < KILLS_OF_EVERYTHING:
                self.server.kill_all()
            else:
                self.server.kill_supervisor()
            self._gate.close()
            self.server.start()
            self._compare(settle=True)
        else:
            self.server.kill_child(self._chance.randrange(1000))
            if self._chance.random() < CHECK_AFTER_CHILD_KILL:
                self._gate.close()
                self._compare(settle=False)
            self.server.wait_whole()
        self._count()
        self._say(self.outcome.line())

    def _count(self) -> None:
        outcome = self.outcome
        outcome.seconds = time.monotonic() - self._started
        outcome.acknowledged = sum(writer.acknowledged for writer in self._writers)
        outcome.unanswered = sum(writer.unanswered for writer in self._writers)
        outcome.kinds = dict(self.server.kills + self.server.child_kills())
        for writer in self._writers:
            outcome.losses += writer.violations
            writer.violations = []

    def _compare(self, settle: bool) -> None:
        """Every key of every writer, and the listings. The writers rest."""
        with ThreadPoolExecutor(len(self._writers)) as pool:
            seen: dict[Place, State] = {}
            for states in pool.map(
                lambda writer: self._compare_keys(writer, settle), self._writers
            ):
                seen |= states
        self.outcome.reads_compared += len(seen)
        if settle:
            self._compare_listings(seen)

    def _compare_keys(self, writer: Writer, settle: bool) -> dict[Place, State]:
        seen: dict[Place, State] = {}
        with closing(self._client()) as client:
            for place in writer.expected.places():
                try:
                    seen[place] = _patiently(client, place)
                except Violation as violation:
                    self.outcome.losses.append(str(violation))
                    continue
                problem = writer.expected.check(place, seen[place], settle)
                if problem:
                    self.outcome.losses.append(problem)
        return seen

    def _compare_listings(self, seen: dict[Place, State]) -> None:
        """A listing shows the keys that GET shows, no other, with the same ETags and sizes."""
        for bucket in BUCKETS:
            with closing(self._client()) as client:
                listed = list_objects(client, bucket)
            for place, state in seen.items():
                if place.bucket != bucket:
                    continue
                entry = listed.pop(place.key, None)
                if entry != (None if state is None else (state.etag, state.size)):
                    self.outcome.losses.append(f"{place}: GET shows {state}, the listing {entry}")
            for key, entry in listed.items():
                self.outcome.losses.append(
                    f"{bucket}/{key!r} is listed and nobody wrote it: {entry}"
                )

    def _fsck(self) -> None:
        """Stop; nothing but garbage; reclaim it; then nothing at all; go on."""
        self._gate.close()
        self.server.stop()
        found = self._run_fsck(reclaim=False)
        self.outcome.garbage_files += found.garbage_files + found.going_blobs
        if not found.damage_count:
            self._run_fsck(reclaim=True)
            after = self._run_fsck(reclaim=False)
            if not after.clean:
                self.outcome.losses.append(f"fsck after reclaim: {after.lines()}")
        self.server.start()
        self._compare(settle=True)

    def _run_fsck(self, reclaim: bool) -> FsckReport:
        report = self.server.fsck(reclaim)
        self.outcome.fsck_runs += 1
        if report.damage_count:
            self.outcome.losses.append(f"fsck: {report.lines()}")
        return report


def _patiently(client: Client, place: Place) -> State:
    """Read it; a process that was just killed may take a moment to come back."""
    for _ in range(READ_ATTEMPTS_MAX):
        try:
            return read_place(client, place)
        except (Unanswered, Unavailable):
            time.sleep(READ_REST_SECONDS)
    raise Violation(f"{place} can't be read")
