"""Figure 19: the parallelism of the top-k engines, and the size of the buffers."""

from __future__ import annotations

import dataclasses
from typing import Any

from hdl.spec.config import Config
from sim.reproduce import published
from sim.reproduce.cases import Case, generation_case
from sim.reproduce.entries import PAPER, measured, speed
from sim.reproduce.figures import Entry, Figure
from sim.reproduce.lab import Lab, Point

__all__ = ["fig19a", "fig19b"]

PARALLELISM = (1, 2, 4, 8, 16, 32)
KEY_ROWS = (1024, 1536, 2048, 3072, 4096, 6144)
VALUE_ROWS = (1024, 2048, 4096)


def fig19a(lab: Lab) -> Figure:
    """Top-k parallelism."""
    case = generation_case(lab.workload, lab.rows, PAPER)
    entries = _parallelism(lab, case)
    if lab.engine == "verilator":
        run = lab.run_rows(lab.workload, lab.rows, PAPER)
        entries.append(measured(_engines(PAPER.num_topk_engines), PAPER.topk_parallelism, run))
    for parallelism, quoted in published.TOPK_GFLOPS.items():
        common: dict[str, Any] = {"series": "paper", "unit": "GFLOPS", "kind": "quoted"}
        entries.append(Entry(x=parallelism, value=quoted.value, source=quoted.source, **common))
    return Figure(
        name="fig19a",
        title="Parallelism of a top-k engine (paper, Fig. 19 left)",
        style="lines",
        x_label="scores a cycle of an engine",
        y_label="GFLOPS at 1 GHz",
        drawn_unit="GFLOPS",
        logarithmic=True,
        entries=entries,
        notes=[
            f"{lab.workload}, {len(lab.rows)} rows.",
            f"Engines of less than {PAPER.lanes} scores a cycle have no RTL; they exist in the model only.",
        ],
    )


def _parallelism(lab: Lab, case: Case) -> list[Entry]:
    """One engine, and as many as the preset has, of each parallelism."""
    counts = sorted({1, PAPER.num_topk_engines})
    settings = [(engines, parallelism) for engines in counts for parallelism in PARALLELISM]
    points = [
        Point(case.shapes, dataclasses.replace(PAPER, num_topk_engines=engines), parallelism)
        for engines, parallelism in settings
    ]
    entries = []
    for (engines, parallelism), prediction in zip(settings, lab.predict(points), strict=True):
        entries += speed(_engines(engines), parallelism, case, prediction)
    return entries


def _engines(number: int) -> str:
    return f"{number} engine{'s' * (number > 1)}"


def fig19b(lab: Lab) -> Figure:
    """Size of the K and V buffers."""
    case = generation_case(lab.workload, lab.rows, PAPER)
    entries = _buffers(lab, case)
    if lab.engine == "verilator":
        run = lab.run_rows(lab.workload, lab.rows, PAPER)
        entries.append(measured("preset paper, K buffer", _kilobytes(PAPER.key_rows, PAPER), run))
    sizes = " and ".join(f"{_kilobytes(rows, PAPER):g} KB" for rows in (PAPER.key_rows, PAPER.value_rows))
    return Figure(
        name="fig19b",
        title="Size of the K and V buffers (paper, Fig. 19 right)",
        style="lines",
        x_label="KB of the buffer (1000 bytes)",
        y_label="GFLOPS at 1 GHz",
        drawn_unit="GFLOPS",
        entries=entries,
        notes=[
            f"{lab.workload}, {len(lab.rows)} rows. The other buffer is as in preset paper: {sizes} (K and V).",
            f"The paper takes {published.BUFFER_KB.value:g} KB each ({published.BUFFER_KB.source}). "
            "The values of its figure are not quoted.",
        ],
    )


def _buffers(lab: Lab, case: Case) -> list[Entry]:
    """Each buffer in all its sizes, with pages as large as in the preset."""
    page, value_page = PAPER.key_rows // PAPER.key_pages, PAPER.value_rows // PAPER.value_pages
    configs = [
        ("K buffer", rows, dataclasses.replace(PAPER, key_rows=rows, key_pages=rows // page)) for rows in KEY_ROWS
    ]
    configs += [
        ("V buffer", rows, dataclasses.replace(PAPER, value_rows=rows, value_pages=rows // value_page))
        for rows in VALUE_ROWS
    ]
    found = lab.predict([Point(case.shapes, config) for _, _, config in configs])
    entries = []
    for (name, rows, config), prediction in zip(configs, found, strict=True):
        entries += speed(name, _kilobytes(rows, config), case, prediction)
    return entries


def _kilobytes(rows: int, config: Config) -> float:
    return rows * config.buffer_dim * config.operand_width / 8 / 1000
