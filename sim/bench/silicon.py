"""Bench ``silicon``: energy of SpAtten's eighth, estimated from the counters of runs of its RTL."""

from __future__ import annotations

from collections.abc import Iterator

from hdl.spec.config import PRESETS
from sim.bench.record import Record, json_of
from sim.bench.workloads import PER8, data_folder
from sim.energy.constants import PUBLISHED
from sim.energy.estimate import estimate

__all__ = ["bench_silicon"]


def bench_silicon() -> Iterator[Record]:
    """GOP/J of the authors' GPT-2 workload and of BERT, counted as the paper counts; needs the folder SPATTEN_DATA."""
    runs = (
        ("energy.bert.gop_per_j", ["--shape", "bert", "--tokens", "128", "--layers", "1"], None),
        ("energy.per8.gop_per_j", [str(data_folder() / PER8)], PUBLISHED["gop_per_j"]),
    )
    for name, options, goal in runs:
        run, command = json_of(["workload", *options, "--preset", "eighth"])
        [part] = estimate(run, PRESETS["eighth"])["parts"].values()
        yield Record(
            name=name,
            value=part["gop_per_j"],
            unit="GOP/J",
            better="higher",
            goal=goal,
            preset="eighth",
            memory="ideal",
            command=command,
        )
