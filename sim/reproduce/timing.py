"""Times of all layers of attention: PyTorch on this machine, and the accelerator in the clocks that are known."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from hdl.spec.config import Config
from sim.reproduce.cases import PROMPT, STEPS, Case, bert_case, generation_case, steps_of, synthetic_rows
from sim.reproduce.entries import BERT_TOKENS, FPGA, MODEL, PAPER
from sim.reproduce.figures import Entry, Figure
from sim.reproduce.lab import Lab, Point
from sim.reproduce.torch_timing import Timing

__all__ = ["timing"]


def timing(lab: Lab) -> Figure:
    """The same attention in PyTorch on this machine."""
    entries = []
    for tokens in BERT_TOKENS:
        name = f"BERT-base, {tokens} tokens"
        entries += _timed(name, lab.timings("bert", tokens))
        cases = {
            title: functools.partial(bert_case, name, tokens, algorithm)
            for title, algorithm in (("dense", "dense"), ("all techniques", "paper-bert"))
        }
        entries += _accelerated(lab, name, cases)
    name = f"GPT-2, {PROMPT} + {STEPS} tokens"
    rows = synthetic_rows()
    entries += _timed(name, lab.timings("gpt2"))
    cases = {
        "dense": functools.partial(generation_case, name, steps_of(rows)[0][1]),
        "all techniques": functools.partial(generation_case, name, rows),
    }
    entries += _accelerated(lab, name, cases)
    clock = "not given" if lab.fpga_mhz is None else f"{lab.fpga_mhz:g} MHz"
    return Figure(
        name="timing",
        title="All 12 layers of attention: PyTorch on this machine, and the accelerator",
        style="bars",
        x_label="on",
        y_label="ms",
        drawn_unit="ms",
        logarithmic=True,
        entries=entries,
        notes=[
            "GPT-2: 32 tokens generated one by one, batch 1; synthetic survivors, algorithm paper-gpt2.",
            f"Clock of preset paper: 1 GHz, as the paper assumes; of preset ulx3s: {clock}.",
        ],
    )


def _timed(name: str, timings: Sequence[Timing]) -> list[Entry]:
    return [
        Entry(
            series=name,
            x=f"PyTorch, {timed.device}, {timed.kernel}",
            value=1e3 * timed.seconds,
            unit="ms",
            kind="measured",
            source=timed.source,
        )
        for timed in timings
    ]


def _accelerated(lab: Lab, name: str, cases: Mapping[str, Callable[[Config], Case]]) -> list[Entry]:
    """Times of the accelerator in the clocks that are known."""
    clocks = [(PAPER, 1000.0)] + ([(FPGA, lab.fpga_mhz)] if lab.fpga_mhz is not None else [])
    made = [(title, config, mhz, case(config)) for config, mhz in clocks for title, case in cases.items()]
    found = lab.predict([Point(case.shapes, config) for _, config, _, case in made])
    return [
        Entry(
            series=name,
            x=f"preset {config.name}, {mhz:g} MHz, {title}",
            value=prediction.cycles / mhz / 1e3,
            unit="ms",
            kind="modelled",
            source=f"{MODEL}: {prediction.cycles:.0f} cycles",
        )
        for (title, config, mhz, _), prediction in zip(made, found, strict=True)
    ]
