"""What ``spatten workload`` is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from sim.common.settings import Told

__all__ = ["OF_FILE", "OF_SHAPE", "SHAPES", "WorkloadRequest"]

SHAPES = ("bert", "long")
OF_SHAPE = {
    "bert": ("tokens", "sequences", "heads", "layers", "dim"),
    "long": ("tokens", "heads", "dim", "query_bits", "group", "rows", "key_bits", "value_bits", "keep"),
}
"""Shape -> the fields that it has."""
OF_FILE = ("limit", "query_bits", "pair")
"""Fields that a file has."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkloadRequest:
    """A workload and an engine; the fields are the options of the command, in their order."""

    file: Annotated[Path | None, Told("Rows in the authors' format.", argument=True, metavar="[FILE.csv]")] = None
    shape: Annotated[str | None, Told("bert or long, in place of a file.")] = None
    tokens: Annotated[str | None, Told("bert: L, L,L,… or A-B (random lengths); default 128. long: N; 32768.")] = None
    sequences: Annotated[int | None, Told("bert: random lengths of A-B; default 16.")] = None
    heads: Annotated[int | None, Told("Of a shape, K/V heads; default 12.")] = None
    layers: Annotated[int | None, Told("bert; default 12.")] = None
    dim: Annotated[int | None, Told("Of a shape; default 64.")] = None
    group: Annotated[int | None, Told("long: query heads of a K/V head; default 1.")] = None
    rows: Annotated[int | None, Told("long: queries of a query head, the last tokens; default 1.")] = None
    key_bits: Annotated[int | None, Told("long; default 8.")] = None
    value_bits: Annotated[int | None, Told("long; default 8.")] = None
    keep: Annotated[float | None, Told("long: share of V rows that a query keeps; default 1.")] = None
    preset: Annotated[str, Told("A preset (spatten preset), or a .json file.")] = "paper"
    memory: Annotated[str, Told("ideal or hbm2.")] = "ideal"
    limit: Annotated[int | None, Told("Only the first so many rows of the file.")] = None
    query_bits: Annotated[int | None, Told("Of all queries, whatever the file says; long: default 12.")] = None
    pair: Annotated[
        bool | None, Told("Join heads of a file in memory; default where it can be.", option="pair/--no-pair")
    ] = None
    check: Annotated[int, Told("Compare each so many-th row with golden (1: all).")] = 100
    seed: Annotated[int, Told("Of the data.")] = 0
    engine: Annotated[str, Told("verilator, pysim or axi.")] = "verilator"
    json_path: Annotated[Path | None, Told("Figures.", option="json")] = None
    ramulator: Annotated[Path | None, Told("Trace of the words read.")] = None
