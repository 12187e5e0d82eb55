"""Figure 20: the speed-up of each technique, put on one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sim.reproduce import published
from sim.reproduce.cases import LAYERS, PROMPT, STEPS, generation_case
from sim.reproduce.entries import MODEL, PAPER, measured_by
from sim.reproduce.figures import Entry, Figure
from sim.reproduce.lab import Lab, Point
from sim.workload.rows import Row

__all__ = ["fig20"]


def fig20(lab: Lab) -> Figure:
    """Step by step from dense attention to all techniques."""
    names, cases = [name for name, _ in lab.steps], [generation_case(name, rows, PAPER) for name, rows in lab.steps]
    found = [prediction.cycles for prediction in lab.predict([Point(case.shapes, PAPER) for case in cases])]
    entries = _ladder("this machine", names, found, "modelled", MODEL)
    if lab.engine == "verilator":
        runs = [lab.run_rows(f"{lab.workload}: {name}", rows, PAPER) for name, rows in lab.steps]
        counted = [float(run.cycles) for run in runs]
        entries += _ladder("this machine", names, counted, "measured", measured_by(runs[-1]))
    entries += _quoted_ladder()
    notes = [f"{lab.workload}, {len(lab.rows)} rows."]
    if _is_whole(lab.rows):
        entries += _over_pytorch(lab, found)
    else:
        notes.append("The workload is not all layers of all steps, so that no timing of PyTorch fits it.")
    return Figure(
        name="fig20",
        title="Speed-up step by step, GPT-2 (paper, Fig. 20)",
        style="bars",
        x_label="step",
        y_label="speed-up over dense attention on the same datapath",
        drawn_unit="× dense",
        entries=entries + _quoted_over_gpu(),
        notes=notes,
    )


def _quoted_ladder() -> list[Entry]:
    pruning, quantization = published.BREAKDOWN["pruning"], published.BREAKDOWN["quantization"]
    factors = [
        ("datapath, dense", 1.0, published.BREAKDOWN["datapath"].source),
        ("+ cascade pruning, top-k engine", pruning.value, pruning.source),
        ("+ progressive quantization", pruning.value * quantization.value, quantization.source),
    ]
    return [
        Entry(series="paper", x=name, value=value, unit="× dense", kind="quoted", source=source)
        for name, value, source in factors
    ]


def _over_pytorch(lab: Lab, cycles: Sequence[float]) -> list[Entry]:
    """Dense attention and all techniques against every kernel on every device."""
    return [
        Entry(
            series=f"over PyTorch, {timed.device}, {timed.kernel}",
            x=name,
            value=timed.seconds / (count * 1e-9),
            unit="× PyTorch",
            kind="modelled",
            source=f"{MODEL} at 1 GHz; {timed.source}",
        )
        for timed in lab.timings("gpt2")
        for name, count in (("dense", cycles[0]), ("all techniques", cycles[-1]))
    ]


def _quoted_over_gpu() -> list[Entry]:
    common: dict[str, Any] = {"series": "over a TITAN Xp, paper", "unit": "× TITAN Xp", "kind": "quoted"}
    quoted = (("dense", published.BREAKDOWN["datapath"]), ("all techniques", published.BREAKDOWN["all"]))
    return [Entry(x=name, value=number.value, source=number.source, **common) for name, number in quoted]


def _is_whole(rows: Sequence[Row]) -> bool:
    """Whether rows are all layers of the steps that PyTorch is timed with."""
    steps = {(row.iteration, row.layer) for row in rows}
    lengths = sorted({row.iteration: row.tokens for row in rows}.values())
    whole = list(range(PROMPT + 1, PROMPT + STEPS + 1))
    return len(steps) == LAYERS * STEPS and len(lengths) == STEPS and abs(sum(lengths) / sum(whole) - 1) < 0.02


def _ladder(series: str, names: Sequence[str], cycles: Sequence[float], kind: str, source: str) -> list[Entry]:
    common: dict[str, Any] = {"series": series, "kind": kind, "source": source}
    entries = [
        Entry(x=name, value=cycles[0] / count, unit="× dense", **common)
        for name, count in zip(names, cycles, strict=True)
    ]
    return entries + [
        Entry(x=name, value=count, unit="cycles", **common) for name, count in zip(names, cycles, strict=True)
    ]
