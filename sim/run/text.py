"""What a run reads and what it prints: its text, the text layer by layer with pruned tokens struck out, tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.common import files
from sim.common.console import less
from sim.common.errors import UserError
from sim.common.mismatch import Report
from sim.run.record import LayerView, RunRecord, Word, words_of

__all__ = [
    "DEFAULT_SENTENCE",
    "layer_lines",
    "print_header",
    "print_layers",
    "print_summary",
    "print_text",
    "read_text",
]

DEFAULT_SENTENCE = (
    "A small accelerator skips the words that do not matter, keeps the ones that do, "
    "and still reads the sentence just as well as the dense model."
)

SHALLOW = 12
"""Layers of a model that have room for several lines each."""
LINES = 4
"""Most lines that such a layer takes; one of a deeper model takes one."""
WIDTH = 80
"""Columns of what is no terminal, for how much of a long text is shown there."""
MOST_REPORTS = 10
"""Reports of mismatches that are told one by one."""


# Reading -------------------------------------------------------------------------------------------------------


def read_text(text: str | None = None) -> str:
    """The default sentence for None, the contents of the file that ``text`` names, or else ``text`` itself.

    ``@FILE`` must be a file.
    """
    if text is None:
        return DEFAULT_SENTENCE
    if _is_file(text):
        return _read_file(text)
    if text.startswith("@"):
        return _read_file(text[1:])
    if not text.strip():
        raise UserError("--text must not be empty")
    return text.strip()


def _read_file(name: str) -> str:
    content = files.read_text(Path(name), "--text file").strip()
    if not content:
        raise UserError(f"--text file {name!r} is empty")
    return content


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a sentence can be longer than a name may be
        return False


# The text layer by layer -----------------------------------------------------------------------------------------


def layer_lines(
    views: Sequence[LayerView], tokens: Sequence[str], width: int, *, styled: bool
) -> Iterator[tuple[LayerView, Text]]:
    """The text as each layer of a step saw it, tokens that no head of the layer attended struck out.

    Of a long text only the end is shown. Without styles they stand between ``~~``.
    """
    words = words_of(tokens)
    room = max(20, width) * (LINES if len(views) <= SHALLOW else 1)
    attended = [{token for table in view.tables for token in table.ids} for view in views]
    first = max(_first_shown(words, tokens, room, styled) for tokens in attended)
    for view, mine in zip(views, attended, strict=True):
        yield view, _line(words, first, mine, styled)


def _first_shown(words: Sequence[Word], attended: set[int], room: int, styled: bool) -> int:
    """First of the last words that fit into so many columns, with a mark for those left out."""
    used = len("… ")
    for index in reversed(range(len(words))):
        ends_run = index not in attended and (index + 1 in attended or index + 1 == len(words))
        used += len(words[index].text) + words[index].space + len("~~~~") * (ends_run and not styled)
        if used > room:
            return min(index + 1, len(words) - 1)
    return 0


def _line(words: Sequence[Word], first: int, attended: set[int], styled: bool) -> Text:
    line = Text("… " if first else "")
    shown = range(first, len(words))
    for kept, run in itertools.groupby(shown, key=lambda index: index in attended):
        numbers = list(run)
        text = "".join(" " * words[index].space * (index > numbers[0]) + words[index].text for index in numbers)
        if words[numbers[0]].space and numbers[0] > first:
            line.append(" ")
        if kept:
            line.append(text)
        else:
            line.append(text if styled else f"~~{text}~~", style="strike dim")
    return line


def print_text(console: Console, record: RunRecord) -> None:
    """The text as the layers of the last step saw it, if tokens are missing somewhere."""
    views, known = record.step(record.last_step), record.num_tokens(record.last_step)
    if all(len(table.ids) == known for view in views for table in view.tables):
        return
    console.print(f"\nTokens that each layer attends, of {known}", style="italic", highlight=False)
    table = _table()
    for name in ("layer", "tokens"):
        table.add_column(name, justify="right", vertical="top")
    table.add_column("text", overflow="fold")
    width = (console.width if console.is_terminal else WIDTH) - len("layer tokens ")
    for view, line in layer_lines(views, record.texts[:known], width, styled=console.is_terminal):
        table.add_row(str(view.layer), f"{view.tokens:g}", line)
    console.print(table)


# Tables --------------------------------------------------------------------------------------------------------


def _table() -> Table:
    return Table(box=None, padding=(0, 1, 0, 0))


def print_header(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    for row in rows:
        grid.add_row(*row)
    console.print(grid, markup=False)


def print_layers(console: Console, title: str, records: Sequence[dict[str, Any]]) -> None:
    """One line a layer (fields of :class:`sim.run.layer_record.LayerRecord`); a layer that differs is red.

    Columns that do not fit beside each other stand in tables below each other, each with the layer.
    """
    console.print(
        f"\n{title} (KiB read, values that differ from golden, error against float attention)", style="italic"
    )
    rows = [_cells(record) for record in records]
    styles = ["red" if record["mismatches"] else None for record in records]
    for names in _groups(rows, console.width):
        table = _table()
        for name in names:
            table.add_column(name, justify="right", vertical="bottom")
        for row, style in zip(rows, styles, strict=True):
            table.add_row(*(row[name] for name in names), style=style)
        console.print(table)


def _cells(record: dict[str, Any]) -> dict[str, str]:
    """What is told of a layer, by the name of the column."""
    read = record["bytes_read"] or record["bytes"]
    return {
        "layer": str(record["layer"]),
        "tokens": f"{record['tokens']:g}",
        "heads": str(record["heads"]),
        "rows": f"{record['rows']:,}",
        "flat\nrows": f"{record['flat_rows'] / max(1, record['rows']):.1%}",
        "cycles": "–" if record["cycles"] is None else f"{record['cycles']:,}",
        "Q×K\nuse": "–" if record["qk_utilization"] is None else f"{record['qk_utilization']:.1%}",
        "KiB": f"{read['total'] / 1024:,.1f}",
        "wrong": f"{record['mismatches']:,}" if record["values_compared"] else "–",
        "max\nerror": f"{record['max_error']:.4f}",
        "rel.\nerror": f"{record['relative_error']:.2%}",
    }


def _groups(rows: Sequence[dict[str, str]], width: int) -> list[list[str]]:
    """Names of columns that fit beside each other, the first one in each group."""
    first, *others = rows[0]
    cells = {name: [name, *(row[name] for row in rows)] for name in rows[0]}
    used = {name: 1 + max(len(line) for cell in cells[name] for line in cell.split("\n")) for name in cells}
    groups, room = [[first]], width - used[first]
    for name in others:
        if used[name] > room and len(groups[-1]) > 1:
            groups.append([first])
            room = width - used[first]
        groups[-1].append(name)
        room -= used[name]
    return groups


def print_summary(console: Console, metrics: dict[str, Any], reports: Sequence[Report]) -> None:
    """The figures of a run, and its reports with mismatches."""
    console.print()
    style = None
    line = f"{metrics['rows']:,} rows on the golden model, compared with nothing"
    if metrics["engine"] != "golden":
        style = "bold red" if metrics["mismatches"] else "bold green"
        compared = f"{metrics['values_compared']:,} values compared with the golden model"
        line = f"{metrics['rows']:,} rows, {compared}: {metrics['mismatches']:,} mismatches"
    console.print(line, style=style, highlight=False)
    if metrics["not_shown"]:
        hidden = ", ".join(metrics["not_shown"])
        console.print(f"not shown by engine {metrics['engine']}, so not compared: {hidden}", highlight=False)
    if metrics["cycles"] is not None:
        line = f"{metrics['cycles']:,} cycles (limit {metrics['limit_cycles']:,.0f}), "
        line += f"Q×K use {metrics['qk_utilization']:.1%}, {metrics['bytes_read']['total']:,} bytes read"
        console.print(line, highlight=False)
    factors = ", ".join(f"{name} {factor:.2f}×" for name, factor in metrics["factors"].items() if factor != 1)
    stage = "in generation " if metrics["generation_layers"] else ""
    line = f"{stage}{less(metrics['dram_reduction'], 'fewer')} bytes than fp32 dense ({factors}), "
    console.print(line + f"{metrics['macs'] / metrics['dense_macs']:.1%} of its multiplications", highlight=False)
    if metrics["embedding_cosine"] is not None:
        console.print(f"embedding cosine similarity {metrics['embedding_cosine']:.6f}", highlight=False)
    for name, label in (("generated", "generated"), ("dense_generated", "dense")):
        if metrics[name]:
            console.print(f"{label:<9} {metrics[name]!r}", markup=False, highlight=False)
    for report in reports[:MOST_REPORTS]:
        console.print(str(report), style="red", markup=False, highlight=False, soft_wrap=True)
    if len(reports) > MOST_REPORTS:
        console.print(f"and {len(reports) - MOST_REPORTS} more", style="red", highlight=False)
