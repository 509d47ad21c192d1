"""Committers that die by SIGKILL at chosen moments, one after the other, as a program.

`python -m tests.meta.killing DATABASE LISTENER_FD COUNTERS SEED KILLS`: a parent that only forks
and waits. After the last kill a committer runs until standard input is closed.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from pathlib import Path

from holdfast.meta.sqlite.committer import Committer, Waiting
from holdfast.meta.sqlite.counters import Counters

POINTS = ("begun", "decided", "committed", "counted", "answered some", "answered")
TURNS_MAX = 6


class DyingCommitter(Committer):
    """Dies at `point` of its transaction number `turn`."""

    point = ""
    turn = 0

    def _die_at(self, point: str) -> None:
        if point == self.point and self.turn <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def _begin(self) -> None:
        self.turn -= 1
        super()._begin()
        self._die_at("begun")

    def _decide(self, batch: list[Waiting], decided: list[Waiting], *, full: bool) -> bool:
        changed = super()._decide(batch, decided, full=full)
        self._die_at("decided")
        return changed

    def _end(self) -> None:
        super()._end()
        self._die_at("committed")

    def _count(self) -> None:
        super()._count()
        self._die_at("counted")

    def _answer(self, batch: list[Waiting]) -> None:
        if self.point == "answered some":
            super()._answer(batch[: len(batch) // 2])
        self._die_at("answered some")
        super()._answer(batch)
        self._die_at("answered")


def main(path: Path, listener: socket.socket, counters: Counters, seed: int, kills: int) -> None:
    chosen = random.Random(seed)
    for number in range(kills + 1):
        point = POINTS[number % len(POINTS)] if number < kills else ""
        turn = chosen.randint(1, TURNS_MAX)
        pid = os.fork()
        if pid == 0:
            committer = DyingCommitter(path, listener, counters, durable=False)
            committer.point, committer.turn = point, turn
            committer.run()
            os._exit(0)
        if number < kills:
            _, status = os.waitpid(pid, 0)
            if not os.WIFSIGNALED(status):
                sys.exit(f"the committer ended by itself: {status}")
    sys.stdin.read()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        socket.socket(fileno=int(sys.argv[2])),
        Counters.in_file(Path(sys.argv[3])),
        int(sys.argv[4]),
        int(sys.argv[5]),
    )
