"""Bench ``ip``: what a user of the core as an IP gets."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from golden.layers.job import Job, scale_of
from golden.layers.layer_job import LayerJob
from golden.layers.synthetic import make_tensor
from hdl.spec.config import PRESETS, Config
from hdl.verilog import to_verilog
from sim.bench.campaign import bench_campaign
from sim.bench.host_time import bench_host_time
from sim.bench.record import Record, json_of
from sim.bench.workloads import PER8, data_folder
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.workload.generation import csv_workload
from sim.workload.run import run_workload

__all__ = ["bench_ip", "generation_layers"]

GOALS_MB = {"tiny": 2.0, "paper": 10.0}
"""Preset -> most that its Verilog may take."""

TEXT = (
    "The history of computing is a history of moving less data. Early machines kept their programs on drums, and the "
    "engineer who placed each instruction well made the machine several times as fast. Today a processor adds numbers "
    "in a fraction of the time that it takes to fetch them, so a good design is one which does not fetch"
)
"""64 tokens of SmolLM2."""
MODELS = {
    "minilm": ("tiny", ("minilm", "--preset", "tiny")),
    "smollm2": ("ulx3s", ("smollm2", "--preset", "ulx3s", "--generate", "8", "--text", TEXT)),
}
"""Model that runs on the engine axi -> preset and arguments."""
LITEX = Path(__file__).resolve().parents[2] / "examples/litex/simulate.py"
"""Of a checkout."""
LAYERS, KEYS, HEADS, DIM = 10, 48, 4, 32
"""Of the generation layers whose gaps are measured."""


def bench_ip() -> Iterator[Record]:
    """All figures of the bench; the last two need the folder SPATTEN_DATA."""
    yield from _bench_verilog()
    yield from _bench_models()
    yield _bench_lut(PRESETS["ulx3s"])
    yield _bench_layer_gap(PRESETS["tiny"])
    yield bench_host_time()
    if LITEX.is_file() and importlib.util.find_spec("litex") is not None:  # the extra ``litex``
        yield _bench_litex()
    yield from bench_campaign()  # the extra ``cocotb``
    yield from _bench_per8()


def _bench_verilog() -> Iterator[Record]:
    """Size of the Verilog, all modules and the header of the text included; 1 MB is 10^6 bytes."""
    for preset, goal in GOALS_MB.items():
        yield Record(
            name=f"verilog.{preset}_mb",
            value=len(to_verilog(PRESETS[preset]).encode()) / 1e6,
            unit="MB",
            better="lower",
            goal=goal,
            preset=preset,
            memory="none",
            command="spatten bench ip",
        )


def _bench_models() -> Iterator[Record]:
    """Values of models on the AXI top that are not golden's: outputs, survivors and counts of flat rows."""
    for model, (preset, arguments) in MODELS.items():
        metrics, command = json_of(["run", *arguments, "--engine", "axi"])
        yield Record(
            name=f"axi.{model}.mismatches",
            value=metrics["mismatches"],
            unit="values",
            better="lower",
            goal=0,
            preset=preset,
            memory=metrics["memory"],
            command=command,
        )


def _bench_per8() -> Iterator[Record]:
    """What commands in memory and bursts cost the authors' workload, at the latencies of an ideal memory and a far one.

    Beside it runs the core with its streams, whose channels take a word each cycle however many are in flight.
    """
    config, path = PRESETS["paper"], data_folder() / PER8
    for name, latency, goal in (("overhead", 20, 0.01), ("latency100_16x16.fraction", 100, 0.95)):
        cycles = []
        for engine_name in ("verilator", "axi"):
            with make_engine(engine_name, config, timing=MemoryTiming(latency=latency)) as engine:
                result = run_workload(csv_workload(path, config), engine)
            if result.mismatches:
                raise RuntimeError(f"per8 on {engine_name}: {result.mismatches} values differ: {result.first_mismatch}")
            cycles.append(result.cycles)
        streams, axi = cycles
        yield Record(
            name=f"axi.per8.{name}",
            value=axi / streams - 1 if name == "overhead" else streams / axi,
            unit="fraction",
            better="lower" if name == "overhead" else "higher",
            goal=goal,
            preset=config.name,
            memory="ideal",
            command="spatten bench ip",
        )


def _bench_lut(config: Config) -> Record:
    """LUT4 of the ECP5 that registers, commands, managers and results take: of the AXI top less those of its core."""
    used = {}
    for block in ("SpAttenAXI", "SpAtten"):
        report, _ = json_of(["synth", "--preset", config.name, "--block", block])
        used[block] = report["usage"]["LUT"]
    return Record(
        name="axi.lut_ulx3s",
        value=used["SpAttenAXI"] - used["SpAtten"],
        unit="LUT4",
        better="lower",
        goal=None,
        preset=config.name,
        memory="none",
        command="spatten bench ip",
    )


def _bench_layer_gap(config: Config) -> Record:
    """Cycles that a layer of generation takes longer as a command in memory than as a descriptor from a stream.

    With a memory that answers in a cycle: a slower one makes the layer itself longer, by the cycles of the managers
    times the reads that wait for each other, which is no gap.
    """
    periods = []
    for name in ("axi", "verilator"):
        with make_engine(name, config, timing=MemoryTiming(latency=1)) as engine:
            finished = engine.run_layers(generation_layers()).finished
        periods.append((finished[-1] - finished[1]) / (LAYERS - 1))  # after the list and a layer
    return Record(
        name="axi.layer_gap_cycles",
        value=periods[0] - periods[1],
        unit="cycles",
        better="lower",
        goal=40,
        preset=config.name,
        memory="latency 1",
        command="spatten bench ip",
    )


def _bench_litex() -> Record:
    """Words that the firmware of a simulated SoC finds other than golden's (``make litex-sim``)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        status = subprocess.run([sys.executable, str(LITEX), "--json", str(path)], check=False).returncode
        if not path.is_file():
            raise RuntimeError(f"{LITEX.name} ended with exit status {status}")
        found = json.loads(path.read_text())
    return Record(
        name="litex.mismatches",
        value=found["mismatches"],
        unit="words",
        better="lower",
        goal=0,
        preset=found["preset"],
        memory="LiteX",
        command="make litex-sim",
    )


def generation_layers() -> list[LayerJob]:
    """A list of tokens, then layers of one query each on the survivors, all of which survive."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.arange(KEYS)
    layers = [
        LayerJob(
            jobs=[],
            kv_heads=[],
            head_ids=[],
            head_weight=[],
            head_importance=[],
            ids=ids,
            importance=torch.zeros(KEYS, dtype=torch.int64),
            num_tokens=KEYS,
            select=False,
        )
    ]
    for _ in range(LAYERS):
        jobs = [_job(generator, ids, head) for head in range(HEADS)]
        heads = list(range(HEADS))
        layers.append(
            LayerJob(
                jobs=jobs,
                kv_heads=heads,
                head_ids=heads,
                head_weight=[1] * HEADS,
                head_importance=[0] * HEADS,
                ids=None,
                importance=None,
                head_keep=HEADS,
                num_tokens=KEYS,
                token_keep=KEYS,
            )
        )
    return layers


def _job(generator: torch.Generator, ids: torch.Tensor, head: int) -> Job:
    """A head of such a layer: a third of V is read."""
    scale, shift = scale_of(2.0**-14)
    return Job(
        query=make_tensor(generator, 1, DIM, bits=8),
        key=make_tensor(generator, KEYS, DIM, bits=8),
        value=make_tensor(generator, KEYS, DIM, bits=8),
        ids=ids,
        query_bits=8,
        key_bits=8,
        value_bits=8,
        scale=scale,
        shift=shift,
        value_keep=KEYS // 3,
        generation=True,
        head=head,
        accumulate=True,
    )
