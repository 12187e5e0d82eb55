"""Bench ``workloads``: the authors' workloads, BERT shapes and the fetcher at full size, against their limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from golden.layers.job import Job, JobResult, scale_of
from golden.layers.synthetic import make_tensor, nested_ids
from hdl.spec.config import PRESETS, Config
from sim.bench.record import Record
from sim.engine.engine import RunResult
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.model.model import predict
from sim.model.shape import shapes_of
from sim.workload.generation import csv_workload
from sim.workload.run import WorkloadResult, run_workload
from sim.workload.shape import bert_workload
from sim.workload.workload import Workload

__all__ = ["PER8", "bench_workloads", "crossbar_jobs", "data_folder"]

COMMAND = "spatten bench workloads"
PER8, DENSE = "gpt2-small-wikitext2-per8.csv", "gpt2-small-wikitext2-dense.csv"
KEEPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Parts of 1,024 tokens that survive, of the curve of the fetcher."""


def data_folder() -> Path:
    """Folder of the CSV files: SPATTEN_DATA/workloads."""
    named = os.environ.get("SPATTEN_DATA")
    if named is None or not (Path(named) / "workloads" / PER8).is_file():
        raise ValueError(f"SPATTEN_DATA must name a folder with workloads/{PER8}, not {named!r}")
    return Path(named) / "workloads"


def crossbar_jobs(config: Config, keep: float, *, tokens: int = 1024, heads: int = 192, seed: int = 0) -> list[Job]:
    """Generation on the same random survivors in every head, bound by memory: K and V of 12 bits, all V rows kept."""
    generator = torch.Generator().manual_seed(seed)
    ids = None
    if keep < 1:
        ids = nested_ids(torch.rand(tokens, generator=generator), tokens, round(keep * tokens))
    scale, shift = scale_of(2.0**-20)
    key, value = (make_tensor(generator, tokens, 64, bits=12) for _ in range(2))
    count = tokens if ids is None else len(ids)
    return [
        Job(
            query=make_tensor(generator, 1, 64, bits=12),
            key=key,
            value=value,
            ids=ids,
            query_bits=12,
            key_bits=12,
            value_bits=12,
            scale=scale,
            shift=shift,
            value_keep=count,
            generation=True,
            skew=head % config.num_channels,
            name=f"head {head}",
        )
        for head in range(heads)
    ]


def bench_workloads() -> Iterator[Record]:
    """Cycles of whole workloads on the Verilator models of `paper` and `eighth`; needs the folder SPATTEN_DATA."""
    folder, config = data_folder(), PRESETS["paper"]
    errors: list[float] = []
    yield from _authors(folder, config, errors)
    yield from _bert(config, errors)
    # Table III: products of the dense attention over the time that all techniques leave.
    eighth = _run(csv_workload(folder / PER8, PRESETS["eighth"]), PRESETS["eighth"], errors)
    yield _record("eighth.effective_gops", eighth.gflops_dense_equivalent, "GOP/s", "higher", 360, preset="eighth")
    topk = _run(_topk_workload(config), config, errors)
    exposed = topk.stalls["prune_stall_topk"] / topk.rows
    yield _record("topk.exposed_cycles.mean", exposed, "cycles/row", "lower", 40)
    for keep in KEEPS:
        name, value = f"crossbar.keep{round(100 * keep)}.fraction_of_peak", _fraction_of_peak(config, keep)
        yield _record(name, value, "fraction", "higher", 0.93 if keep >= 0.3 else None)
    yield _record("model.max_error", max(errors), "fraction", "lower", 0.05)


def _record(name: str, value: float, unit: str, better: str, goal: float | None, **given: str) -> Record:
    common = {"preset": "paper", "memory": "ideal", "command": COMMAND}
    return Record(name=name, value=value, unit=unit, better=better, goal=goal, **(common | given))


def _run(workload: Workload, config: Config, errors: list[float], memory: str = "ideal") -> WorkloadResult:
    """The run of a workload, equal to golden; with an ideal memory ``errors`` gets that of the analytic model."""
    timing = MemoryTiming(mode=memory)
    runs: list[RunResult] = []
    with make_engine("verilator", config, timing=timing, record_addresses=memory == "hbm2") as engine:
        result = run_workload(workload, engine, on_run=runs.append)
    if result.mismatches:
        raise RuntimeError(f"{workload.name}: {result.mismatches} values differ: {result.first_mismatch}")
    if memory == "ideal":
        done = [found for found in runs[0].results if isinstance(found, JobResult)]
        predicted = predict(shapes_of(workload.jobs, done), config, timing).cycles
        errors.append(abs(predicted / result.cycles - 1))
    return result


def _authors(folder: Path, config: Config, errors: list[float]) -> Iterator[Record]:
    """The authors' GPT-2 workloads, pruned and dense, on both memories."""
    per8 = _run(csv_workload(folder / PER8, config), config, errors)
    yield _record("per8.cycles", per8.cycles, "cycles", "lower", 206_000)
    yield _record("per8.gflops", per8.gflops, "GFLOPS", "higher", 950)
    yield _record("per8.fraction_of_limit", per8.fraction_of_limit, "fraction", "higher", 196_103 / 206_000)
    yield _record("verilator.paper.cycles_per_second", per8.cycles_per_second, "cycles/s", "higher", 20_000)
    dense = _run(csv_workload(folder / DENSE, config), config, errors)
    yield _record("dense.fraction_of_limit", dense.fraction_of_limit, "fraction", "higher", 1 / 1.05)
    for name, file in (("per8", PER8), ("dense", DENSE)):
        slow = _run(csv_workload(folder / file, config), config, errors, memory="hbm2")
        shares = (
            ("deliverable", slow.fraction_of_deliverable, 0.9),
            ("wide_window", slow.fraction_of_wide_window, None),
            ("peak", slow.fraction_of_peak, 0.97 if name == "dense" else None),
        )
        for of, value, goal in shares:
            yield _record(f"{name}.hbm2.fraction_of_{of}", value or 0.0, "fraction", "higher", goal, memory="hbm2")
        most = 230_000 if name == "per8" else None
        yield _record(f"{name}.hbm2.cycles", slow.cycles, "cycles", "lower", most, memory="hbm2")


def _bert(config: Config, errors: list[float]) -> Iterator[Record]:
    mixed = [20 + 5 * (index * 5 % 9) for index in range(9)]  # 20, 45, 25, 50, … 60
    for name, lengths, layers in (("mixed", mixed, 2), ("L128", [128], 4), ("L384", [384], 1)):
        bert = _run(bert_workload(config, lengths, layers=layers), config, errors)
        yield _record(f"bert.{name}.utilization", bert.utilization["arrays"], "fraction", "higher", 0.95)


def _topk_workload(config: Config) -> Workload:
    """Rows of 1,024 keys, 30 % of V kept, in generation."""
    jobs = crossbar_jobs(config, 1.0, heads=48, seed=3)
    for job in jobs:
        job.value_keep, job.key_bits, job.value_bits = 307, 12, 6
        job.value = job.value >> 6
    return Workload(name="top-k", jobs=jobs, tokens=[1024] * len(jobs), flat=None, facts={})


def _fraction_of_peak(config: Config, keep: float) -> float:
    """Words read over what the channels could have given in the whole run, its start and end included."""
    with make_engine("verilator", config, timing=MemoryTiming()) as engine:
        run = engine.run(crossbar_jobs(config, keep))
    return sum(run.words_read) / (run.cycles * config.num_channels)
