"""`python -m tests.crash.steps`: die, or fail, between any two steps on the file system.

For each number N the scenario runs in a child that dies (or meets an error of the disk) at its N-th
step; a second child opens what is left and checks it. The parent has one thread and opens no store,
so that it can fork. A kill needs no real disk, so the data lies in memory where there is /dev/shm.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from holdfast.testing.fileops import FaultyFileOps
from tests.crash.scenario import problems_after, steps
from tests.maintenance.stores import Stores, in_stores

STEPS_MAX = 1000
WRONG_MAX = 10
COMPLETE, DIED, FAILED, WRONG = 0, 77, 78, 79
MODES = ("exit", "EIO", "ENOSPC")


def _run_scenario(directory: Path, number: int, mode: str) -> int:
    """In a child: how it ended. A byte in `progress` stands for each step that was acknowledged."""
    met = False

    def before(at: int, kind: str) -> None:
        nonlocal met
        if at != number:
            return
        met = True
        if mode == "exit":
            os._exit(DIED)
        code = getattr(errno, mode)
        raise OSError(code, os.strerror(code))

    progress = os.open(directory / "progress", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def work(stores: Stores) -> None:
        for step in steps():
            await step.act(stores)
            os.write(progress, b".")

    try:
        in_stores(directory / "data", work, FaultyFileOps(before))
    except OSError:
        return FAILED if met else WRONG
    return FAILED if met else COMPLETE


def _check(directory: Path) -> int:
    """In a child: open what is left."""
    done = (directory / "progress").stat().st_size

    async def work(stores: Stores) -> list[str]:
        return await problems_after(stores, done)

    problems = in_stores(directory / "data", work)
    for problem in problems:
        print(f"after {done} steps: {problem}", file=sys.stderr)
    return WRONG if problems else COMPLETE


def _in_child(directory: Path, number: int, mode: str) -> int:
    """Fork, run the scenario, or the check when `mode` is empty. The exit status."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = WRONG
    try:
        status = _run_scenario(directory, number, mode) if mode else _check(directory)
    except BaseException:  # noqa: BLE001 - the last frame of the process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def run(mode: str, first: int, stride: int) -> tuple[int, int]:
    """(runs, wrong ones) of the steps first, first + stride, … until the scenario is complete."""
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="holdfast-steps-", dir=memory if memory.is_dir() else None))
    runs = wrong = 0
    try:
        for number in range(first, STEPS_MAX, stride):
            directory = base / str(number)
            directory.mkdir()
            status = _in_child(directory, number, mode)
            if status == WRONG or _in_child(directory, number, "") != COMPLETE:
                wrong += 1
                print(f"WRONG: {mode} at step {number}", file=sys.stderr)
            shutil.rmtree(directory)
            if status == COMPLETE or wrong >= WRONG_MAX:
                return runs, wrong
            runs += 1
        raise RuntimeError(f"the scenario has more than {STEPS_MAX} steps")
    finally:
        shutil.rmtree(base)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.steps", description=__doc__)
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--stride", type=int, default=1, help="take only every so many-th step")
    options = parser.parse_args()
    wrong_ones = 0
    for mode in options.mode or MODES:
        runs, wrong = run(mode, options.first, options.stride)
        wrong_ones += wrong
        print(f"{mode}: cut off at {runs} steps, {wrong} wrong", flush=True)
    return 1 if wrong_ones else 0


if __name__ == "__main__":
    sys.exit(main())
