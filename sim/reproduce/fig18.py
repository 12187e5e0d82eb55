"""Figure 18: the roofline."""

from __future__ import annotations

from sim.reproduce import published
from sim.reproduce.cases import bert_case, generation_case
from sim.reproduce.entries import BERT_TOKENS, MODEL, PAPER, bandwidth, bytes_of, gflops, measured_by, peak
from sim.reproduce.figures import Entry, Figure
from sim.reproduce.lab import Lab, Point

__all__ = ["fig18"]


def fig18(lab: Lab) -> Figure:
    """Roofline."""
    entries = _roof() + _modelled(lab)
    if lab.engine == "verilator":
        entries += _measured(lab)
    return Figure(
        name="fig18",
        title="Roofline (paper, Fig. 18)",
        style="roofline",
        x_label="operations per byte of DRAM",
        y_label="GFLOPS at 1 GHz",
        drawn_unit="GFLOPS",
        entries=entries + _quoted(),
        notes=[
            f"GPT-2: {lab.workload}, {len(lab.rows)} rows. BERT: BERT-base, {BERT_TOKENS[1]} tokens.",
            "Operations: two for each product of a first pass over surviving keys, and of a V row kept.",
        ],
    )


def _roof() -> list[Entry]:
    roof = [2.0**power for power in range(-2, 11)]
    return [
        Entry(
            series="roof of preset paper",
            x=place,
            value=min(peak(PAPER), bandwidth(PAPER) * place),
            unit="GFLOPS",
            kind="calculated",
            source=f"{peak(PAPER):g} GFLOPS, {bandwidth(PAPER):g} GB/s at 1 GHz",
        )
        for place in sorted({*roof, peak(PAPER) / bandwidth(PAPER)})
    ]


def _modelled(lab: Lab) -> list[Entry]:
    cases = [
        generation_case("GPT-2, all techniques", lab.rows, PAPER),
        generation_case("GPT-2, dense", lab.steps[0][1], PAPER),
        bert_case("BERT, all techniques", BERT_TOKENS[1], "paper-bert", PAPER),
        bert_case("BERT, dense", BERT_TOKENS[1], "dense", PAPER),
    ]
    entries = []
    for case, found in zip(cases, lab.predict([Point(case.shapes, PAPER) for case in cases]), strict=True):
        place, value = case.operations / bytes_of(found), gflops(case.operations, found.cycles)
        entries.append(Entry(series=case.name, x=place, value=value, unit="GFLOPS", kind="modelled", source=MODEL))
    return entries


def _measured(lab: Lab) -> list[Entry]:
    runs = [
        ("GPT-2, all techniques", lab.run_rows(lab.workload, lab.rows, PAPER)),
        ("GPT-2, dense", lab.run_rows(f"{lab.workload}, dense", lab.steps[0][1], PAPER)),
        ("BERT, dense", lab.run_bert(BERT_TOKENS[1], PAPER, layers=1)),
    ]
    entries = []
    for name, run in runs:
        place, source = run.gflops * run.cycles / run.bytes["read"], measured_by(run)
        entries.append(Entry(series=name, x=place, value=run.gflops, unit="GFLOPS", kind="measured", source=source))
    return entries


def _quoted() -> list[Entry]:
    quoted, share = published.GPT2_GFLOPS, published.GPT2_ROOF_SHARE
    return [
        Entry(
            series="GPT-2, paper",
            x=quoted.value / share.value / bandwidth(PAPER),
            value=quoted.value,
            unit="GFLOPS",
            kind="quoted",
            source=f"{quoted.source}; intensity calculated: {share.source}",
        ),
        Entry(
            series="BERT, paper",
            x="intensity not known",
            value=published.BERT_GFLOPS.value,
            unit="GFLOPS",
            kind="quoted",
            source=published.BERT_GFLOPS.source,
        ),
    ]
