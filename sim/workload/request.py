"""What ``spatten workload`` is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from sim.common.settings import Told

__all__ = ["OF_FILE", "OF_SHAPE", "SHAPES", "WorkloadRequest"]

SHAPES = ("bert",)
OF_SHAPE = ("tokens", "sequences", "heads", "layers", "dim")
"""Fields that only a shape has."""
OF_FILE = ("limit", "query_bits", "pair")
"""Fields that only a file has."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkloadRequest:
    """A workload and an engine; the fields are the options of the command, in their order."""

    file: Annotated[Path | None, Told("Rows in the authors' format.", argument=True, metavar="[FILE.csv]")] = None
    shape: Annotated[str | None, Told("bert, in place of a file.")] = None
    tokens: Annotated[str | None, Told("Of a shape: L, L,L,… or A-B (random lengths); default 128.")] = None
    sequences: Annotated[int | None, Told("Random lengths of A-B; default 16.")] = None
    heads: Annotated[int | None, Told("Of a shape; default 12.")] = None
    layers: Annotated[int | None, Told("Of a shape; default 12.")] = None
    dim: Annotated[int | None, Told("Of a shape; default 64.")] = None
    preset: Annotated[str, Told("tiny, ulx3s, eighth, paper, ulx3s-d32, or a .json file.")] = "paper"
    memory: Annotated[str, Told("ideal or hbm2.")] = "ideal"
    limit: Annotated[int | None, Told("Only the first so many rows of the file.")] = None
    query_bits: Annotated[int | None, Told("Of all queries, whatever the file says.")] = None
    pair: Annotated[
        bool | None, Told("Join heads of a file in memory; default where it can be.", option="pair/--no-pair")
    ] = None
    check: Annotated[int, Told("Compare each so many-th row with golden (1: all).")] = 100
    seed: Annotated[int, Told("Of the data.")] = 0
    engine: Annotated[str, Told("verilator, pysim or axi.")] = "verilator"
    json_path: Annotated[Path | None, Told("Figures.", option="json")] = None
    ramulator: Annotated[Path | None, Told("Trace of the words read.")] = None
