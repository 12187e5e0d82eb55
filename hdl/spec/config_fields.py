"""The fields of a configuration, with what they mean and their defaults."""

from __future__ import annotations

import dataclasses

__all__ = ["ConfigFields"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfigFields:
    """What a configuration is made of; :class:`hdl.spec.config.Config` checks and derives."""

    name: str = "custom"
    num_multipliers: int = 512
    """Multipliers of the Q×K array, and as many again in the prob×V array."""
    lanes: int = 8
    """Most scores a cycle; a power of two that divides ``num_multipliers``."""
    max_dim: int = 128
    """Largest head dimension D."""
    dims: tuple[int, ...] = (16, 32, 64, 80, 96, 128)
    """Head dimensions served at run time, multiples of 16."""
    operand_width: int = 12
    """Bits of an operand of the multipliers (Q, K, V words on chip)."""
    max_tokens: int = 1024
    """Most keys, and most queries, of a job."""
    buffer_dim: int = 64
    """The K (V) region of a job holds at most ``max_tokens * buffer_dim`` elements."""
    key_rows: int = 2048
    """Rows of ``buffer_dim`` elements in the K buffer."""
    value_rows: int = 2048
    """Rows of ``buffer_dim`` elements in the V buffer."""
    key_pages: int = 16
    """Pages of the K buffer; a job's region is a run of whole pages."""
    value_pages: int = 16
    """Pages of the V buffer."""
    banks_per_lane: int = 1
    """Banks of the K buffer for each lane: K slices that one lane can take in a cycle."""
    num_channels: int = 16
    """Read-only memory ports."""
    channel_width: int = 256
    """Bits of a memory word of one channel."""
    address_width: int = 24
    """Bits of a word address within a channel."""
    topk_parallelism: int = 16
    """Scores a cycle of a quick-select engine (P in the paper)."""
    num_topk_engines: int = 2
    norm_lanes: int = 32
    """Output elements normalized (multiplied by 1/sum) a cycle."""
    outstanding: int = 64
    """Words in flight per channel."""
    slice_queue: int = 8
    """Slices waiting per channel before the crossbar."""
    contexts: int = 4
    """Jobs in flight."""
    loads: int = 4
    """Loads of K, gathered rows of V, and planes of Q that can be in flight (of each)."""
    max_heads: int = 32
    """Most query heads of a layer."""
    max_group: int = 8
    """Most query heads that share a K/V head (grouped-query attention)."""
    query_queue: int = 4
    """Q rows fetched ahead."""
    line_queue: int = 256
    """Lines of scores, and lines of exponentials, that wait for their row's maximum (sum)."""
    adder_levels: int = 2
    """Adder levels between two registers of the Q×K tree. 1 suits an FPGA: its carry chains have flip-flops beside
    them, and a sum of three numbers takes logic in front of one."""
    chain_rows: int = 0
    """Most rows of a job that goes on with the sums of the job before it, which are kept on chip so that a context may
    be longer than ``max_tokens``; 0: no job can."""
    packing: bool = True
    """Whether a line may hold the end of one row and the start of the next. Without, a row of n keys takes whole lines,
    ceil(n / S) of them: little where lanes are few, and much logic less."""
