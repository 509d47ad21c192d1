"""What a terminal shows: bars that fit its width, colours only where they are wanted."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.cli.objects.output import of_total
from holdfast.cli.objects.progress import SIZE_COLUMNS_MIN
from holdfast.testing import Server
from tests.cli.pictures import BYTES_PER_SECOND, MIB, Step, Terminal, text_of
from tests.serving import ROOT

URL = "s3://shown/large"
COLOUR = re.compile(rb"\x1b\[[0-9;]*3[0-9]")


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of a server that takes its time, so that the bars are seen."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "HOLDFAST_"))}
    kept.pop("NO_COLOR", None)
    home = str(tmp_path_factory.mktemp("home"))
    with Server() as server:
        server.create_bucket("shown")
        server.faults.throttle("UploadPart", BYTES_PER_SECOND, times=None)
        yield kept | {
            "HOME": home,
            "XDG_CACHE_HOME": home,
            "XDG_CONFIG_HOME": home,
            "TERM": "xterm",
            "PYTHONPATH": str(ROOT),
            "HOLDFAST_ENDPOINT": server.endpoint,
            "HOLDFAST_ACCESS_KEY": server.access_key,
            "HOLDFAST_SECRET_KEY": server.secret_key,
        }


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "a-film-with-a-rather-long-name.mp4"
    path.write_bytes(os.urandom(40 * MIB))
    return path


def shown(environ: dict[str, str], columns: int, *arguments: str) -> Terminal:
    terminal = Terminal(columns, environ, Path())
    terminal.run(Step(shlex.join(("holdfast", *arguments)), middle=True))
    return terminal


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_bars_fit(environ: dict[str, str], large: Path, columns: int) -> None:
    frames = [text_of(lines) for lines in shown(environ, columns, "cp", str(large), URL).frames]
    under_way = [lines for lines in frames if len(lines) > 2 and lines[-2].startswith("0/1 files")]
    assert under_way, frames
    total, one = under_way[len(under_way) // 2][-2:]
    assert one.partition(" ")[0].strip("…") in large.name
    for line in (total, one):
        assert "━" in line
        assert line.count("…") <= 1
        assert ("/40.0 MiB" in line) == (columns >= SIZE_COLUMNS_MIN)
        assert re.search(r"(\d\d|--):(\d\d|--)$", line)


def test_no_colour_where_it_is_not_wanted(environ: dict[str, str], large: Path) -> None:
    assert COLOUR.search(shown(environ, 80, "cp", str(large), URL).raw)
    plain = shown(environ | {"NO_COLOR": "1"}, 80, "cp", str(large), URL).raw
    assert b"\x1b[" in plain  # the bars move
    assert not COLOUR.search(plain)
    dumb = shown(environ | {"TERM": "dumb"}, 80, "cp", str(large), URL).raw
    assert b"\x1b" not in dumb
    assert b"large" in shown(environ, 80, "ls", URL, "--bytes").raw
    assert b"\x1b" not in shown(environ | {"NO_COLOR": "1"}, 80, "ls", "s3://shown").raw


def test_sizes_of_a_whole() -> None:
    assert of_total(5, 10) == "5/10 B"
    assert of_total(0, 1024) == "0.0/1.0 KiB"
    assert of_total(3 * MIB // 2, 20 * MIB) == "1.5/20.0 MiB"
    assert of_total(2048, None) == "2.0 KiB"
