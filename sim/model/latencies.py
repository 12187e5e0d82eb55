"""Cycles between stages: those of the components, and those that stand for what the model does not follow."""

from __future__ import annotations

import dataclasses

from hdl.fetch.bitwidth_converter import BitwidthConverter
from hdl.fetch.crossbar import SliceCrossbar
from hdl.fetch.fetch_layouts import LSB_LOADS
from hdl.fetch.gather import Gather
from hdl.fetch.row_issuer import RowIssuer
from hdl.fetch.slice_assembler import SliceAssembler
from hdl.pruning.value_compactor import ValueCompactor
from hdl.pruning.value_pruner import ValuePruner
from hdl.pv.prob_times_v import ProbTimesV
from hdl.qk.qk_multiply import QKMultiply
from hdl.softmax.softmax import Softmax
from hdl.spec.config import Config
from hdl.topk.quick_select import QuickSelect

__all__ = [
    "CHECK",
    "COMMAND",
    "ENGINE_AHEAD",
    "ENGINE_LINES",
    "ENGINE_SORT",
    "FLIGHT",
    "LOADER",
    "LSB_LOADS",
    "OFFER",
    "RELEASE",
    "REQUEST",
    "ROWS_BEFORE",
    "TAP",
    "Latencies",
    "latencies",
]

CHECK = 10
"""JobChecker: cycles a job (docs/controller.md)."""
LOADER = 7
"""KeyLoader and ValueLoader: cycles from a job to its command."""
COMMAND = 10
"""A load's command to its first word request; ``Fetcher.COMMAND_LATENCY``, of an idle Fetcher, is more."""
FLIGHT = 4
"""Cycles beyond the memory's latency from a word's request until another one may take its place in flight."""
REQUEST = 6
"""A Q row's issue to its first word request; ``Fetcher.QUERY_LATENCY``, of an idle Fetcher, is more."""
ROWS_BEFORE = 2
"""Rows of loads that a channel has begun with when a Q row comes; read off runs of preset ``tiny``."""
OFFER = 5
"""An LSB load's end to the second pass's query at Q×K."""
TAP = 4
"""A score line to the top-k engine's input."""
ENGINE_AHEAD = 1
"""Cycles of a row in a top-k engine in which it can take the next row."""
ENGINE_SORT = QuickSelect.SORT_CYCLES
"""Cycles from a row's first line at a top-k engine to the pivots."""
ENGINE_LINES = QuickSelect.WAITING_LINES + 1
"""Lines that wait in front of a top-k engine: in its input queue, and one at its door."""
RELEASE = 3
"""A region's last reading to its pages being free."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latencies:
    """Cycles between stages."""

    score: int
    """a line's last beat to its scores"""
    exponential: int
    """a row's last scores to its first line of exponentials"""
    row_sum: int
    """a row's last exponentials to its sum (and flatness)"""
    prune: int
    """line of exponentials to its value line or keep mask"""
    gather: int
    """keep mask to the requests of its rows"""
    compact: int
    """value line of a gathered row, beyond ``prune``"""
    output: int
    """a row's last beat of prob×V to its first outputs"""
    fetch: int
    """a word's response to its slice in the buffer, which can be read"""


def latencies(config: Config) -> Latencies:
    """Those of a configuration."""
    write = SliceAssembler.LATENCY + BitwidthConverter.LATENCY + SliceCrossbar.latency(config)
    return Latencies(
        score=QKMultiply.latency_of(config),
        exponential=Softmax.latency_of(config),
        row_sum=Softmax.sum_latency_of(config),
        prune=ValuePruner.LATENCY,
        gather=Gather.LATENCY + RowIssuer.LATENCY,
        compact=ValueCompactor.latency_of(config),
        output=ProbTimesV.latency_of(config),
        fetch=write + 1 + (config.num_channels > 4),
    )
