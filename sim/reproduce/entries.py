"""Numbers that several figures have, and the entries that tell them."""

from __future__ import annotations

from typing import Any

from hdl.spec.config import PRESETS, Config
from sim.model.model import Prediction
from sim.reproduce.cases import Case
from sim.reproduce.figures import Entry
from sim.workload.run import WorkloadResult

__all__ = [
    "BERT_TOKENS",
    "EIGHTH",
    "FPGA",
    "MODEL",
    "PAPER",
    "bandwidth",
    "bytes_of",
    "gflops",
    "measured",
    "measured_by",
    "peak",
    "speed",
]

MODEL = "sim/model/model.py"
"""Source of what the analytic model predicts."""
PAPER, EIGHTH, FPGA = (PRESETS[name] for name in ("paper", "eighth", "ulx3s"))
BERT_TOKENS = (128, 384)


def gflops(operations: float, cycles: float) -> float:
    """At 1 GHz."""
    return operations / cycles


def peak(config: Config) -> float:
    """GFLOPS of both arrays at 1 GHz."""
    return 4.0 * config.num_multipliers


def bandwidth(config: Config) -> float:
    """GB/s at 1 GHz."""
    return config.num_channels * config.channel_width / 8


def bytes_of(prediction: Prediction) -> float:
    words = sum(value for name, value in prediction.work.items() if name.endswith("_words"))
    return words * prediction.config.channel_width / 8


def measured_by(result: WorkloadResult) -> str:
    return f"Verilator, preset {result.preset}, memory {result.memory}, {result.rows_checked} rows compared with golden"


def speed(series: str, place: float, case: Case, found: Prediction) -> list[Entry]:
    common: dict[str, Any] = {"series": series, "x": place, "kind": "modelled", "source": MODEL}
    return [
        Entry(value=gflops(case.operations, found.cycles), unit="GFLOPS", **common),
        Entry(value=found.cycles, unit="cycles", **common),
    ]


def measured(series: str, place: float | str, run: WorkloadResult) -> Entry:
    return Entry(series=series, x=place, value=run.gflops, unit="GFLOPS", kind="measured", source=measured_by(run))
