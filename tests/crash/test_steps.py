"""Between any two steps on the file system, in short: `python -m tests.crash.steps` does all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("mode", "first", "stride"), [("exit", 3, 14), ("EIO", 5, 29), ("ENOSPC", 9, 29)]
)
def test_cut_off_between_two_steps(mode: str, first: int, stride: int) -> None:
    """In a process of its own: it forks, and must have one thread for that."""
    ran = subprocess.run(
        [
            sys.executable, "-m", "tests.crash.steps",
            f"--mode={mode}", f"--first={first}", f"--stride={stride}",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout.split("cut off at ")[1].split()[0]) >= 6, ran.stdout
