"""Figures as tables whose entries say where they come from: CSV, PNG, and one page for all."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

__all__ = ["KINDS", "STYLES", "Entry", "Figure", "figure_png", "page_of", "table_csv"]

KINDS = {
    "measured": "counted in simulated RTL, or timed",
    "modelled": "by the analytic model",
    "estimated": "from counters, cells and cited constants",
    "calculated": "from sizes alone",
    "quoted": "from the paper",
}
STYLES = ("roofline", "lines", "bars")

_COLOURS = {
    "measured": "#0072b2",
    "modelled": "#d55e00",
    "estimated": "#009e73",
    "calculated": "#1b2026",
    "quoted": "#8a949e",
}
_MARKERS = {"measured": "D", "modelled": "o", "estimated": "^", "calculated": "", "quoted": "s"}
_DASHES = ("-", "--", ":", "-.")
_TEMPLATE = "figures.html.jinja"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One number of a figure."""

    series: str
    x: float | str
    """place on the figure's axis; text: the name of a bar, or of a level that holds everywhere"""
    value: float
    unit: str
    kind: str
    """of KINDS"""
    source: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if not math.isfinite(self.value):
            raise ValueError(f"value of {self.series!r} at {self.x!r} must be finite, not {self.value!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A table, and how the entries of ``drawn_unit`` are drawn."""

    name: str
    title: str
    style: str
    """of STYLES"""
    x_label: str
    y_label: str
    drawn_unit: str
    logarithmic: bool = False
    """lines: the x axis; bars: the values"""
    entries: list[Entry]
    notes: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, not {self.style!r}")
        if not self.drawn:
            raise ValueError(f"entries of {self.name} must have one in {self.drawn_unit!r}, not none")

    @property
    def drawn(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.unit == self.drawn_unit]


def table_csv(figure: Figure) -> str:
    """A line for each entry."""
    file = io.StringIO()
    names = ["figure", *(field.name for field in dataclasses.fields(Entry))]
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    for entry in figure.entries:
        writer.writerow({"figure": figure.name, **dataclasses.asdict(entry), "value": f"{entry.value:.6g}"})
    return file.getvalue()


# Drawing -------------------------------------------------------------------------------------------------------


def figure_png(figure: Figure) -> bytes:
    rows = len(figure.drawn) if figure.style == "bars" else 0
    drawing = Drawing(figsize=(8, max(4.5, 0.34 * rows + 1.2)), layout="constrained")
    axes = drawing.add_subplot()
    {"roofline": _roofline, "lines": _lines, "bars": _bars}[figure.style](axes, figure)
    drawing.suptitle(figure.title, x=0.01, ha="left", fontsize=11)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    file = io.BytesIO()
    canvas: Any = FigureCanvasAgg(drawing)
    canvas.print_png(file)
    return file.getvalue()


def _series(entries: Sequence[Entry]) -> dict[tuple[str, str], list[Entry]]:
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.series, entry.kind), []).append(entry)
    return groups


def _label(series: str, kind: str) -> str:
    return f"{series} ({kind})"


def _levels(axes: Axes, entries: Sequence[Entry]) -> list[Entry]:
    """Draws entries that hold everywhere as lines across; returns the others."""
    for entry in entries:
        if isinstance(entry.x, str):
            label = _label(f"{entry.series}, {entry.x}", entry.kind)
            axes.axhline(entry.value, color=_COLOURS[entry.kind], linestyle="--", linewidth=1, label=label)
    return [entry for entry in entries if not isinstance(entry.x, str)]


def _axes(axes: Axes, figure: Figure) -> None:
    axes.set(xlabel=figure.x_label, ylabel=figure.y_label)
    axes.grid(color="#e6e9ee")
    axes.legend(frameon=False, fontsize=8)


def _lines(axes: Axes, figure: Figure) -> None:
    dashes: dict[str, int] = {}
    for (series, kind), entries in _series(_levels(axes, figure.drawn)).items():
        dashes[kind] = dashes.get(kind, -1) + 1
        axes.plot(
            [entry.x for entry in entries],  # type: ignore
            [entry.value for entry in entries],
            color=_COLOURS[kind],
            marker=_MARKERS[kind],
            markersize=5,
            linestyle=_DASHES[dashes[kind] % len(_DASHES)],
            linewidth=1.3,
            label=_label(series, kind),
        )
    if figure.logarithmic:
        places = sorted({entry.x for entry in figure.drawn if not isinstance(entry.x, str)})
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
    axes.set_ylim(bottom=0)
    _axes(axes, figure)


def _roofline(axes: Axes, figure: Figure) -> None:
    """Lines of what is calculated, named points of all else."""
    named: set[str] = set()
    for (series, kind), entries in _series(_levels(axes, figure.drawn)).items():
        places: Any = [entry.x for entry in entries]
        values = [entry.value for entry in entries]
        if kind == "calculated":
            axes.plot(places, values, color=_COLOURS[kind], linewidth=1.3, label=_label(series, kind))
            continue
        label = "_nolegend_" if kind in named else kind
        named.add(kind)
        axes.plot(places, values, color=_COLOURS[kind], marker=_MARKERS[kind], markersize=6, linestyle="", label=label)
        for point in zip(places, values, strict=True):
            offset: Any = {"xytext": (7, -11), "textcoords": "offset points"}
            axes.annotate(series, point, fontsize=8, color=_COLOURS[kind], **offset)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    _axes(axes, figure)


def _bars(axes: Axes, figure: Figure) -> None:
    entries = figure.drawn
    places = range(len(entries))
    axes.barh(
        places, [entry.value for entry in entries], color=[_COLOURS[entry.kind] for entry in entries], height=0.72
    )
    axes.set_yticks(places, [f"{entry.series}: {entry.x}" for entry in entries], fontsize=8)
    axes.invert_yaxis()
    for place, entry in zip(places, entries, strict=True):
        text = f" {entry.value:,.4g} ({entry.kind})"
        axes.annotate(text, (entry.value, place), va="center", fontsize=8, color=_COLOURS[entry.kind])
    axes.set_xlabel(figure.y_label)
    axes.margins(x=0.25)
    if figure.logarithmic:
        axes.set_xscale("log")
        low, high = min(entry.value for entry in entries), max(entry.value for entry in entries)
        axes.set_xlim(low / 2, high * 40)
    axes.grid(axis="x", color="#e6e9ee")


# Page ----------------------------------------------------------------------------------------------------------


def page_of(figures: Sequence[Figure], images: Sequence[bytes], facts: dict[str, str]) -> str:
    """One page with all figures, their tables, and what they were made of; it loads nothing from elsewhere."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(loader=loader, autoescape=True, **options)
    shown = [(figure, base64.b64encode(image).decode("ascii")) for figure, image in zip(figures, images, strict=True)]
    return environment.get_template(_TEMPLATE).render(
        figures=shown, facts=facts, kinds=KINDS, colours=_COLOURS, place=_place, number=_number
    )


def _place(x: float | str) -> str:
    return x if isinstance(x, str) else f"{x:.4g}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
