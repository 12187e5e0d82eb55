"""Bench ``core``: the arrays at work, quick-select by its cycle model, the speed of the compiled model."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from golden.datapath.topk import bench_rows, quick_select_cycles
from golden.layers.job import Job, flat_limit_of, run_job, scale_of
from hdl.spec.config import PRESETS, Config
from sim.bench.record import Record
from sim.common.limits import limits
from sim.common.mismatch import compare
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming

__all__ = ["bench_core"]


def _job(
    config: Config, generator: torch.Generator, *, keys: int, queries: int, dim: int, keep: float, **fields: int | bool
) -> Job:
    """Random head: normal scores with a spread of two nats, as trained models have, so that few rows are flat."""

    def normal(rows: int, bits: int) -> torch.Tensor:
        half = 2 ** (bits - 1)
        values = torch.randn(rows, dim, generator=generator, dtype=torch.float64) * half / 4
        return values.round().clamp(-half, half - 1).to(torch.int64)

    key_bits = int(fields.get("key_bits", 8))
    lsb_bits = int(fields.get("key_lsb_bits", 4))
    query, key, value = normal(queries, 12), normal(keys, key_bits + lsb_bits), normal(keys, 12)
    spread = float((query.double() @ key.double().T).std())
    scale, shift = scale_of(2.0 * 1.4427 / spread)
    return Job(
        query=query,
        key=key,
        value=value,
        query_bits=12,
        key_bits=key_bits,
        key_lsb_bits=lsb_bits,
        value_bits=12,
        scale=scale,
        shift=shift,
        flat_limit=flat_limit_of(float(fields.get("threshold", 0.004)), config),
        value_keep=max(1, round(keep * keys)),
        generation=bool(fields.get("generation", False)),
    )


def _measure(config: Config, jobs: list[Job]):
    """Cycles and counters of jobs on the Verilator model; every output is compared with golden."""
    for index, job in enumerate(jobs):
        job.skew = index % config.num_channels
    with make_engine("verilator", config, timing=MemoryTiming()) as engine:
        run = engine.run(jobs)
    results = [run_job(job, config) for job in jobs]
    for job, got, want in zip(jobs, run.results, results, strict=True):
        if got is None or not compare([job], [got], [want]).equal:
            raise RuntimeError(f"outputs of {job.name or 'a bench job'} differ from golden")
    return run, results


def bench_core() -> Iterator[Record]:
    """Utilization of the arrays, generation against its limit, top-k, speed of the simulation."""
    config = PRESETS["paper"]
    common = {"preset": "paper", "memory": "ideal", "command": "spatten bench core"}
    for name, keys, keep, goal in (("n128", 128, 1.0, 0.9), ("n25", 25, 1.0, 0.8), ("n128_keep30", 128, 0.3, None)):
        generator = torch.Generator().manual_seed(1)
        jobs = [_job(config, generator, keys=keys, queries=keys, dim=64, keep=keep) for _ in range(12)]
        run, _ = _measure(config, jobs)
        value = run.counters["qk_useful"] / (run.counters["cycles"] * config.scores_per_line(64))
        yield Record(name=f"qk_utilization.{name}", value=value, unit="fraction", better="higher", goal=goal, **common)
    generator = torch.Generator().manual_seed(2)
    fields = {"key_bits": 6, "key_lsb_bits": 4, "generation": True}
    jobs = [_job(config, generator, keys=1024, queries=1, dim=64, keep=0.3, **fields) for _ in range(12)]
    run, results = _measure(config, jobs)
    yield Record(
        name="generation.n1024.fraction_of_limit",
        value=limits(jobs, results, config).cycles / run.counters["cycles"],
        unit="fraction",
        better="higher",
        goal=0.9,
        **common,
    )
    yield from _bench_topk(config)
    yield from _bench_verilator(config)


def _bench_topk(config: Config) -> Iterator[Record]:
    """Cycles of quick-select by its exact cycle model, which tests hold equal to the RTL."""
    parallelism = config.topk_parallelism
    for kind in ("random", "sorted", "equal", "eight", "scores"):
        rows = bench_rows(kind, 1024, 200, 1)
        for label, k in (("half", 512), ("quarter", 256), ("tenth", 102)):
            cycles = [quick_select_cycles(row, k, parallelism) for row in rows]
            for figure, value in (("mean", float(np.mean(cycles))), ("p99", float(np.percentile(cycles, 99)))):
                yield Record(
                    name=f"topk.n1024.{kind}.{label}.{figure}",
                    value=value,
                    unit="cycles",
                    better="lower",
                    goal=170 if (kind, label, figure) == ("random", "half", "mean") else None,
                    preset="paper",
                    memory="none",
                    command="spatten bench core",
                )


def _bench_verilator(config: Config) -> Iterator[Record]:
    """Speed of the compiled model on busy cycles, and the seconds of a build from nothing."""
    from sim.engine.verilator import VerilatorEngine

    common = {"preset": "paper", "memory": "ideal", "command": "spatten bench core"}
    cache = Path(tempfile.mkdtemp(prefix="spatten-bench-"))
    try:
        begin = time.perf_counter()
        engine = VerilatorEngine(config, timing=MemoryTiming(), cache=cache)
        yield Record(
            name="verilator.paper.build_seconds",
            value=time.perf_counter() - begin,
            unit="s",
            better="lower",
            goal=None,
            **common,
        )
        with engine:
            generator = torch.Generator().manual_seed(3)
            jobs = [_job(config, generator, keys=128, queries=128, dim=64, keep=1.0) for _ in range(24)]
            begin = time.perf_counter()
            run = engine.run(jobs)
            seconds = time.perf_counter() - begin
        yield Record(
            name="verilator.paper.cycles_per_second",
            value=run.cycles / seconds,
            unit="cycles/s",
            better="higher",
            goal=None,
            **common,
        )
    finally:
        shutil.rmtree(cache)
