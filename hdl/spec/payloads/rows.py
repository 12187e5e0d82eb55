"""Payloads of rows and their lines: tags, queries, scores, exponentials, sums."""

from __future__ import annotations

from amaranth.lib import data

from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.widths import LOG_SLICES_WIDTH, lane_count, signed

__all__ = [
    "chain_place",
    "exp_line",
    "fold",
    "line_shape",
    "query_row",
    "row_sum",
    "row_tag",
    "score_line",
    "softmax_row",
    "started_row",
]

S = data.StructLayout
A = data.ArrayLayout


def row_tag(config: Config) -> S:
    return S(
        {
            "context": config.context_width,  # job in flight, index in the controller's context table
            "query": config.position_width,  # row of the job: query q of head g of the group is row g * num_queries + q
            "group": config.group_width,  # g
            "second": 1,  # 1: recomputed with the LSB plane
        }
    )


def line_shape(config: Config) -> dict:
    """Fields common to every line: lanes 0…a_count-1 belong to row A, the next b_count to row B.

    A line holds keys ``start``, ``start+1``, …; row B (the next in row order) begins with its key 0 at lane a_count.
    b_count > 0 only if a_last; row B never ends in the line in which it begins.
    """
    return {
        "start": config.count_width,  # key position of lane 0
        "a_count": lane_count(config),  # valid lanes of row A, 1…S
        "b_count": lane_count(config),  # valid lanes of row B after them, 0…S-1
        "a_last": 1,  # row A ends in this line
    }


def chain_place(config: Config) -> dict:
    """Fields of a row where jobs can be chained, none elsewhere."""
    if not config.chained:
        return {}
    return {
        "joins": 1,  # the row goes on with the sums that row ``tag.query`` of the job before left
        "more": 1,  # it leaves its sums to the next job, and has no output
    }


def fold(config: Config) -> dict:
    """How the V sums of a row whose exp sum is known join those of its chain; no field where jobs cannot be chained."""
    if not config.chained:
        return {}
    return {
        "fold": S(
            {
                **chain_place(config),
                "old_shift": N.SHIFT_WIDTH,  # right shift of the sums so far,
                "new_shift": N.SHIFT_WIDTH,  # and of those of this job
            }
        )
    }


def started_row(config: Config) -> S:
    """A row as QKMultiply took it."""
    return S({"tag": row_tag(config), "length": config.count_width})


def query_row(config: Config) -> S:
    """A query on its way to the Q×K array."""
    return S(
        {
            "tag": row_tag(config),
            "length": config.count_width,  # keys that this query attends, 1…max_tokens (causal: fewer than n)
            "log_slices": LOG_SLICES_WIDTH,  # log2 slices per key row
            "pack": 1,  # lines may hold the end of one row and the start of the next (same job)
            "slot": config.slot_width,  # first slot of the job's region of the K buffer, a multiple of lanes
            "seq": config.seq_width,  # sequence number of its first row
            "low": 1,  # use the lower 4 bits of the K words (else 0): static split, or second pass
            "elements": A(signed(config.operand_width), config.max_dim),  # zero beyond D
        }
    )


def score_line(config: Config) -> S:
    return S(
        {
            **line_shape(config),
            "scores": A(signed(config.score_width), config.lanes),  # exact dot products; lanes >= counts undefined
        }
    )


def softmax_row(config: Config) -> S:
    """Parameters of one row for softmax, in row order, at the latest with the row's first line."""
    return S(
        {
            "tag": row_tag(config),
            "scale": N.SCALE_WIDTH,  # mantissa of (max-score) -> log2 units (1/sqrt(D) and log2(e) folded in)
            "shift": N.SHIFT_WIDTH,  # right shift, 1…63
            "flat_limit": config.sum_width,  # 2**16 / threshold
            "check": 1,  # first pass of a progressive row: flat rows are dropped and recomputed
            **chain_place(config),
        }
    )


def exp_line(config: Config) -> S:
    return S(
        {
            **line_shape(config),
            "scores": A(signed(config.score_width), config.lanes),
            "exps": A(N.EXP_WIDTH, config.lanes),  # UQ1.16; 0 in lanes that are not valid
        }
    )


def row_sum(config: Config) -> S:
    """Facts of a row, given once per row in row order, after its last score."""
    return S(
        {
            "tag": row_tag(config),
            "exp_sum": config.sum_width,  # UQ.16
            "recip": N.RECIP_WIDTH,  # R of 1/sum = R * 2**-16 * 2**-pe, UQ1.16
            "pe": config.recip_exp_width,  # its exponent; of a chain, that of all its keys so far
            "flat": 1,  # drop the row: it is recomputed with LSBs
            **fold(config),
        }
    )
