"""Pictures of the figures: rates.svg with a bar for each workload and endpoint, latencies.svg with
their percentiles. `python -m bench.plots FIGURES.json DIR` draws them again from a JSON report.

Bars are medians of the repeats with their lowest and highest; so are lines, with the spread as a
band. Runs with a wrong answer are left out.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import click

from bench.svg import FAINT, TEXT, Canvas, colour_of, linear_ticks, log_ticks, number_text

_PANEL_WIDTH = 430
_GAP = 30
_COLUMNS = 2
_TOP = 64
_NAME_WIDTH = 92
_VALUE_WIDTH = 74
_BAR_HEIGHT = 17
_BAR_STEP = 25
_CURVE_HEIGHT = 190
_AXIS_WIDTH = 46

Runs = list[dict[str, Any]]


def write(figures: dict[str, Any], directory: Path) -> list[Path]:
    """Both pictures of a report as `report.as_json` gives it; their paths. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in (("rates.svg", rates), ("latencies.svg", latencies)):
        path = directory / name
        path.write_text(draw(figures))
        written.append(path)
    return written


def rates(figures: dict[str, Any]) -> str:
    """A panel for each workload: a bar for each endpoint, with its lowest and highest run."""
    panels = _panels(figures)
    height = max((len(runs) for _, runs in panels), default=1) * _BAR_STEP + 52
    canvas = _canvas(figures, len(panels), height, "Throughput", "median, lowest to highest run")
    for number, (title, by_endpoint) in enumerate(panels):
        x, y = _place(number, height)
        unit = next(iter(by_endpoint.values()))[0]["unit"]
        canvas.text(x, y + 14, title, bold=True)
        canvas.text(x + _PANEL_WIDTH, y + 14, unit, anchor="end", colour=FAINT)
        most = max(run["rate"] for runs in by_endpoint.values() for run in runs)
        scale = (_PANEL_WIDTH - _NAME_WIDTH - _VALUE_WIDTH) / (most or 1.0)
        left = x + _NAME_WIDTH
        for row, (endpoint, runs) in enumerate(by_endpoint.items()):
            colour = colour_of(figures["endpoints"].index(endpoint))
            top = y + 26 + row * _BAR_STEP
            middle, base = top + _BAR_HEIGHT / 2, top + _BAR_HEIGHT / 2 + 4
            found = [run["rate"] for run in runs]
            median, low, high = statistics.median(found), min(found), max(found)
            canvas.text(left - 8, base, endpoint, anchor="end")
            canvas.rectangle(left, top, max(1.0, median * scale), _BAR_HEIGHT, colour, 0.8)
            ends = left + low * scale, left + high * scale
            canvas.line([(ends[0], middle), (ends[1], middle)], TEXT, width=1.5)
            for end in ends:
                canvas.line([(end, middle - 4), (end, middle + 4)], TEXT, width=1.5)
            canvas.text(max(left + median * scale, ends[1]) + 7, base, number_text(median))
    return str(canvas)


def latencies(figures: dict[str, Any]) -> str:
    """A panel for each workload of many requests: milliseconds, by percentile, on a log scale."""
    panels = [
        (title, by_endpoint)
        for title, by_endpoint in _panels(figures)
        if next(iter(by_endpoint.values()))[0]["unit"] != "MiB/s"
    ]
    height = _CURVE_HEIGHT + 62
    canvas = _canvas(figures, len(panels), height, "Latency by percentile", "ms, logarithmic")
    for number, (title, by_endpoint) in enumerate(panels):
        x, y = _place(number, height)
        canvas.text(x, y + 14, title, bold=True)
        _curves(canvas, figures, by_endpoint, x + _AXIS_WIDTH, y + 28)
    return str(canvas)


def _curves(
    canvas: Canvas, figures: dict[str, Any], by_endpoint: dict[str, Runs], left: float, top: float
) -> None:
    width, height = _PANEL_WIDTH - _AXIS_WIDTH - 8, _CURVE_HEIGHT
    percentiles = figures["percentiles"]
    values = [value for runs in by_endpoint.values() for run in runs for value in run["ladder"]]
    least = min((value for value in values if value > 0), default=0.01)
    ticks = log_ticks(least, max(*values, least * 2))
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])

    def across(place: int) -> float:
        return left + width * place / (len(percentiles) - 1)

    def down(value: float) -> float:
        return top + height * (1 - (math.log10(max(value, ticks[0])) - low) / (high - low))

    for tick in ticks:
        strong = math.isclose(math.log10(tick), round(math.log10(tick)), abs_tol=1e-6)
        opacity = 0.5 if strong else 0.2
        canvas.line(
            [(left, down(tick)), (left + width, down(tick))], FAINT, width=0.7, opacity=opacity
        )
        if strong or len(ticks) <= 7:
            canvas.text(left - 7, down(tick) + 4, number_text(tick), anchor="end", size=11)
    for place, percent in enumerate(percentiles):
        name = "max" if percent == 100 else f"p{percent:g}"
        canvas.text(across(place), top + height + 17, name, anchor="middle", size=11)
    for endpoint, runs in by_endpoint.items():
        colour = colour_of(figures["endpoints"].index(endpoint))
        columns = list(zip(*(run["ladder"] for run in runs), strict=True))
        upper = [(across(place), down(max(column))) for place, column in enumerate(columns)]
        lower = [(across(place), down(min(column))) for place, column in enumerate(columns)]
        canvas.area([*upper, *reversed(lower)], colour, 0.18)
        points = [
            (across(place), down(statistics.median(column))) for place, column in enumerate(columns)
        ]
        canvas.line(points, colour, width=2)
        for point in points:
            canvas.dot(*point, colour)


def time_lines(
    canvas: Canvas,
    place: tuple[float, float, float, float],
    title: str,
    minutes: list[float],
    lines: dict[str, list[float]],
) -> None:
    """One chart over time. place: x, y, width, height in pixels. lines: a value for each minute."""
    x, y, width, height = place
    left, top, right = x + 52, y + 40, x + width - 8
    bottom = y + height - 24
    canvas.text(x, y + 14, title, bold=True)
    canvas.legend(left, y + 32, list(lines))
    ticks = linear_ticks(max((value for line in lines.values() for value in line), default=1.0))
    first, last = (minutes[0], max(minutes[-1], minutes[0] + 1e-9)) if minutes else (0.0, 1.0)

    def down(value: float) -> float:
        return bottom - (bottom - top) * value / ticks[-1]

    for tick in ticks:
        canvas.line([(left, down(tick)), (right, down(tick))], FAINT, width=0.7, opacity=0.35)
        canvas.text(left - 7, down(tick) + 4, number_text(tick), anchor="end", size=11)
    for minute in (first, (first + last) / 2, last):
        at = left + (right - left) * (minute - first) / (last - first)
        canvas.text(at, bottom + 17, f"{minute:.3g} min", anchor="middle", size=11)
    for number, line in enumerate(lines.values()):
        points = [
            (left + (right - left) * (minute - first) / (last - first), down(value))
            for minute, value in zip(minutes, line, strict=True)
        ]
        canvas.line(points, colour_of(number), width=2)


def _panels(figures: dict[str, Any]) -> list[tuple[str, dict[str, Runs]]]:
    """The valid runs by workload, then by endpoint in the order of the report."""
    titles = dict.fromkeys(run["workload"] for run in figures["runs"] if run["valid"])
    return [
        (
            title,
            {
                endpoint: runs
                for endpoint in figures["endpoints"]
                if (
                    runs := [
                        run
                        for run in figures["runs"]
                        if run["valid"] and (run["workload"], run["endpoint"]) == (title, endpoint)
                    ]
                )
            },
        )
        for title in titles
    ]


def _canvas(
    figures: dict[str, Any], panels: int, panel_height: int, title: str, note: str
) -> Canvas:
    columns = min(_COLUMNS, max(1, panels))
    rows = -(-panels // columns)
    width = max(columns * (_PANEL_WIDTH + _GAP), 520)
    canvas = Canvas(width, _TOP + rows * panel_height, title)
    canvas.text(10, 22, title, size=16, bold=True)
    canvas.text(10 + 9.8 * len(title) + 16, 22, note, colour=FAINT)
    canvas.legend(10, 46, figures["endpoints"])
    return canvas


def _place(number: int, height: int) -> tuple[float, float]:
    row, column = divmod(number, _COLUMNS)
    return 10 + column * (_PANEL_WIDTH + _GAP), _TOP + row * height


@click.command()
@click.argument("figures", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--only", metavar="NAMES", help="Comma-separated: put-4k,get-4k@32.  [default: all]")
def main(figures: Path, directory: Path, only: str | None) -> None:
    """Draw the pictures of FIGURES, a file that --json wrote, into DIRECTORY."""
    found = json.loads(figures.read_text())
    if only:
        names = only.split(",")
        found["runs"] = [run for run in found["runs"] if _is_named(run["workload"], names)]
        if not found["runs"]:
            raise click.BadParameter(f"no run of {only} in {figures}", param_hint="--only")
    for path in write(found, directory):
        click.echo(path)


def _is_named(title: str, names: list[str]) -> bool:
    """Whether one of the names, with or without @CONNECTIONS, is that of the workload."""
    label, _, connections = title.partition(", ")
    return label in names or f"{label}@{connections.split()[0]}" in names


if __name__ == "__main__":
    main(prog_name="python -m bench.plots")
