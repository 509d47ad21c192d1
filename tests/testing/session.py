"""Runs pytest as a user of the package does: a project of its own, the plugin by its entry point."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SESSION_SECONDS_MAX = 120


class Session(NamedTuple):
    """A pytest that has ended."""

    status: int
    output: str

    def counts(self) -> dict[str, int]:
        """Of the last line: passed, failed, errors, skipped …"""
        pairs = re.findall(r"(\d+) ([a-z]+)", self.output.splitlines()[-1])
        return {word: int(number) for number, word in pairs}


def run_pytest(directory: Path, files: Mapping[str, str], *arguments: str) -> Session:
    """In `directory`, with these files in it. Warnings are errors, AWS_* variables are away."""
    for name, text in files.items():
        (directory / name).write_text(text)
    _install(directory)
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "PYTEST_", "HOLDFAST_", "PYTHON"))
    }
    environ["PYTHONPYCACHEPREFIX"] = str(directory.parent / "bytecode")  # the sessions share it
    environ["PYTHONPATH"] = os.pathsep.join((str(directory / "site"), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *arguments],
        cwd=directory,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SESSION_SECONDS_MAX,
        check=False,
    )
    return Session(done.returncode, done.stdout.strip())


def _install(directory: Path) -> None:
    """What pip would write of files and entry points; in front of an installed package's own."""
    info = directory / "site" / f"holdfast-{PROJECT['version']}.dist-info"
    info.mkdir(parents=True)
    (info.parent / "holdfast").symlink_to(ROOT / "holdfast")
    (info / "RECORD").write_text("holdfast/__init__.py,,\n")
    metadata = f"Metadata-Version: 2.4\nName: holdfast\nVersion: {PROJECT['version']}\n"
    (info / "METADATA").write_text(metadata)
    points = PROJECT["entry-points"]["pytest11"]
    lines = [f"{name} = {target}" for name, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    (directory / "pytest.ini").write_text("[pytest]\n")
