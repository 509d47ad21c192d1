"""`python -m tests.crash`: kill a working server again and again, and show that nothing is lost."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.run import FINDINGS_SHOWN_MAX, CrashRun


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3600.0, help="end after this time at most")
    parser.add_argument("--seed", type=int, default=None, help="default: the time")
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the server")
    parser.add_argument("--fsck-every", type=int, default=20, metavar="KILLS")
    parser.add_argument("--gc-grace-seconds", type=float, default=4.0)
    parser.add_argument("--directory", type=Path, default=None, help="default: a temporary one")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="holdfast-crash-", dir=options.directory))
    print(f"seed {seed}, in {directory}", flush=True)
    run = CrashRun(
        directory,
        seed=seed,
        writers=options.writers,
        fsck_every_kills=options.fsck_every,
        arguments=(
            f"--workers={options.workers}",
            f"--gc-grace-seconds={options.gc_grace_seconds}",
        ),
        say=lambda line: print(line, flush=True),
    )
    interrupted = False
    try:
        run.run(options.kills, options.seconds)
    except KeyboardInterrupt:
        interrupted = True
    outcome = run.outcome
    for loss in outcome.losses[:FINDINGS_SHOWN_MAX]:
        print(f"LOST {loss}")
    print(outcome.line())
    if outcome.losses:
        print(f"seed {seed}; the data and the server's log are kept in {directory}")
        return 1
    shutil.rmtree(directory)
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
