"""Invariants 1 to 4 by random histories, in short: `python -m tests.histories` runs 10,000."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.histories.run import HistoriesRun

SEQUENCES = 50
SECONDS_MAX = 90.0
SEED = 4


def test_histories_agree_with_the_model(tmp_path: Path) -> None:
    run = HistoriesRun(tmp_path, seed=SEED, lanes=12, crash_every=300, say=print)
    outcome = asyncio.run(run.run(SEQUENCES, SECONDS_MAX))
    assert not outcome.failures, "\n".join(outcome.failures)
    # it was no idle server that was killed, and not all was refused
    assert outcome.sequences == SEQUENCES
    assert outcome.crashes.total() > 0
    assert outcome.counts.races > 0
    for name in ("Put", "Copy", "Complete", "UploadPartCopy", "Rename", "PutRetention"):
        assert outcome.counts.answers[f"{name} 200"] > 0, outcome.counts.answers
    assert outcome.counts.answers["Delete 204"] > 0
