"""What a block does, in units that have a cited energy."""

from __future__ import annotations

import dataclasses

from sim.energy.constants import EnergySet

__all__ = ["Activity", "joules"]


@dataclasses.dataclass(kw_only=True)
class Activity:
    """Sums over a run; all are numbers of bits, or of products of bits."""

    multiplied: float = 0.0
    """Σ a · b over multiplications of a × b bits"""
    added: float = 0.0
    """Σ width over additions and comparisons"""
    registered: float = 0.0
    """bits written to registers"""
    stored: float = 0.0
    """bits read from, and written to, memories on chip"""
    fetched: float = 0.0
    """bits of DRAM"""

    def add(self, other: Activity) -> None:
        """Take up what ``other`` has counted."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def picojoules(self, energies: EnergySet) -> float:
        """Of all of it."""
        return (
            self.multiplied * energies.multiplication.picojoules / 1024
            + self.added * energies.addition.picojoules / 32
            + self.registered * energies.register_bit.picojoules
            + self.stored * energies.sram_bit.picojoules
            + self.fetched * energies.dram_bit.picojoules
        )


def joules(blocks: dict[str, Activity], energies: EnergySet) -> dict[str, float]:
    """Energy of each block."""
    return {name: 1e-12 * activity.picojoules(energies) for name, activity in blocks.items()}
