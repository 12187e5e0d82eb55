"""What a run cost: the key figures, the traffic, cycles and flat rows by layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from hdl.spec.planes import PLANES
from sim.run.page_scene import Scene
from sim.run.page_words import bytes_text, count, share
from sim.run.record import LayerView, RunRecord

__all__ = ["PLANE_STYLES", "cycle_bars", "flat_bars", "key_figures", "layer_table", "techniques", "traffic"]

# Order and meaning: golden/host/accounting.py.
TECHNIQUES = {
    "tokens": "Token pruning",
    "heads": "Head pruning",
    "values": "Local value pruning",
    "passes": "Prompt in parts",
    "quantization": "Quantization",
}
PLANE_STYLES = {
    "query": ("c0", "Q"),
    "key": ("c4", "K"),
    "key_lsb": ("c1", "K, LSBs of flat rows"),
    "value": ("c2", "V"),
}
"""Colour in the template, and name."""
STAGES = {
    "qk_beats": "Q×K at work",
    "qk_stall_key": "waits for K",
    "qk_stall_query": "waits for a query",
    "qk_stall_out": "waits for softmax and top-k",
    "select_cycles": "cascade selection",
}
"""What the Q×K array does, by counter."""


def key_figures(scene: Scene) -> Iterator[dict[str, Any]]:
    """Label, value, note; alarm if something is wrong."""
    record, last = scene.record, scene.views[-1]
    of_layers = f"mean of {len(scene.views)} layers"
    flat, rows = (sum(getattr(view, name) for view in record.layers) for name in ("flat_rows", "rows"))
    cycles = [view.cycles for view in record.layers]
    yield _figure("Less DRAM traffic", f"{record.dram_reduction:.1f}×", f"than dense attention in fp32{where(record)}")
    yield _figure(
        "Tokens kept",
        share(scene.tokens_kept),
        f"of {len(scene.words)}, {of_layers}; {count(last.tokens)} in the last",
    )
    yield _figure(
        "Heads kept", share(scene.heads_kept), f"of {len(last.heads)}, {of_layers}; {last.num_heads} in the last"
    )
    if progressive(record):
        yield _figure("Flat rows", share(flat / max(1, rows)), f"{count(flat)} of {count(rows)} read the LSBs of K")
    else:
        yield _figure("Flat rows", "none", "quantization is static")
    if any(count is not None for count in cycles):  # not of the golden model
        counted = sum(count is not None for count in cycles)
        note = "all layers" if counted == len(cycles) else f"{counted} of {len(cycles)} layers"
        yield _figure("Cycles", count(sum(count or 0 for count in cycles)), f"{note}, on {record.engine}")
    if record.values_compared:
        compared = f"of {count(record.values_compared)} values compared with the golden model"
        yield _figure("Mismatches", count(record.mismatches), compared, alarm=record.mismatches > 0)


def _figure(label: str, value: str, note: str, *, alarm: bool = False) -> dict[str, Any]:
    return {"label": label, "value": value, "note": note, "alarm": alarm}


def progressive(record: RunRecord) -> bool:
    """Whether rows may be flat at all."""
    stages = [record.algorithm.get(stage) or {} for stage in ("prompt", "attention")]
    return any(stage.get("key_lsb_bits") for stage in stages) or any(view.flat_rows for view in record.layers)


def where(record: RunRecord) -> str:
    """Whether the record's reduction is that of generation alone, as the paper counts it for GPT."""
    generation = [view for view in record.layers if view.step]
    dense, read = sum(view.dense_bytes for view in generation), sum(view.bytes_read for view in generation)
    return ", in generation" if generation and math.isclose(dense, record.dram_reduction * read, rel_tol=1e-3) else ""


def techniques(record: RunRecord) -> dict[str, Any] | None:
    """What is left of the bytes of fp32 dense attention after one technique after the other."""
    if not record.factors:
        return None
    left = 1.0
    rows: list[dict[str, Any]] = [{"name": "Dense, fp32", "factor": None, "left": left, "removed": 0.0, "added": 0.0}]
    for name, factor in record.factors.items():
        if name == "passes" and factor == 1:
            continue
        before, left = left, left / factor
        label = TECHNIQUES.get(name, name.replace("_", " ").capitalize())
        change = {"removed": max(0.0, before - left), "added": max(0.0, left - before)}
        rows.append({"name": label, "factor": factor, "left": left, **change})
    most = max(row["left"] + row["removed"] for row in rows)
    return {"rows": rows, "most": most, "adds": any(row["added"] for row in rows), "where": where(record)}


def traffic(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Bytes by plane, of the prompt and of generation."""
    generation = [view for view in record.layers if view.step]
    yield _stage("Prompt" if generation else "All layers", record.step(0))
    if generation:
        yield _stage("Generation", generation)


def _stage(name: str, views: list[LayerView]) -> dict[str, Any]:
    read = {plane: sum(view.bytes.get(plane, 0.0) for view in views) for plane in PLANES}
    total, dense = sum(read.values()), sum(view.dense_bytes for view in views)
    return {
        "name": name,
        "total": bytes_text(total),
        "dense": bytes_text(dense),
        "reduction": dense / max(1.0, total),
        "planes": [
            {"style": style, "name": label, "bytes": bytes_text(read[plane]), "share": read[plane] / max(1.0, total)}
            for plane, (style, label) in PLANE_STYLES.items()
        ],
    }


# By layer ------------------------------------------------------------------------------------------------------


def _by_layer(record: RunRecord) -> list[tuple[int, list[LayerView]]]:
    """Each layer in all its steps."""
    ordered = sorted(record.layers, key=lambda view: (view.layer, view.step))
    return [(layer, list(views)) for layer, views in itertools.groupby(ordered, key=lambda view: view.layer)]


def cycle_bars(record: RunRecord) -> dict[str, Any] | None:
    """Cycles of each layer, by what the Q×K array does; None if nobody counted."""
    rows = []
    for layer, views in _by_layer(record):
        counted = [view for view in views if view.counters]
        if counted:
            total = sum(view.cycles or 0 for view in counted)
            rows.append({"layer": layer, "total": total, "parts": _spent(counted, total)})
    most = max((row["total"] for row in rows), default=0)
    return {"rows": rows, "most": most, "names": [*STAGES.values(), "start and end"]} if most else None


def _spent(views: list[LayerView], total: int) -> list[int]:
    """Cycles by stage, and the rest; while the cascade selects, the Q×K array has no query."""
    spent = {name: sum((view.counters or {}).get(name, 0) for view in views) for name in STAGES}
    spent["qk_stall_query"] = max(0, spent["qk_stall_query"] - spent["select_cycles"])
    return [*spent.values(), max(0, total - sum(spent.values()))]


def flat_bars(record: RunRecord) -> Iterator[dict[str, Any]]:
    if progressive(record):
        for layer, views in _by_layer(record):
            flat, rows = (sum(getattr(view, name) for view in views) for name in ("flat_rows", "rows"))
            yield {"layer": layer, "flat": flat, "rows": rows, "share": flat / max(1, rows)}


def layer_table(scene: Scene) -> Iterator[list[str]]:
    """Layer, tokens, heads, rows, flat rows, bytes read and dense, share of the dense multiply-accumulates, cycles.

    No cycles if no layer has any.
    """
    counted = any(view.cycles is not None for view in scene.record.layers)
    shown = {view.layer: view for view in scene.views}
    for layer, views in _by_layer(scene.record):
        macs, dense = (sum(getattr(view, name) for view in views) for name in ("macs", "dense_macs"))
        cycles = [view.cycles for view in views if view.cycles is not None]
        yield [
            str(layer),
            count(shown[layer].tokens),
            str(shown[layer].num_heads),
            count(sum(view.rows for view in views)),
            count(sum(view.flat_rows for view in views)),
            bytes_text(sum(view.bytes_read for view in views)),
            bytes_text(sum(view.dense_bytes for view in views)),
            share(macs / max(1, dense)),
            *([count(sum(cycles)) if cycles else "–"] if counted else []),
        ]
