"""Benchmarks: every figure of the project in one format, counted in cycles where possible (``spatten bench``)."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden.datapath.topk import bench_rows, quick_select_cycles
from golden.layers.job import Job, flat_limit_of, run_job, scale_of
from hdl.spec.config import PRESETS, Config
from sim.common.limits import limits
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming

__all__ = ["BENCH_DIR", "Record", "bench_accuracy", "bench_core", "json_of"]

BENCH_DIR = Path("build/bench")


@dataclasses.dataclass(kw_only=True)
class Record:
    """One measured figure. goal: None if it is only reported."""

    name: str
    value: float
    unit: str
    better: str
    goal: float | None
    preset: str
    memory: str
    command: str

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


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
        if got is None or not torch.equal(got.out, want.out) or not torch.equal(got.probs, want.probs):
            raise RuntimeError(f"outputs of {job.name or 'a bench job'} differ from golden")
    return run, results


def bench_core() -> Iterator[Record]:
    """Issue 'The core': utilization, generation, top-k, simulation speed."""
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


def bench_accuracy() -> Iterator[Record]:
    """Quality against DRAM traffic of the tuned algorithms, and whole models on the RTL.

    Needs the folder SPATTEN_DATA with text/wikitext-2-valid.txt and sts/2014-*.tsv, sts/2015-*.tsv. All figures are of
    the second half of each file; the algorithms were tuned on the first.
    """
    folder = _data_folder()
    text = str(folder / "text" / "wikitext-2-valid.txt")
    perplexity = ["eval", "ppl", "smollm2", "--text", text, "--windows", "32", "--part", "second"]
    for limit, algorithm in ((5, "smollm2-5pct"), (1, "smollm2-1pct"), (5, "smollm2-cascade")):
        figures, command = json_of([*perplexity, "--algorithm", algorithm])
        found = figures["ppl"] / figures["dense_ppl"] - 1
        strict = "" if algorithm != "smollm2-cascade" else "cascade."
        yield from _quality(
            "smollm2", f"{strict}dram_reduction_at_{limit}pct_ppl", figures, found, limit / 100, command
        )
    files = [str(path) for year in (2014, 2015) for path in sorted((folder / "sts").glob(f"{year}-*.tsv"))]
    figures, command = json_of(["eval", "sts", "minilm", *files, "--part", "second", "--algorithm", "minilm-1pt"])
    lost = figures["dense_spearman"] - figures["spearman"]
    yield from _quality("minilm", "dram_reduction_at_1pt_spearman", figures, lost, 1.0, command)
    yield from _rtl("minilm", ["--algorithm", "paper-bert"])
    with tempfile.TemporaryDirectory() as work:
        prompt = Path(work) / "prompt.txt"
        prompt.write_text(_beginning(Path(text), 512))
        yield from _rtl("smollm2", ["--text", f"@{prompt}", "--generate", "5", "--algorithm", "smollm2-5pct"])


_GOALS = {"dram_reduction_at_5pct_ppl": 10.0, "dram_reduction_at_1pt_spearman": 7.0}


def _data_folder() -> Path:
    folder = os.environ.get("SPATTEN_DATA", "")
    if not (Path(folder) / "text" / "wikitext-2-valid.txt").is_file() or not list(Path(folder).glob("sts/2014-*.tsv")):
        raise ValueError(f"SPATTEN_DATA must be a folder with text/wikitext-2-valid.txt and sts/*.tsv, not {folder!r}")
    return Path(folder)


def json_of(arguments: list[str]) -> tuple[dict[str, Any], str]:
    """What a command of ``spatten`` writes with --json, and the command; RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, "-m", "spatten", *arguments, "--json", str(path)]
        status = subprocess.run(command, check=False).returncode
        if not path.is_file():
            raise RuntimeError(f"spatten {shlex.join(arguments)} ended with exit status {status}")
        return json.loads(path.read_text()), f"spatten {shlex.join(arguments)}"


def _quality(
    model: str, name: str, figures: dict[str, Any], loss: float, limit: float, command: str
) -> Iterator[Record]:
    """The reduction counts if the loss is within the limit, else it is 0; the loss is told beside it."""
    common: dict[str, Any] = {"preset": "paper", "memory": "none", "command": command}
    yield Record(
        name=f"{model}.{name}",
        value=figures["dram_reduction"] if loss <= limit else 0.0,
        unit="x",
        better="higher",
        goal=_GOALS.get(name),
        **common,
    )
    yield Record(name=f"{model}.{name}.loss", value=loss, unit="", better="lower", goal=limit, **common)


def _rtl(model: str, options: list[str]) -> Iterator[Record]:
    """A whole model on the RTL, every value against golden."""
    figures, command = json_of(["run", model, "--preset", "paper", "--engine", "verilator", *options])
    common: dict[str, Any] = {"better": "lower", "preset": "paper", "memory": "ideal", "command": command}
    yield Record(name=f"{model}.rtl_vs_golden.mismatches", value=figures["mismatches"], unit="values", goal=0, **common)
    yield Record(
        name=f"{model}.rtl_vs_golden.values_compared",
        value=figures["values_compared"],
        unit="values",
        goal=None,
        **common,
    )
    yield Record(name=f"{model}.rtl_vs_golden.cycles", value=figures["cycles"], unit="cycles", goal=None, **common)


def _beginning(path: Path, tokens: int) -> str:
    """The least beginning of a text, in whole words, that is so many tokens of SmolLM2."""
    from golden.models.load import CausalModel

    model, words = CausalModel.load("smollm2"), path.read_text(encoding="utf-8").split()
    count = tokens // 2
    while len(model.encode(" ".join(words[:count]))) < tokens:
        count += 1
    return " ".join(words[:count])
