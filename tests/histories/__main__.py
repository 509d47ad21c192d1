"""`python -m tests.histories`: random histories of writes over two workers, with crashes in between,
each compared with a simple model of a versioned bucket."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.histories.run import HistoriesRun, Outcome

#: between two lines where there is no terminal
LINE_SECONDS = 15.0
INTERRUPTED = 130


def _teller() -> Callable[[str], None]:
    """One line that changes on a terminal; else one now and then."""
    if sys.stderr.isatty():
        return lambda line: print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
    said_at = 0.0

    def say(line: str) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= LINE_SECONDS:
            said_at = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    return say


async def _run(run: HistoriesRun, sequences: int, seconds: float) -> Outcome:
    """The first Ctrl-C lets the sequences under way end and checks the store, the second does not."""
    task = asyncio.ensure_future(run.run(sequences, seconds))

    def interrupt() -> None:
        if run.stopping:
            task.cancel()
        run.stopping = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    return await task


def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None, help="default: the time")
    parser.add_argument("--minutes", type=float, default=120.0, help="end after this time at most")
    parser.add_argument("--first", type=int, default=0, help="number of the first sequence")
    parser.add_argument("--lanes", type=int, default=24, help="sequences at once")
    parser.add_argument(
        "--crash-every", type=int, default=1000, metavar="OPERATIONS", help="0 for no crashes"
    )
    parser.add_argument("--directory", type=Path, default=None, help="default: a temporary one")
    parser.add_argument("--answers", action="store_true", help="count answers by operation")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="holdfast-histories-", dir=options.directory))
    print(f"seed {seed}, in {directory}", flush=True)
    run = HistoriesRun(
        directory,
        seed=seed,
        first=options.first,
        lanes=options.lanes,
        crash_every=options.crash_every,
        say=_teller(),
    )
    cancelled = False
    with asyncio.Runner(loop_factory=_loop) as runner:
        try:
            runner.run(_run(run, options.sequences, 60 * options.minutes))
        except asyncio.CancelledError:
            cancelled = True
    outcome = run.outcome
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for failure in outcome.failures:
        print(f"FAILED {failure}")
    if options.answers:
        for answered, count in sorted(outcome.counts.answers.items()):
            print(f"{count:>8} {answered}")
    if outcome.fsck:
        print(outcome.fsck)
    print(outcome.line())
    if outcome.failures:
        print(f"seed {seed}; the data and the server's log are kept in {directory}")
        return 1
    shutil.rmtree(directory)
    return INTERRUPTED if run.stopping or cancelled else 0


if __name__ == "__main__":
    sys.exit(main())
