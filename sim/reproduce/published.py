"""Numbers of the paper that figures are compared with: Wang, Zhang, Han, "SpAtten", HPCA 2021 (arXiv 2012.09852)."""

from __future__ import annotations

import dataclasses

__all__ = [
    "BERT_GFLOPS",
    "BREAKDOWN",
    "BUFFER_KB",
    "GPT2_GFLOPS",
    "GPT2_ROOF_SHARE",
    "TABLE3",
    "TOPK_GFLOPS",
    "Quoted",
]


@dataclasses.dataclass(frozen=True)
class Quoted:
    value: float
    source: str
    """figure or table of the paper"""


BERT_GFLOPS = Quoted(1610.0, "paper, Fig. 18")
GPT2_GFLOPS = Quoted(430.0, "paper, Fig. 18")
GPT2_ROOF_SHARE = Quoted(0.4, "about 40 % of the roof (Fig. 18)")

TOPK_GFLOPS = {
    parallelism: Quoted(gflops, "paper, Fig. 19 (left)")
    for parallelism, gflops in ((1, 168.0), (2, 299.0), (4, 485.0), (8, 653.0), (16, 776.0), (32, 771.0))
}
"""GPT-2, by the comparators of a top-k engine."""

BUFFER_KB = Quoted(196.0, "paper, Table I: K SRAM and V SRAM each, 2 × 1024 rows of 64 × 12 bit")

BREAKDOWN = {
    "datapath": Quoted(22.1, "paper, Fig. 20: GPT-2, over a TITAN Xp"),
    "pruning": Quoted(3.4, "paper, Fig. 20: cascade pruning with the top-k engine"),
    "quantization": Quoted(2.8, "paper, Fig. 20: progressive quantization"),
    "all": Quoted(209.0, "paper, Fig. 20: all techniques over a TITAN Xp"),
}
"""Speed-up of each step over the one before."""

TABLE3 = {
    "MNNFast": Quoted(120.0, "paper, Table III"),
    "A3": Quoted(221.0, "paper, Table III"),
    "SpAtten 1/8": Quoted(360.0, "paper, Table III"),
}
"""Effective GOP/s, 128 multipliers and 64 GB/s each: operations of dense attention over the time."""
