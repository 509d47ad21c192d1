"""The examples of docs/testing.md run as they are written: those that begin with a file's name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.testing import pytest_plugin
from holdfast.testing.faults import Due, Faults
from holdfast.testing.record import SeenRequest, Wanted

from .session import ROOT, run_pytest

PAGE = (ROOT / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def examples() -> Iterator[tuple[str, str, str]]:
    """(the file's name, its text, the conftest.py in front of it)"""
    conftest = ""
    for block in BLOCKS:
        first = block.partition("\n")[0]
        named = re.fullmatch(r"# (\w+\.py)", first)
        if named is None:
            assert first == "# before"
            compile(block, first, "exec")
        elif named[1] == "conftest.py":
            conftest = block
        else:
            yield named[1], block, conftest
            conftest = ""


def test_the_examples(tmp_path: Path) -> None:
    files = {name: text for name, text, conftest in examples() if not conftest}
    session = run_pytest(tmp_path, files, "-p", "no:xdist")
    assert session.status == 0, session.output
    tests = sum(len(re.findall(r"^ *def test_", text, re.M)) for text in files.values())
    assert session.counts()["passed"] >= tests > 10


def test_the_example_with_a_server_of_its_own(tmp_path: Path) -> None:
    ((name, text, conftest),) = [one for one in examples() if one[2]]
    session = run_pytest(tmp_path, {name: text, "conftest.py": conftest}, "-p", "no:xdist")
    assert session.status == 0, session.output
    assert session.counts()["passed"] == 1


def test_fixtures_are_documented() -> None:
    fixtures = {name for name in vars(pytest_plugin) if name.startswith("s3_")}
    table = set(re.findall(r"^\| `(s3_\w+)` \|", PAGE, re.M))
    assert table == fixtures


def test_faults_are_documented() -> None:
    table = set(re.findall(r"^\| `(\w+)\(", PAGE, re.M))
    assert table == {*Due.__slots__, "slow_down"} - {"kinds"}
    assert all(callable(getattr(Faults, name)) for name in table)


@pytest.mark.parametrize("name", [*SeenRequest.__annotations__, *Wanted.__annotations__])
def test_what_is_seen_is_documented(name: str) -> None:
    section = PAGE.partition("## Requests seen")[2].partition("\n## ")[0]
    assert f"`{name}`" in section
