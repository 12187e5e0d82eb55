"""What a layer did: its costs, what an engine counted, and how it compares with the golden model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from golden.host.operand_checks import row_width
from golden.host.traces import LayerTrace
from hdl.spec.config import Config
from hdl.spec.planes import PLANES
from sim.run.accelerator import Call

__all__ = ["LayerRecord", "combined", "layer_record"]


@dataclasses.dataclass(kw_only=True)
class LayerRecord:
    """What one layer did in one step, or several of them; ``None`` where the golden engine has nothing to count."""

    layer: int
    step: int
    """0: the prompt (an encoder's only step); of several steps the last"""
    heads: int
    """query heads computed"""
    heads_kept: int
    """of them, those that survive the layer's selection"""
    tokens: float
    """attended (scope head: mean of the K/V heads)"""
    tokens_kept: float
    dim: int
    rows: int
    """query rows, of all heads"""
    flat_rows: int
    """rows recomputed with the LSB plane"""
    bytes: dict[str, float]
    """Q, K and V that the rows need, by plane, and ``total``"""
    bytes_read_fp32_dense: float
    """Q, K and V of every token and K/V head read once, 4 bytes an element"""
    macs: int
    dense_macs: int
    cycles: int | None = None
    qk_utilization: float | None = None
    """scores computed over what the Q×K array could compute in the cycles of the layer"""
    limit_cycles: float | None = None
    """cycles that no schedule can beat (:mod:`sim.common.limits`)"""
    bytes_read: dict[str, int] | None = None
    """memory words read, by plane, and ``total``"""
    values_compared: int = 0
    """integers compared with the golden model"""
    mismatches: int = 0
    not_shown: list[str] = dataclasses.field(default_factory=list)
    """what the engine does not show, so that it was not compared; ``flat_rows`` are golden's if ``flat`` is among it"""
    max_error: float = 0.0
    """largest absolute error of the dequantized output against dense float attention of the same inputs"""
    relative_error: float = 0.0
    """the same as L2 norms, relative"""
    prob_error: float | None = None
    """largest absolute error of a probability of the integer model against float64 with the same quantized operands"""
    out_error: float | None = None
    """largest relative L2 error of an output row of the same"""
    counters: dict[str, int] = dataclasses.field(default_factory=dict)


def layer_record(trace: LayerTrace, calls: list[Call], dim: int, config: Config) -> LayerRecord:
    """A layer of one sequence, with the calls that it took on the engine (none on the golden model)."""
    planes = trace.traffic.by_plane
    record = LayerRecord(
        layer=trace.layer,
        step=trace.step,
        heads=int(trace.heads.sum()),
        heads_kept=int(trace.head_keep.sum()),
        tokens=_mean([table.ids.shape[1] for table in trace.tables]),
        tokens_kept=_mean([int(table.keep.sum()) for table in trace.tables]),
        dim=dim,
        rows=trace.rows,
        flat_rows=trace.flat_rows,
        bytes=planes | {"total": trace.traffic.total},
        bytes_read_fp32_dense=trace.traffic.dense,
        macs=trace.macs,
        dense_macs=trace.dense_macs,
        max_error=trace.max_error or 0.0,
        relative_error=trace.relative_error or 0.0,
    )
    if calls:
        record.cycles = sum(call.cycles for call in calls)
        record.limit_cycles = sum(call.limit_cycles for call in calls)
        record.counters = _added([call.counters for call in calls])
        record.values_compared = sum(call.values_compared for call in calls)
        record.mismatches = sum(call.mismatches for call in calls)
        record.not_shown = sorted(set().union(*(call.not_shown for call in calls)))
        record.prob_error = max(call.prob_error for call in calls)
        record.out_error = max(call.out_error for call in calls)
        word = config.channel_width // 8
        record.bytes_read = {plane: record.counters[f"{plane}_words"] * word for plane in PLANES}
        record.bytes_read["total"] = sum(record.bytes_read.values())
        record.qk_utilization = _utilization(record, config)
    return record


def _mean(counts: list[int]) -> float:
    """An int if it is whole."""
    whole, rest = divmod(sum(counts), len(counts))
    return whole + rest / len(counts) if rest else whole


def _utilization(record: LayerRecord, config: Config) -> float:
    """A line of S keys takes ``beats`` cycles, so that full use is S / beats scores a cycle."""
    width = row_width(config, record.dim)
    full = (record.cycles or 0) * config.scores_per_line(width)
    return record.counters["qk_useful"] * config.beats(width) / max(1, full)


_SUMS = ("rows", "flat_rows", "bytes_read_fp32_dense", "macs", "dense_macs", "values_compared", "mismatches")
_COUNTED = ("cycles", "limit_cycles")
_WORST = ("max_error", "relative_error", "prob_error", "out_error")


def combined(records: Sequence[LayerRecord], config: Config) -> LayerRecord:
    """Sums and worst errors of several records; tokens and heads are those of the last one.

    What only an engine counts is None unless all of them ran on one.
    """
    total = dataclasses.replace(records[-1])
    for name in _SUMS:
        setattr(total, name, sum(getattr(record, name) for record in records))
    total.not_shown = sorted(set().union(*(record.not_shown for record in records)))
    total.bytes = _added([record.bytes for record in records])
    for name in _COUNTED + _WORST:
        values = [getattr(record, name) for record in records]
        known = None not in values
        setattr(total, name, (sum(values) if name in _COUNTED else max(values)) if known else None)
    read = [record.bytes_read for record in records if record.bytes_read is not None]
    total.bytes_read = _added(read) if len(read) == len(records) else None
    total.counters = _added([record.counters for record in records]) if total.cycles is not None else {}
    total.qk_utilization = _utilization(total, config) if total.cycles is not None else None
    return total


def _added(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums of the values by name."""
    return {name: sum(part[name] for part in parts) for name in parts[0]}
