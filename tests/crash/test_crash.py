"""Invariants 1, 2, 4 and 6, in short: the whole of it is `python -m tests.crash --kills 200`, and
`python -m tests.crash --large` for large multipart uploads."""

from __future__ import annotations

from pathlib import Path

from tests.crash.large import LargeRun, Plan
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


def test_multipart_uploads_with_parts_side_by_side(tmp_path: Path) -> None:
    plan = Plan(
        uploads=3,
        size=33 * 1024 * 1024 + 1,
        part_size=5 * 1024 * 1024,
        connections=8,
        kills_per_upload=2,
    )
    arguments = ("--workers=2", "--gc-grace-seconds=2")
    outcome = LargeRun(tmp_path, plan, seed=1, arguments=arguments, say=print).run()
    assert not outcome.losses, "\n".join(outcome.losses)
    assert outcome.uploads == {"completed": 1, "aborted": 1, "left": 1}
    assert outcome.kills >= 6
    assert outcome.parts_acknowledged == 3 * 7
