"""The systems of the comparison that are modelled here; SpAtten's own column is not (docs/rivals.md)."""

from __future__ import annotations

from typing import Protocol

from sim.rivals.a3 import A3
from sim.rivals.attended import Attended
from sim.rivals.dense import Dense
from sim.rivals.heads import Heads
from sim.rivals.mnnfast import MNNFast

__all__ = ["RIVALS", "Rival"]


class Rival(Protocol):
    """A system: a pure function of heads, which keeps nothing."""

    @property
    def name(self) -> str: ...

    @property
    def bits(self) -> int: ...

    def attend(self, heads: Heads) -> Attended: ...


RIVALS: dict[str, Rival] = {
    rival.name: rival
    for rival in (
        Dense(),
        A3(name="a3_base"),
        A3(name="a3_conservative", share=1 / 2, percent=5),
        A3(name="a3_aggressive", share=1 / 8, percent=10),
        MNNFast(),
    )
}
"""Name -> system."""
