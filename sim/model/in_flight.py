"""Jobs between their context and their status, and the passes of their rows through the machine."""

from __future__ import annotations

import dataclasses
import math

from sim.model.shape import Shape

__all__ = ["InFlight", "Pass"]


@dataclasses.dataclass(eq=False)
class InFlight:
    """A job between its context and its status; infinite: not known yet."""

    shape: Shape
    index: int
    """number among the jobs of the run"""
    lines: float = 0.0
    """of all first passes"""
    command: float = 0.0
    """of the K load"""
    key_first: float = 0.0
    """when the first key and the last one can be read"""
    key_last: float = 0.0
    query: float = 0.0
    """when the first Q row is there"""
    region: slice | None = None
    partner: InFlight | None = None
    """the other job of a pair; the first has the region of both"""
    value_last: float = 0.0
    value_region: slice | None = None
    begun: float = 0.0
    """Q×K takes its first row"""
    keys_final: float = math.inf
    lsb_last: float = 0.0
    """when the LSBs can be read; 0: they are not loaded"""
    done: float = math.inf
    """all results have left"""
    status: float = math.inf


@dataclasses.dataclass(eq=False)
class Pass:
    """Rows of a job that go through Q×K, and through all stages after it, one after the other."""

    job: InFlight
    rows: int
    lines: float
    ready: float
    """when Q×K can begin"""
    last: float
    """when it has all that it needs to end"""
    second: bool
