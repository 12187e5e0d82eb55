import re

import pytest

from sim.reproduce.figures import Entry, Figure, figure_png, page_of
from sim.reproduce.reproduce import FIGURES


def test_an_entry_must_be_of_a_kind():
    kinds = "measured, modelled, estimated, calculated, quoted"
    with pytest.raises(ValueError, match=f"kind must be one of {kinds}, not 'guessed'"):
        Entry(series="a", x=1, value=1.0, unit="x", kind="guessed", source="s")
    with pytest.raises(ValueError, match="value of 'a' at 1 must be finite, not nan"):
        Entry(series="a", x=1, value=float("nan"), unit="x", kind="quoted", source="s")


def test_a_figure_must_have_something_to_draw():
    entry = Entry(series="a", x=1, value=1.0, unit="x", kind="quoted", source="s")
    fields = {"name": "f", "title": "t", "x_label": "x", "y_label": "y", "entries": [entry]}
    with pytest.raises(ValueError, match="entries of f must have one in 'y', not none"):
        Figure(style="bars", drawn_unit="y", **fields)
    with pytest.raises(ValueError, match="style must be one of roofline, lines, bars, not 'pie'"):
        Figure(style="pie", drawn_unit="x", **fields)


def test_page_loads_nothing(lab):
    figure = FIGURES["table3"](lab)
    page = page_of([figure], [figure_png(figure)], {"Workload": "<one token>"})
    assert "&lt;one token&gt;" in page and "paper, Table III" in page and 'class="quoted"' in page
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "<script" not in page
