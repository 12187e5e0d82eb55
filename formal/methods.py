"""How a proof is done, and for how long it holds."""

from __future__ import annotations

import dataclasses

__all__ = ["Bounded", "Induction", "Method", "Pdr"]


@dataclasses.dataclass(frozen=True)
class Induction:
    """True in the first ``steps`` cycles, and after any ``steps`` cycles in which it was true."""

    steps: int = 1

    unbounded = True

    @property
    def engine(self) -> str:
        return f"induction, k = {self.steps}"

    @property
    def extent(self) -> str:
        return "unbounded"


@dataclasses.dataclass(frozen=True)
class Pdr:
    """Property-directed reachability finds the invariants itself; for blocks of up to about a hundred flip-flops."""

    unbounded = True
    engine = "PDR"
    extent = "unbounded"


@dataclasses.dataclass(frozen=True)
class Bounded:
    """True in the first ``cycles`` cycles."""

    cycles: int

    unbounded = False
    engine = "bounded check"

    @property
    def extent(self) -> str:
        return f"{self.cycles} cycles"


Method = Induction | Pdr | Bounded
