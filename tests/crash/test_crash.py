"""Invariants 1, 2, 4 and 6, in short: the whole of it is `python -m tests.crash --kills 200`."""

from __future__ import annotations

from pathlib import Path

from tests.crash.run import CrashRun

KILLS = 12
SECONDS_MAX = 90.0


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    run = CrashRun(
        tmp_path,
        seed=1,
        writers=3,
        fsck_every_kills=KILLS,
        arguments=("--workers=2", "--gc-grace-seconds=4"),
        say=print,
    )
    outcome = run.run(KILLS, SECONDS_MAX)
    assert not outcome.losses, "\n".join(outcome.losses)
    assert outcome.kills == KILLS
    assert outcome.acknowledged > KILLS  # it was no idle server that was killed
    assert outcome.fsck_runs >= 3
