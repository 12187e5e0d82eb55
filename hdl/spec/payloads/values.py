"""Payloads of kept values, output beats and probabilities."""

from __future__ import annotations

from amaranth.lib import data

from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.payloads.rows import fold, line_shape, row_tag
from hdl.spec.widths import DIM_WIDTH, LOG_SLICES_WIDTH, signed

__all__ = [
    "output_beat",
    "placed_row",
    "prob_line",
    "prune_row",
    "value_line",
    "value_row",
]

S = data.StructLayout
A = data.ArrayLayout


def value_line(config: Config) -> S:
    """Weights of V rows start, start+1, … of the job's region; pruned lanes have weight 0."""
    return S(
        {
            **line_shape(config),
            "exps": A(N.EXP_WIDTH, config.lanes),  # UQ1.16, lane i weighs V row start+i
        }
    )


def value_row(config: Config) -> S:
    """A row for prob×V, in row order, at the latest with the row's first line."""
    return S(
        {
            "tag": row_tag(config),
            "recip": N.RECIP_WIDTH,
            "pe": config.recip_exp_width,
            "drop": 1,  # flat: no output
            "log_slices": LOG_SLICES_WIDTH,
            "dim": DIM_WIDTH,  # D
            **fold(config),
        }
    )


def placed_row(config: Config) -> S:
    """A row for prob×V whose V rows have been asked for."""
    return S(
        {
            **value_row(config).members,
            "slot": config.slot_width,  # first slot of its region of the V buffer, a multiple of lanes
            "seq": config.seq_width,  # sequence number of its first V row
        }
    )


def output_beat(config: Config) -> S:
    """norm_lanes consecutive output elements of a row; elements beyond D are 0."""
    return S(
        {
            "tag": row_tag(config),
            "last": 1,  # last beat of the row
            "abs_sum": config.abs_sum_width,  # Σ|out| of the whole row, valid with last
            "values": A(signed(config.out_width), config.norm_lanes),  # Q(operand_width).8
        }
    )


def prob_line(config: Config) -> S:
    """Probabilities of a line (of every key, V kept or not); rows as in line_shape."""
    return S(
        {
            **line_shape(config),
            "a_drop": 1,  # row A is flat: ignore its lanes
            "b_drop": 1,
            "a_tag": row_tag(config),
            "b_tag": row_tag(config),  # valid if b_count > 0
            "probs": A(N.EXP_WIDTH, config.lanes),  # UQ1.16
        }
    )


def prune_row(config: Config) -> S:
    """Local value pruning of one row, in row order, at the latest with the row's first score line."""
    return S(
        {
            "tag": row_tag(config),
            "prune": 1,  # 0: keep all (k >= length)
            "k": config.count_width,  # V rows to keep, 1…length-1, if prune
            "gather": 1,  # generation: fetch the survivors' V rows; else V is on chip
            "log_slices": LOG_SLICES_WIDTH,
            "dim": DIM_WIDTH,
        }
    )
