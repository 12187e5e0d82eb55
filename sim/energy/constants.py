"""Energies that can be cited, each with source, node and voltage; two sets, whose difference is the error bar."""

from __future__ import annotations

import dataclasses

__all__ = ["PUBLISHED", "SETS", "Constant", "EnergySet"]


@dataclasses.dataclass(frozen=True)
class Constant:
    """Picojoules of something, and who says so."""

    picojoules: float
    of: str
    source: str
    node: str
    voltage: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergySet:
    """What :class:`sim.energy.activity.Activity` counts costs so much."""

    name: str
    multiplication: Constant
    """32 × 32 bits; one of a × b bits costs a · b / 1024 of it"""
    addition: Constant
    """32 bits, a comparison as well; one of a bits costs a / 32 of it"""
    register_bit: Constant
    """written"""
    sram_bit: Constant
    """read, or written, as part of a word of the buffers of K and V"""
    dram_bit: Constant
    """read, activations included"""


_ALADDIN = "tables of Aladdin, as hwcomponents-library 1.0.58 has them"
_HOROWITZ = "Horowitz, Computing's energy problem, ISSCC 2014, from memory"

_REGISTER_BIT = Constant(0.009, "a bit of a register", _ALADDIN, "40 nm", "not told")

SETS = {
    energies.name: energies
    for energies in (
        EnergySet(
            name="40nm",
            multiplication=Constant(12.68, "32-bit multiplication", _ALADDIN, "40 nm", "not told"),
            addition=Constant(0.21, "32-bit addition", _ALADDIN, "40 nm", "not told"),
            register_bit=_REGISTER_BIT,
            sram_bit=Constant(
                78.0 / 768, "bit of a read of 768 bits from 18 KB", "CACTI 7, cells lstp", "40 nm", "CACTI's for lstp"
            ),
            dram_bit=Constant(
                3.92, "bit of HBM2", "O'Connor et al., Fine-Grained DRAM, MICRO 2017, from memory", "HBM2", "1.2 V"
            ),
        ),
        EnergySet(
            name="45nm",
            multiplication=Constant(3.1, "32-bit multiplication", _HOROWITZ, "45 nm", "0.9 V"),
            addition=Constant(0.1, "32-bit addition", _HOROWITZ, "45 nm", "0.9 V"),
            register_bit=_REGISTER_BIT,
            sram_bit=Constant(10.0 / 64, "bit of a read of 64 bits from 8 KB", _HOROWITZ, "45 nm", "0.9 V"),
            dram_bit=Constant(6.25, "bit of HBM2 with its interface", "upper figure in use", "HBM2", "1.2 V"),
        ),
    )
}
"""Name -> set; the first is the estimate, the second its error bar."""

PUBLISHED = {
    "gop_per_j": 382.0,
    "qk": 1.13,
    "pv": 0.53,
    "softmax": 0.50,
    "fetcher": 0.24,
    "topk": 0.08,
    "sram": 1.24,
}
"""Of the paper: GOP/J of the eighth (Table III), and watts by block of the whole machine."""
