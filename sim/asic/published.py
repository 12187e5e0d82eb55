"""The areas that the paper tells (its Figure 13 and Table III), and which of our blocks are compared with each."""

__all__ = ["GROUPS", "PAPER_MM2", "PAPER_NODE_NM", "PAPER_TOTAL_MM2"]

PAPER_NODE_NM = 40
PAPER_MM2 = {"qk": 7.12, "pv": 7.22, "fetcher": 2.65, "softmax": 0.79, "topk": 0.50}
"""Figure 13. Their sum is 18.28: 0.43 mm² are of no block."""
PAPER_TOTAL_MM2 = {"paper": 18.71, "eighth": 1.55}
"""Preset -> the whole; the eighth is of Table III."""

GROUPS = {
    "qk": ("qk", "key_buffer"),
    "pv": ("pv", "value_buffer"),
    "fetcher": ("fetcher",),
    "softmax": ("softmax",),
    "topk": ("pruner", "select"),
    "importance": ("tokens", "head_table"),
}
"""Figure 13's part -> instances in the top. The buffers of K and V are taken to be in the paper's multiplier modules;
cumulative importance has no part of its own there."""
