"""The command's own words, without any toolchain: the programs run by `python -m tests.sdks`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.settings import PAGE
from tests.sdks.outcome import Column
from tests.sdks.sdk import PROGRAMS, SDKS, Sdk
from tests.serving import ROOT


def run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.sdks", *arguments],
        cwd=ROOT,
        env=None if path is None else {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_sdk() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    for sdk in SDKS:
        assert sdk.name in done.stdout


def test_an_unknown_sdk_is_refused() -> None:
    done = run("--only", "go,cobol")
    assert done.returncode == 2
    assert "no SDK cobol; there are go, minio-go, java, js" in done.stderr


def test_a_missing_toolchain_is_named(tmp_path: Path) -> None:
    done = run("--only", "go,java", path=str(tmp_path))
    assert done.returncode == 2
    assert "java needs a JDK 17 or newer and Maven 3.8; not on PATH: java, mvn" in done.stderr
    assert "go needs Go" in done.stderr


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_the_page_says_what_the_program_is_given(sdk: Sdk, tmp_path: Path) -> None:
    environ = sdk.environ("http://127.0.0.1:1", None)
    assert environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} <= environ.keys()
    section = PAGE.partition(f"\n## {sdk.section}\n")[2].partition("\n## ")[0]
    assert sdk.trusted_by in section
    for shared in sdk.shared:
        assert (PROGRAMS / shared).is_file()


@pytest.mark.parametrize(
    ("lines", "passed"),
    [
        (["version 1", "ok a", "skip b: not over http"], True),
        (["ok a", "FAIL b: got 1, wanted 2"], False),
        (["version 1"], False),
        ([], False),
        (["skip a: why"], False),
    ],
)
def test_a_column_passes_only_when_something_was_shown(lines: list[str], passed: bool) -> None:
    column = Column("x", "http")
    list(column.take(lines))
    assert column.passed is passed
    column.broken = "ended with status 2"
    assert not column.passed
