"""Sizes of what jobs of a chain leave to each other (docs/chains.md)."""

from __future__ import annotations

from hdl.spec.config_sizes import ConfigSizes, ceil_log2
from hdl.spec.numerics import (
    CHAIN_KEYS,
    EXP_WIDTH,
    FOLD_GUARD,
    PART_KEYS,
    RECIP_EXP_WIDTH,
    SCALE_WIDTH,
    X_FRAC,
)

__all__ = ["ChainSizes"]


class ChainSizes(ConfigSizes):
    """Derived values, never stored; ``dim`` is any served head dimension."""

    def part_keys(self, dim: int) -> int:
        """Keys of each job of a chain but the last, which may have as many more as it has rows: a power of two."""
        room = self.region_keys(dim) - self.chain_rows
        return min(PART_KEYS, 1 << room.bit_length() - 1)

    @property
    def chained(self) -> bool:
        """Whether jobs can be chained at all."""
        return self.chain_rows > 0

    @property
    def octave_width(self) -> int:
        """Bits of a signed number of octaves between two scores."""
        return self.score_width + SCALE_WIDTH - X_FRAC + 1

    @property
    def fold_sum_width(self) -> int:
        """Bits of the exp sum of a chain, UQ.24."""
        return EXP_WIDTH + FOLD_GUARD + ceil_log2(CHAIN_KEYS)

    @property
    def fold_acc_width(self) -> int:
        """Bits of Σ e·V of a chain, signed Q.24: at most 2**(operand_width-1) times its exp sum."""
        return self.operand_width + self.fold_sum_width

    @property
    def total_width(self) -> int:
        """Bits of what the reciprocal is made of: UQ.16, or UQ.23 where jobs can be chained."""
        return self.fold_sum_width if self.chained else self.sum_width

    @property
    def total_frac(self) -> int:
        """Its fraction bits. The sum of a chain is at least a half, so one bit less than it has."""
        return EXP_WIDTH - 1 + (FOLD_GUARD - 1 if self.chained else 0)

    @property
    def scaled_width(self) -> int:
        """Bits of a signed Σ e·V, Q.16, that is multiplied by the reciprocal."""
        return self.fold_acc_width - (FOLD_GUARD - 1) if self.chained else self.acc_width

    @property
    def recip_exp_width(self) -> int:
        """Bits of the exponent of a reciprocal."""
        return (self.total_width - self.total_frac).bit_length() if self.chained else RECIP_EXP_WIDTH
