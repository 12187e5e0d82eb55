"""Rows of items as lines, and back (docs/architecture.md, "Lanes, slices, slots, lines")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["make_lines", "split_lines"]


def make_lines(
    rows: Sequence[Sequence[Any]],
    lanes_per_line: int,
    pack: bool | Sequence[bool] = False,
    *,
    width: int | None = None,
    fill: Any = 0,
) -> list[dict[str, Any]]:
    """Lines ``{"start", "a_count", "b_count", "a_last", "lanes"}`` that hold ``rows`` in order.

    rows: items of each row, at least one. lanes_per_line: S, the most items of a line.
    pack: whether the start of row i+1 may follow the end of row i in one line, for all rows or one value per row.
    As in the machine, that is done only where row i+1 does not end in that line (always so if n >= S).
    width: length of "lanes" (``config.lanes``; S if not given); lanes without an item hold ``fill``.
    """
    width = lanes_per_line if width is None else width
    joins = [pack] * len(rows) if isinstance(pack, bool) else list(pack)
    if width < lanes_per_line:
        raise ValueError(f"width must be at least lanes_per_line ({lanes_per_line}), not {width!r}")
    if len(joins) != len(rows):
        raise ValueError(f"pack must have one value per row ({len(rows)}), not {len(joins)}")
    lines = []
    position = 0  # first item of the row that is not in a line yet
    for index, row in enumerate(rows):
        if not row:
            raise ValueError(f"rows must not be empty, but row {index} is")
        while position < len(row):
            a_items = list(row[position : position + lanes_per_line])
            a_last = position + len(a_items) == len(row)
            room = lanes_per_line - len(a_items)
            b_items = []
            if a_last and joins[index] and index + 1 < len(rows) and len(rows[index + 1]) > room:
                b_items = list(rows[index + 1][:room])
            items = a_items + b_items
            lines.append(
                {
                    "start": position,
                    "a_count": len(a_items),
                    "b_count": len(b_items),
                    "a_last": int(a_last),
                    "lanes": items + [fill] * (width - len(items)),
                }
            )
            position += len(a_items)
        position = len(b_items)
    return lines


def split_lines(lines: Iterable[dict[str, Any]], field: str = "lanes") -> list[list[Any]]:
    """Rows of the items in ``field`` of each line ("scores", "exps", … of a payload); checks the structure of lines."""
    rows: list[list[Any]] = []
    row: list[Any] = []
    for number, line in enumerate(lines):
        a_count, b_count, items = int(line["a_count"]), int(line["b_count"]), list(line[field])
        assert int(line["start"]) == len(row), f"line {number}: start {line['start']}, expected {len(row)}"
        assert a_count >= 1 and a_count + b_count <= len(items), f"line {number}: counts {a_count} + {b_count}"
        assert line["a_last"] or not b_count, f"line {number}: row B begins before row A ends"
        row += items[:a_count]
        if line["a_last"]:
            rows.append(row)
            row = items[a_count : a_count + b_count]
    assert not row, f"last row is not complete ({len(row)} items)"
    return rows
