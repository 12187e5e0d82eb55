"""Sizes that follow from the fields of a configuration."""

from __future__ import annotations

import dataclasses

from hdl.spec.config_fields import ConfigFields
from hdl.spec.numerics import LSB_BITS, PLANE_WIDTHS

__all__ = ["ConfigSizes", "RowSizes", "ceil_log2"]


def ceil_log2(value: int) -> int:
    """Bits of an index below ``value``: 0 for one."""
    return (value - 1).bit_length()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSizes:
    """What a top-k engine must know of its rows if they are not those of Q×K; names as in a configuration."""

    topk_parallelism: int
    max_tokens: int
    """Most scores of a row."""
    count_width: int
    """Bits of a count of them."""
    score_width: int
    """Bits of a signed score."""


class ConfigSizes(ConfigFields):
    """Derived values, never stored; ``dim`` is any served head dimension."""

    @property
    def lane_width(self) -> int:
        """Multipliers of one lane, elements of one slice."""
        return self.num_multipliers // self.lanes

    @property
    def plane_widths(self) -> tuple[int, ...]:
        return tuple(width for width in PLANE_WIDTHS if width <= self.operand_width)

    @property
    def splits(self) -> tuple[tuple[int, int], ...]:
        """All (MSB, LSB) widths of K planes: (w, 0) is static, (w, 4) is progressive quantization."""
        static = [(width, 0) for width in self.plane_widths]
        return tuple(static + [(w, LSB_BITS) for w in self.plane_widths if w + LSB_BITS <= self.operand_width])

    def log_slices(self, dim: int) -> int:
        """log2 of the slices of a row: a row is padded to a power of two of slices."""
        return ceil_log2(-(-dim // self.lane_width))

    def slices(self, dim: int) -> int:
        return 1 << self.log_slices(dim)

    def scores_per_line(self, dim: int) -> int:
        """Keys of one line (one QK cycle): S = lanes / slices, at least 1."""
        return max(1, self.lanes // self.slices(dim))

    def beats(self, dim: int) -> int:
        """Cycles of one line: more than 1 only if a row has more slices than there are lanes."""
        return max(1, self.slices(dim) // self.lanes)

    @property
    def max_slices(self) -> int:
        return self.slices(self.max_dim)

    @property
    def max_beats(self) -> int:
        return self.beats(self.max_dim)

    @property
    def buffer_depth(self) -> int:
        """Words (of lanes * lane_width elements) of the largest region of a job."""
        return self.max_tokens * self.buffer_dim // self.num_multipliers

    @property
    def buffer_slots(self) -> int:
        """Slices of the largest region of a job."""
        return self.buffer_depth * self.lanes

    def region_keys(self, dim: int) -> int:
        """Most keys of a job."""
        return min(self.max_tokens, self.buffer_slots // self.slices(dim))

    def plane_words(self, num_rows: int, dim: int, width: int) -> int:
        """Words that a plane of ``num_rows`` rows of ``dim`` elements takes in every channel (docs/architecture.md)."""
        rows = -(-num_rows // self.num_channels)
        return -(-rows * dim * width // self.channel_width)

    def packs(self, dim: int, n: int) -> bool:
        """Whether lines of this job may hold the end of one query's row and the start of the next.

        Only for rows of equal length (not causal, not generation); needs S-1 repeated keys after the n-th.
        """
        per_line = self.scores_per_line(dim)
        return (
            self.packing
            and n >= per_line
            and n % per_line != 0
            and (n + per_line - 1) * self.slices(dim) <= self.buffer_slots
        )

    @property
    def score_width(self) -> int:
        """Bits of a signed integer score (exact dot product)."""
        return 2 * self.operand_width + ceil_log2(self.max_dim)

    @property
    def sum_width(self) -> int:
        """Bits of an exp sum, UQ(sum_width-16).16."""
        return 17 + ceil_log2(self.max_tokens)

    @property
    def acc_width(self) -> int:
        """Bits of a signed prob×V accumulator."""
        return 17 + self.operand_width + ceil_log2(self.max_tokens)

    @property
    def out_width(self) -> int:
        """Bits of a signed output element, Q(operand_width).8."""
        return self.operand_width + 8

    @property
    def abs_sum_width(self) -> int:
        return self.out_width + ceil_log2(self.max_dim)

    @property
    def head_width(self) -> int:
        """Bits of a rank among the heads of a layer."""
        return max(1, ceil_log2(self.max_heads))

    @property
    def group_width(self) -> int:
        """Bits of the place of a query head in its group."""
        return max(1, ceil_log2(self.max_group))

    @property
    def position_width(self) -> int:
        """Bits of a key position or query index."""
        return ceil_log2(self.max_tokens)

    @property
    def count_width(self) -> int:
        """Bits of a count of keys (0…max_tokens, and positions with the repeated keys)."""
        return ceil_log2(self.max_tokens + self.lanes)

    @property
    def slot_width(self) -> int:
        """Bits of a slice index in the K or V buffer."""
        return ceil_log2(max(self.key_slots, self.value_slots))

    @property
    def key_slots(self) -> int:
        """Slices of the K buffer."""
        return self.key_rows * self.buffer_dim // self.lane_width

    @property
    def value_slots(self) -> int:
        """Slices of the V buffer."""
        return self.value_rows * self.buffer_dim // self.lane_width

    @property
    def key_banks(self) -> int:
        return self.lanes * self.banks_per_lane

    @property
    def key_page_slots(self) -> int:
        """Slices of a page of the K buffer."""
        return self.key_slots // self.key_pages

    @property
    def value_page_slots(self) -> int:
        """Slices of a page of the V buffer."""
        return self.value_slots // self.value_pages

    @property
    def load_width(self) -> int:
        """Bits of the index of a load of one kind."""
        return ceil_log2(self.loads)

    @property
    def seq_width(self) -> int:
        """Bits of a sequence number of loaded rows, compared modulo; all jobs in flight take less than half of it."""
        return 1 + ceil_log2(self.contexts * (self.max_tokens + self.lanes) + 1)

    @property
    def channel_bits(self) -> int:
        """Bits of a channel's number; at least 1."""
        return max(1, ceil_log2(self.num_channels))

    @property
    def context_width(self) -> int:
        return ceil_log2(self.contexts)

    @property
    def row_bits_max(self) -> int:
        return self.max_dim * self.operand_width
