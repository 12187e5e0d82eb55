"""Entries of the tables of tokens and heads, a word at a time, on their way through the cascade selection."""

from __future__ import annotations

from amaranth.lib import data

from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.config_sizes import RowSizes, ceil_log2
from hdl.spec.widths import HEAD_FIELD_WIDTH, JOB_ID_WIDTH, lane_count

__all__ = [
    "KEY_WIDTH",
    "entry",
    "entry_place",
    "entry_word",
    "log_lanes",
    "report_word",
    "table_count_width",
    "table_rows",
]

S = data.StructLayout
A = data.ArrayLayout

KEY_WIDTH = N.IMPORTANCE_WIDTH + 1
"""Bits of what an entry is ranked by, signed: importance, or 2**32 if it is pinned, less 2**32."""


def log_lanes(config: Config) -> int:
    return config.lanes.bit_length() - 1


def table_rows(config: Config) -> RowSizes:
    """A table as a row of quick-select: of all tokens, or of all heads."""
    longest = max(config.max_tokens, config.max_heads)
    return RowSizes(
        topk_parallelism=config.topk_parallelism,
        max_tokens=longest,
        count_width=ceil_log2(longest + config.lanes),
        score_width=KEY_WIDTH,
    )


def table_count_width(config: Config) -> int:
    """Bits of a count of entries of either table."""
    return table_rows(config).count_width


def entry(config: Config) -> S:
    return S({"id": max(HEAD_FIELD_WIDTH, config.position_width), "importance": N.IMPORTANCE_WIDTH})


def entry_place(config: Config) -> S:
    """Where the entries of a word lie: ``count`` of them from ``lane`` on."""
    return S(
        {
            "lane": max(1, log_lanes(config)),
            "count": lane_count(config),
            "last": 1,  # the table ends
        }
    )


def entry_word(config: Config) -> S:
    """A word as it was read: ``lanes`` tokens, or one head in the lane of its rank."""
    return S(
        {
            **entry_place(config).members,
            "entries": A(entry(config), config.lanes),
            "mask": config.lanes,  # lanes with an entry
            "pinned": config.lanes,  # lanes whose entry survives before all others
        }
    )


def report_word(config: Config) -> S:
    """A word of entries on its way to the host."""
    return S(
        {
            "job_id": JOB_ID_WIDTH,
            "token": 1,
            "entries": A(entry(config), config.lanes),
            "keep": config.lanes,
            **entry_place(config).members,
        }
    )
