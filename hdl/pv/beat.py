"""Payloads inside prob×V: lines with their rows, beats, finished rows."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.payloads import fold, placed_row, row_tag, value_line

__all__ = [
    "announced_row",
    "finished_row",
    "joined_line",
    "product_shape",
    "rows_share_lines",
    "slice_elements",
    "value_beat",
]


def joined_line(config: Config) -> data.StructLayout:
    """A line with the facts of its row A."""
    return data.StructLayout(
        {
            "line": value_line(config),
            "row": placed_row(config),
            "end": config.seq_width,  # sequence number after that of the last valid position
            "first": config.slot_width,  # slot of lane 0 in beat 0
            "finish": 1,  # row A ends in this line, and is put out
        }
    )


def value_beat(config: Config) -> data.StructLayout:
    """What a beat carries beside its data."""
    return data.StructLayout(
        {
            "row": placed_row(config),  # of row A
            "group": range(max(2, config.max_beats)),  # beat of the line
            "last": 1,  # row A is complete with this beat
            "mask_a": config.lanes,  # banks with a key of row A
            "mask_b": config.lanes,
        }
    )


def finished_row(config: Config) -> data.StructLayout:
    """Facts of a row whose accumulators are complete."""
    return data.StructLayout(
        {
            "tag": row_tag(config),
            "recip": N.RECIP_WIDTH,  # R of 1/sum = R * 2**-16 * 2**-pe, UQ1.16
            "pe": config.recip_exp_width,
            "log_slices": 3,
            "dim": 8,  # D, a multiple of 16
            **fold(config),
        }
    )


def announced_row(config: Config) -> data.StructLayout | int:
    """What the Normalizer must know of a row before it comes: D, and where jobs can be chained, what becomes of it."""
    if not config.chained:
        return 8
    return data.StructLayout({"dim": 8, "chained": 1, "more": 1})


def slice_elements(config: Config) -> int:
    """Elements of a slice that a lane works on."""
    return min(config.lane_width, config.max_dim)


def product_shape(config: Config):
    """A weight times an element of V."""
    return signed(config.operand_width + N.EXP_WIDTH)


def rows_share_lines(config: Config) -> bool:
    """Whether a line can hold two rows at all."""
    return config.packing and config.scores_per_line(config.dims[0]) > 1
