"""How far a transfer is: bars on a terminal, silence elsewhere.

Rule: workers only add to counters; a bar is drawn from them eight times a second by rich's own thread,
so that ten thousand small files cost ten thousand additions. Large files have a bar each.
"""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdfast.cli.objects.output import Output, count, human, of_total, printable, say

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

#: files from this size on have a bar of their own
BAR_BYTES_MIN = 4 * 1024 * 1024
#: bars shown at once; more are counted in the total only
BARS_MAX = 8
REFRESH_HZ = 8
#: columns of a terminal from which on there is room for the rate, and for the sizes
RATE_COLUMNS_MIN = 76
SIZE_COLUMNS_MIN = 46
#: of the columns, for the name of a file
NAME_SHARE = 0.3


class Item:
    """One file on its way; called as the client's progress callback."""

    __slots__ = ("_meter", "done", "name", "size", "task")

    def __init__(self, meter: Meter, name: str, size: int) -> None:
        self._meter = meter
        self.name, self.size = name, size
        self.done = 0
        self.task: Any = None

    def __call__(self, done: int, total: int | None) -> None:
        with self._meter.lock:  # large files go by threads
            self._meter.bytes_done += done - self.done
        self.done = done


class Meter:
    """Counters of a run; a context manager that draws them where there is a terminal."""

    #: what is counted
    noun = "files"

    def __init__(self, output: Output, *, quiet: bool = False) -> None:
        self.lock = threading.Lock()
        self.files_done = self.bytes_done = 0
        self.files_total = self.bytes_total = 0
        #: the plan has ended, so the totals are whole
        self.is_complete = False
        self._items: dict[Item, None] = {}
        self._rich: RichProgress | None = None
        self._total: TaskID | None = None
        self._is_drawing = False
        both = output.json and sys.stdout.isatty()
        if sys.stderr.isatty() and not (quiet or both) and os.environ.get("TERM") != "dumb":
            self._rich = _bars(self, output)

    @property
    def is_drawn(self) -> bool:
        return self._rich is not None

    def add(self, size: int) -> None:
        self.files_total += 1
        self.bytes_total += size

    def begin(self, name: str, size: int, *, bar: bool = True) -> Item:
        item = Item(self, name, size)
        if bar and self._rich is not None and size >= BAR_BYTES_MIN:
            self._items[item] = None
        return item

    def finish(self, item: Item, *, failed: bool = False) -> None:
        self.files_done += 1
        with self.lock:
            self.bytes_done += (0 if failed else item.size) - item.done
        self._forget(item)

    def skip(self, item: Item) -> None:
        """There was nothing to do: its bytes count for no rate."""
        self.files_done += 1
        self.bytes_total -= item.size
        self._forget(item)

    def _forget(self, item: Item) -> None:
        self._items.pop(item, None)
        if item.task is not None and self._rich is not None:
            self._rich.remove_task(item.task)

    def error(self, text: str) -> None:
        """A line beside the bars."""
        if self._rich is not None:
            line = f"holdfast: {printable(text)}"
            self._rich.console.print(line, style="red", markup=False, highlight=False)
        else:
            say(text)

    def draw(self) -> None:
        """Called by rich before each picture."""
        if self._rich is None or self._is_drawing:
            return
        self._is_drawing = True  # rich draws again for each task that is added
        try:
            self._update(self._rich)
        finally:
            self._is_drawing = False

    def _update(self, rich: RichProgress) -> None:
        if self._total is None:
            self._total = rich.add_task("", total=None)
        shown = sum(item.task is not None for item in self._items)
        for item in list(self._items):
            if item.task is None and shown < BARS_MAX:
                name = _shortened(printable(item.name), int(rich.console.width * NAME_SHARE))
                item.task = rich.add_task(name, total=item.size)
                shown += 1
            if item.task is not None:
                rich.update(item.task, completed=item.done)
        plus = "" if self.is_complete else "+"
        label = f"{self.files_done:,}/{self.files_total:,}{plus} {self.noun}"
        total = self.bytes_total if self.is_complete else None
        rich.update(self._total, description=label, completed=self.bytes_done, total=total)

    def __enter__(self) -> Meter:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich is not None:
            self._rich.stop()


def _shortened(name: str, cells: int) -> str:
    """From the front: the ending tells more. Wide characters count twice."""
    from rich.cells import cell_len

    if cell_len(name) <= cells:
        return name
    while name and cell_len(name) >= cells:
        name = name[1:]
    return f"…{name}"


def _bars(meter: Meter, output: Output) -> RichProgress:
    """rich is slow to import, and only a terminal shows bars."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Size(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(of_total(task.completed, task.total), justify="right", no_wrap=True)

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            text = f"{human(speed)}/s" if speed else ""
            return Text(text, style="cyan", justify="right", no_wrap=True)

    class Bars(Progress):
        def get_renderables(self) -> Any:
            meter.draw()
            return super().get_renderables()

    console = Console(stderr=True, no_color=not output.color, highlight=False)
    width = console.width
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None, complete_style="green", finished_style="green"),
        *([Size("")] if width >= SIZE_COLUMNS_MIN else []),
        *([Rate("")] if width >= RATE_COLUMNS_MIN else []),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
        refresh_per_second=REFRESH_HZ,
        transient=True,
        expand=True,
    )


def summary(files: int, size: int, seconds: float, verb: str) -> str:
    rate = f", {human(size / seconds)}/s" if seconds > 0 and size else ""
    return f"{verb} {count(files, 'file')}, {human(size)} in {seconds:.1f} s{rate}"
