"""What a system of the comparison gives back (docs/rivals.md)."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from sim.rivals.work import Work

__all__ = ["Attended"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attended:
    """What a system makes of heads."""

    out: Tensor
    """(B, K, S, r, D) float64"""
    keep: Tensor
    """(B, K, S, r, n) bool: keys whose V rows are in ``out``"""
    work: Work
