"""The activity of a system's blocks, per unit with the same bits as SpAtten's (docs/energy.md)."""

from __future__ import annotations

from hdl.spec import numerics as N
from sim.energy.activity import Activity
from sim.energy.machine import max_slope_bits
from sim.rivals.work import Work, bits_of

__all__ = ["blocks_of_work"]

_KEYS = 1024
"""Most keys, for the width of sums and row ids."""


def blocks_of_work(work: Work, dim: int, bits: int) -> dict[str, Activity]:
    """Blocks as of :func:`sim.energy.machine.blocks_of`; ``search`` in the place of top-k and importance."""
    score, total = 2 * bits + bits_of(dim), N.EXP_WIDTH + bits_of(_KEYS)
    acc = total + bits
    scored, kept = work.scored * dim, work.kept * dim
    moved = 8 * (work.key_bytes + work.value_bytes + work.sorted_bytes)
    return {
        "qk": Activity(multiplied=scored * bits**2, added=scored * 2 * bits, registered=scored * 4 * bits),
        "pv": Activity(
            multiplied=kept * N.EXP_WIDTH * bits + work.rows * dim * N.RECIP_WIDTH * acc,
            added=kept * acc,
            registered=kept * (N.EXP_WIDTH + bits + acc) + work.rows * dim * acc,
        ),
        "softmax": Activity(
            multiplied=work.exponentials * (score * N.SCALE_WIDTH + (N.X_FRAC - N.EXP_INDEX) * max_slope_bits()),
            added=work.exponentials * (2 * score + total),
            registered=work.exponentials * 4 * (score + N.EXP_WIDTH),
            stored=work.exponentials * 2 * (score + N.EXP_WIDTH),
        ),
        "search": Activity(
            multiplied=work.search_steps * bits**2,
            added=work.comparisons * 2 * bits,
            registered=work.search_steps * 2 * bits,
            stored=work.search_steps * (bits + bits_of(_KEYS)),
        ),
        "fetcher": Activity(registered=4 * 8 * work.bytes),
        "sram": Activity(stored=moved + (scored + kept) * bits),
        "dram": Activity(fetched=8 * work.bytes),
    }
