"""`python -m tests.cli.pictures`: the pictures of docs/pictures, from a real terminal.

Each scene is a list of commands that run on a pseudo-terminal; pyte is the terminal, rich draws its
screen. With `--text` the screens are printed at several widths instead, to look at.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from holdfast.testing import Server
from tests.serving import ROOT

PICTURES = ROOT / "docs" / "pictures"
ROWS = 40
MIB = 1024 * 1024
#: so that bars are seen while they grow
BYTES_PER_SECOND = 24 * MIB
THEME = TerminalTheme(
    (24, 26, 31),
    (214, 217, 224),
    [(24, 26, 31), (224, 108, 117), (126, 190, 110), (220, 180, 90),
     (97, 160, 235), (198, 120, 221), (86, 182, 194), (171, 178, 191)],
    [(110, 116, 130), (240, 125, 130), (150, 210, 130), (235, 200, 110),
     (120, 180, 250), (215, 145, 235), (110, 200, 210), (255, 255, 255)],
)  # fmt: skip
#: rich's own would load a font from elsewhere
SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix, .{unique_id}-title {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

Line = list[tuple[str, Style]]


class Step(NamedTuple):
    """A command; `middle`: it is shown while its bars grow, not at its end."""

    command: str
    middle: bool = False


SCENES: dict[str, tuple[Step, ...]] = {
    "cp": (Step("holdfast cp -r ./holiday s3://photos/2026", middle=True),),
    "ls": (
        Step("holdfast ls"),
        Step("holdfast ls s3://photos/2026/"),
        Step("holdfast du s3://photos"),
        Step("holdfast tree s3://photos/2026 -d"),
    ),
    "sync": (
        Step("holdfast diff ./site s3://www"),
        Step("holdfast sync ./site s3://www --delete"),
        Step("holdfast sync ./site s3://www --delete"),
    ),
    "errors": (
        Step("holdfast ls s3://photo"),
        Step("holdfast cat s3://photos/2026/beech.jpg"),
        Step("holdfast cp ./holiday s3://photos/"),
        Step("holdfast ls --endpoint http://127.0.0.1:1"),
    ),
}


class Terminal:
    """A screen on which commands run, one after the other."""

    def __init__(self, columns: int, environ: dict[str, str], directory: Path) -> None:
        self._columns = columns
        # whoever started us may have said how wide its own terminal is (xdist does)
        self._environ = {n: v for n, v in environ.items() if n not in ("COLUMNS", "LINES")}
        self._directory = directory
        self._screen = pyte.Screen(columns, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self.lines: list[Line] = []
        #: of the last command: the screen after each write of it
        self.frames: list[list[Line]] = []
        #: what the commands wrote, control sequences and all
        self.raw = b""

    def text(self) -> list[str]:
        return text_of(self.lines)

    def run(self, step: Step) -> None:
        self._stream.feed(b"\x1b[1m$ " + step.command.encode() + b"\x1b[0m\r\n")
        words = shlex.split(step.command)
        frames = self.frames = [self._read(), *self._frames([sys.executable, "-m", *words])]
        if step.middle:
            full = max(len(frame) for frame in frames)
            fullest = [frame for frame in frames if len(frame) == full]
            self.lines = fullest[len(fullest) // 2]
        else:
            self.lines = self._read()

    def _frames(self, command: list[str]) -> Iterator[list[Line]]:
        near, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, self._columns, 0, 0))
        process = subprocess.Popen(
            command, stdin=far, stdout=far, stderr=far, env=self._environ, cwd=self._directory
        )
        os.close(far)
        try:
            while True:
                try:
                    data = os.read(near, 65536)
                except OSError:  # the far end is closed
                    break
                self._stream.feed(data)
                self.raw += data
                yield self._read()
        finally:
            process.wait()
            os.close(near)

    def _read(self) -> list[Line]:
        """The screen without the empty rows below."""
        lines: list[Line] = []
        for row in range(ROWS):
            cells = self._screen.buffer[row]
            lines.append(_runs([_cell(cells[column]) for column in range(self._columns)]))
        while lines and not "".join(text for text, _ in lines[-1]).strip():
            lines.pop()
        return lines


def text_of(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def _runs(cells: Line) -> Line:
    """Neighbours of one style as one text, so that the picture stays small. Spaces in front stand
    alone: some that draw SVG drop them."""
    runs: Line = []
    for style, group in groupby(cells, key=lambda cell: cell[1]):
        text = "".join(text for text, _ in group)
        bare = text.lstrip(" ")
        runs += [(text[: len(text) - len(bare)], style), (bare, style)]
    return runs


def _cell(char: Any) -> tuple[str, Style]:
    def color(name: str) -> str | None:
        if name == "default":
            return None
        if len(name) == 6 and all(c in "0123456789abcdef" for c in name):
            return f"#{name}"
        return {"brown": "yellow"}.get(name.removeprefix("bright"), name.removeprefix("bright"))

    return char.data, Style(color=color(char.fg), bgcolor=color(char.bg), bold=char.bold)


@contextmanager
def scenery() -> Iterator[tuple[dict[str, str], Path]]:
    """A server with some content, and a directory with some files: (environment, directory)."""
    with tempfile.TemporaryDirectory() as name, Server() as server:
        directory = Path(name)
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "HOLDFAST_"))}
        environ = kept | {
            "HOME": name,
            "XDG_CACHE_HOME": f"{name}/.cache",
            "XDG_CONFIG_HOME": f"{name}/.config",
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
            "HOLDFAST_ENDPOINT": server.endpoint,
            "HOLDFAST_ACCESS_KEY": server.access_key,
            "HOLDFAST_SECRET_KEY": server.secret_key,
        }
        for bucket in ("backup", "photos", "www"):
            server.create_bucket(bucket)
        holiday = directory / "holiday"
        for number in range(240):
            path = holiday / f"day-{number // 60 + 1}" / f"img-{number:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(40_000 + 150 * number))
        (holiday / "beach.jpg").write_bytes(os.urandom(2_500_000))
        (holiday / "film.mp4").write_bytes(os.urandom(150 * MIB))
        (holiday / "drone-shot-of-the-coast.mov").write_bytes(os.urandom(100 * MIB))
        site = directory / "site"
        for page in ("index.html", "about.html", "css/site.css", "img/logo.svg", "old.html"):
            (site / page).parent.mkdir(parents=True, exist_ok=True)
            (site / page).write_text(page * 300)
        command = [sys.executable, "-m", "holdfast", "sync", "site", "s3://www", "--quiet"]
        subprocess.run(command, env=environ, cwd=directory, check=True)
        (site / "old.html").unlink()
        (site / "index.html").write_text("new" * 400)
        (site / "news.html").write_text("news" * 900)
        server.faults.throttle("UploadPart", BYTES_PER_SECOND, times=None)
        yield environ, directory


def drawing(lines: list[Line], columns: int, title: str) -> str:
    console = Console(record=True, width=columns, file=io.StringIO(), color_system="truecolor")
    for line in lines:
        console.print(Text.assemble(*line, no_wrap=True, end=""), crop=True)
    return console.export_svg(title=title, theme=THEME, code_format=SVG, unique_id=title)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cli.pictures", description=__doc__)
    parser.add_argument("--text", action="store_true")
    parser.add_argument("--columns", type=int, nargs="*", default=[96])
    options = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    with scenery() as (environ, directory):
        for columns in options.columns:
            for name, steps in SCENES.items():
                terminal = Terminal(columns, environ, directory)
                for step in steps:
                    terminal.run(step)
                if options.text:
                    print(*(f"{line}|" for line in terminal.text()), "-" * columns, sep="\n")
                else:
                    (PICTURES / f"{name}.svg").write_text(drawing(terminal.lines, columns, name))


if __name__ == "__main__":
    main()
