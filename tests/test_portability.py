"""The suite passes without uvloop, fork, sendfile, O_DIRECT and holes: the way to other platforms."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: the S3 suite from end to end, and the layers whose fast paths are hidden
SUITES = (
    "tests/s3/test_objects.py",
    "tests/s3/test_integrity.py",
    "tests/s3/test_listing.py",
    "tests/s3/test_multipart.py",
    "tests/s3/test_reads.py",
    "tests/http/test_files.py",
    "tests/http/test_connection.py",
    "tests/blobs/test_conformance.py",
)
SECONDS_MAX = 600


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments, *(["-c", code] if code else [])],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def test_what_is_hidden_is_not_used() -> None:
    """The modules see what is missing, and the server chooses one process and asyncio's loop."""
    done = _python(
        "import tests.portable\n"
        "import asyncio\n"
        "from holdfast.blobs import fileops\n"
        "from holdfast.config import load\n"
        "from holdfast.http import send\n"
        "from holdfast.server.gateway import run_on_loop\n"
        "from holdfast.server.serve import single_process\n"
        "assert not send.SENDFILE_AVAILABLE\n"
        "assert not fileops.O_DIRECT_AVAILABLE\n"
        "assert not fileops.SEGMENTS_AVAILABLE\n"
        "assert single_process(load({}, environ={}).settings)\n"
        "async def loop(): return print(type(asyncio.get_running_loop()).__module__)\n"
        "run_on_loop(loop(), 'auto')\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("asyncio."), done.stdout


def test_the_suite_passes_without_them() -> None:
    done = _python(
        "", "-m", "pytest", "-q", "-p", "tests.portable", "-p", "no:cacheprovider", *SUITES
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 100
