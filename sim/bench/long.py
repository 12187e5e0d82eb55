"""Bench ``long``: contexts of 32,768 tokens against the physical limit of the arrays and the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hdl.spec.config import PRESETS
from sim.bench.record import Record
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.workload.long import LongShape, long_workload
from sim.workload.run import WorkloadResult, run_workload

__all__ = ["bench_long"]

TOKENS, BOARD_TOKENS = 32768, 4096
BOARD_STALL = 0.75
"""Stalls that leave 16 of a word's 64 bits a cycle, as the SDRAM of the ULX3S."""
SHAPES: dict[str, tuple[float | None, LongShape]] = {
    "long.n32768.mha.d128.k8v8.dense": (0.97, LongShape(tokens=TOKENS, heads=12, dim=128)),
    "long.n32768.gqa4.d128.k8v8.keep20": (0.95, LongShape(tokens=TOKENS, heads=8, dim=128, group=4, keep=0.2)),
    "long.n32768.gqa3.d64.k4v4.dense": (0.96, LongShape(tokens=TOKENS, heads=8, group=3, key_bits=4, value_bits=4)),
    "long.n32768.mha.d64.k6v6.keep20": (None, LongShape(tokens=TOKENS, heads=12, key_bits=6, value_bits=6, keep=0.2)),
    "long.prompt.n32768.last64": (0.95, LongShape(tokens=TOKENS, heads=1, rows=64)),
}
"""Record -> least share of the limit, and what is run."""


def bench_long() -> Iterator[Record]:
    """Each record's share of the limit and its cycles; RuntimeError if a value differs from golden's."""
    for name, (goal, shape) in SHAPES.items():
        yield from _records(name, "paper-32k", shape, goal, MemoryTiming())
    _, first = next(iter(SHAPES.values()))
    yield from _records("long.hbm2", "paper-32k", first, 0.92, MemoryTiming(mode="hbm2"))
    board = LongShape(tokens=BOARD_TOKENS, heads=8, group=3, key_bits=4, value_bits=4, query_bits=10)
    name = "long.ulx3s.n4096.gqa3.k4v4.dense"
    yield from _records(name, "ulx3s-4k", board, 0.95, MemoryTiming(stall=BOARD_STALL))
    yield from _records(f"{name}.ideal", "ulx3s-4k", board, None, MemoryTiming())


def _records(name: str, preset: str, shape: LongShape, goal: float | None, timing: MemoryTiming) -> Iterator[Record]:
    config = PRESETS[preset]
    with make_engine("verilator", config, timing=timing, record_addresses=timing.mode == "hbm2") as engine:
        result = run_workload(long_workload(config, shape), engine)
    if result.mismatches:
        raise RuntimeError(f"{name}: {result.mismatches} values differ from golden's, first {result.first_mismatch}")
    memory = f"stall {timing.stall}" if timing.stall else timing.mode
    common: dict[str, Any] = {"preset": preset, "memory": memory, "command": "spatten bench long"}
    share = _share(result, timing)
    yield Record(name=name, value=share, unit="of the limit", better="higher", goal=goal, **common)
    yield Record(name=f"{name}.cycles", value=result.cycles, unit="cycles", better="lower", goal=None, **common)


def _share(result: WorkloadResult, timing: MemoryTiming) -> float:
    """Of the limit; with HBM2 of the peak less refresh, with stalls of what they leave of the memory's rate."""
    if timing.mode == "hbm2":
        assert result.peak_cycles is not None
        return result.peak_cycles / result.cycles
    return max(result.qk_limit_cycles, result.memory_limit_cycles / (1 - timing.stall)) / result.cycles
