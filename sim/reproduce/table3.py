"""Table III: an eighth of the machine against A3 and MNNFast."""

from __future__ import annotations

from typing import Any

from sim.reproduce import published
from sim.reproduce.cases import bert_case, generation_case
from sim.reproduce.entries import BERT_TOKENS, EIGHTH, MODEL, measured_by, peak
from sim.reproduce.figures import Entry, Figure
from sim.reproduce.lab import Lab, Point

__all__ = ["table3"]


def table3(lab: Lab) -> Figure:
    """The eighth against A3 and MNNFast."""
    entries = _modelled(lab)
    if lab.engine == "verilator":
        run = lab.run_bert(BERT_TOKENS[0], EIGHTH, layers=1)
        entries.append(
            Entry(
                series="preset eighth",
                x=f"BERT, {BERT_TOKENS[0]} tokens, dense",
                value=run.gflops_dense_equivalent,
                unit="effective GOP/s",
                kind="measured",
                source=measured_by(run),
            )
        )
    common: dict[str, Any] = {"series": "published", "unit": "effective GOP/s", "kind": "quoted"}
    for name, quoted in published.TABLE3.items():
        entries.append(Entry(x=name, value=quoted.value, source=quoted.source, **common))
    return Figure(
        name="table3",
        title="128 multipliers, 64 GB/s (paper, Table III)",
        style="bars",
        x_label="workload",
        y_label="effective GOP/s at 1 GHz",
        drawn_unit="effective GOP/s",
        entries=entries,
        notes=[
            "Effective: operations of dense attention over the time, so more than the peak of "
            f"{peak(EIGHTH):g} GOP/s is possible.",
            "The paper's number is a mean of its benchmarks; BERT here is BERT-base with the schedules of algorithm "
            f"paper-bert, and GPT-2 is {lab.workload}.",
        ],
    )


def _modelled(lab: Lab) -> list[Entry]:
    cases = [
        bert_case(f"BERT, {tokens} tokens, {title}", tokens, algorithm, EIGHTH)
        for tokens in BERT_TOKENS
        for title, algorithm in (("dense", "dense"), ("all techniques", "paper-bert"))
    ]
    cases.append(generation_case("GPT-2, all techniques", lab.rows, EIGHTH))
    common: dict[str, Any] = {"series": "preset eighth", "kind": "modelled", "source": MODEL}
    entries = []
    for case, found in zip(cases, lab.predict([Point(case.shapes, EIGHTH) for case in cases]), strict=True):
        for value, unit in (
            (case.dense_operations / found.cycles, "effective GOP/s"),
            (case.operations / found.cycles, "GOP/s"),
            (found.cycles, "cycles"),
        ):
            entries.append(Entry(x=case.name, value=value, unit=unit, **common))
    return entries
