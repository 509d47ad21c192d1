"""`python -m tests.crash`: kill a working server again and again, and show that nothing is lost."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.large import LargeRun, Plan
from tests.crash.run import FINDINGS_SHOWN_MAX, CrashRun

MIB = 1024 * 1024


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
    large = parser.add_argument_group("with --large: multipart uploads with parts side by side")
    large.add_argument("--large", action="store_true")
    large.add_argument("--uploads", type=int, default=3)
    large.add_argument("--size-mib", type=int, default=5 * 1024)
    large.add_argument("--part-mib", type=int, default=64)
    large.add_argument("--connections", type=int, default=8)
    large.add_argument("--kills-per-upload", type=int, default=6)
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="holdfast-crash-", dir=options.directory))
    print(f"seed {seed}, in {directory}", flush=True)
    arguments = (
        f"--workers={options.workers}",
        f"--gc-grace-seconds={options.gc_grace_seconds}",
    )
    if options.large:
        return _large(options, directory, seed, arguments)
    run = CrashRun(
        directory,
        seed=seed,
        writers=options.writers,
        fsck_every_kills=options.fsck_every,
        arguments=arguments,
        say=lambda line: print(line, flush=True),
    )
    interrupted = False
    try:
        run.run(options.kills, options.seconds)
    except KeyboardInterrupt:
        interrupted = True
    status = _end(run.outcome.losses, run.outcome.line(), directory, seed)
    return status or (130 if interrupted else 0)


def _large(
    options: argparse.Namespace, directory: Path, seed: int, arguments: tuple[str, ...]
) -> int:
    plan = Plan(
        options.uploads,
        options.size_mib * MIB,
        options.part_mib * MIB,
        options.connections,
        options.kills_per_upload,
    )
    run = LargeRun(
        directory, plan, seed=seed, arguments=arguments, say=lambda line: print(line, flush=True)
    )
    outcome = run.run()
    return _end(outcome.losses, outcome.line(), directory, seed)


def _end(losses: list[str], line: str, directory: Path, seed: int) -> int:
    for loss in losses[:FINDINGS_SHOWN_MAX]:
        print(f"LOST {loss}")
    print(line)
    if losses:
        print(f"seed {seed}; the data and the server's log are kept in {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
