"""The run of a workload: its cycles against the physical limits, its results against golden (docs/workload.md)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from golden.layers.job import Job, JobOutputs, JobResult, run_job, run_jobs
from hdl.spec.config import Config
from hdl.spec.planes import PLANES
from sim.common.limits import chain_limits, limits, plane_bits
from sim.common.mismatch import compare
from sim.common.threads import one_thread
from sim.engine.deliverable import WIDE_WINDOW, deliverable_cycles, peak_cycles
from sim.engine.engine import Engine, RunResult
from sim.workload.workload import Workload

__all__ = ["WorkloadResult", "run_workload"]

LEAST_CHECKED = 32
"""Rows of generation that are compared with golden, if there are so many."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkloadResult:
    """Figures of a run (docs/workload.md has the formulas)."""

    workload: str
    facts: dict[str, Any]
    preset: str
    engine: str
    memory: str
    jobs: int
    rows: int
    flat_rows: int
    cycles: int
    """From the start of the run to the last status."""
    limit_cycles: float
    qk_limit_cycles: float
    memory_limit_cycles: float
    deliverable_cycles: int | None
    """In which the memory alone gives the same words, in the same order, with as many requests in flight: "same
    window"; None: addresses were not recorded."""
    wide_window_cycles: int | None
    """The same with at least WIDE_WINDOW requests in flight."""
    peak_cycles: int | None
    """Of the fullest channel's words at the peak rate, for HBM2 less the refresh: independent of order and window."""
    gflops: float
    """Products needed, times two, over the time at 1 GHz: first passes over surviving keys, and kept values."""
    gflops_dense_equivalent: float
    """The same if nothing had been pruned."""
    bytes: dict[str, int]
    """fp32 dense, what is left after each technique, and what was read."""
    bytes_read: dict[str, int]
    """By plane."""
    utilization: dict[str, float]
    stalls: dict[str, int]
    """Cycles by cause."""
    counters: dict[str, int]
    """All that the hardware counts (hdl/control/counters.py)."""
    sizes: dict[str, float]
    """Means over the jobs' elements: dim, key_bits (MSBs), value_bits."""
    rows_checked: int
    values_compared: int
    value_mismatches: int
    flat_mismatches: int
    """Rows of all whose flat flag is not the workload's; without flags, by how many their count is wrong."""
    not_shown: list[str]
    """What the engine does not show, so that it was not compared; with ``flat`` among it ``flat_rows`` are golden's."""
    first_mismatch: str | None
    seconds: float
    """Of the engine's run: packing of the memory, simulation, results."""

    @property
    def mismatches(self) -> int:
        return self.value_mismatches + self.flat_mismatches

    @property
    def fraction_of_limit(self) -> float:
        return self.limit_cycles / self.cycles

    @property
    def fraction_of_deliverable(self) -> float | None:
        return _share(self.deliverable_cycles, self.cycles)

    @property
    def fraction_of_wide_window(self) -> float | None:
        return _share(self.wide_window_cycles, self.cycles)

    @property
    def fraction_of_peak(self) -> float | None:
        return _share(self.peak_cycles, self.cycles)

    @property
    def cycles_per_second(self) -> float:
        return self.cycles / self.seconds

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {name: getattr(self, name) for name in _DERIVED}


_DERIVED = (
    "mismatches",
    "fraction_of_limit",
    "fraction_of_deliverable",
    "fraction_of_wide_window",
    "fraction_of_peak",
    "cycles_per_second",
)
"""Figures of the JSON that follow from the others."""


def _share(least: int | None, cycles: int) -> float | None:
    return None if least is None else least / cycles


@one_thread()
def run_workload(
    workload: Workload,
    engine: Engine,
    *,
    check: int = 100,
    progress: Callable[[int, int], None] | None = None,
    on_run: Callable[[RunResult], None] = lambda run: None,
) -> WorkloadResult:
    """Run a workload and compare every ``check``-th job, at least LEAST_CHECKED of them, and all flat rows with golden.

    An engine that shows outputs only is compared in all jobs, for golden tells which rows are flat. One made with
    ``record_addresses`` gives what its memory alone would take. on_run: called with what the engine gave.
    """
    started = time.perf_counter()
    run = engine.run(workload.jobs, progress=progress)
    seconds = time.perf_counter() - started
    on_run(run)
    config, shown = engine.config, [result for result in run.results if result is not None]
    results, golden = _completed(workload, shown, config)
    needed = _products(workload, results)
    return WorkloadResult(
        workload=workload.name,
        facts=workload.facts,
        preset=config.name,
        engine=engine.name,
        memory=run.memory,
        jobs=len(workload.jobs),
        rows=sum(job.rows for job in workload.jobs),
        flat_rows=sum(int(result.flat.sum()) for result in results),
        cycles=run.cycles,
        **_limits(workload, results, run, engine),
        gflops=2 * (needed["first"] + needed["value"]) / run.cycles,
        gflops_dense_equivalent=2 * _dense_products(workload) / run.cycles,
        bytes=_bytes(workload, results) | {"read": sum(run.words_read) * config.channel_width // 8},
        bytes_read={plane: run.counters[f"{plane}_words"] * config.channel_width // 8 for plane in PLANES},
        utilization=_utilization(needed, run, config),
        **_counts(workload, run),
        **(_all(workload, shown, golden, run) if golden else _comparison(workload, results, config, check)),
        seconds=seconds,
    )


def _completed(
    workload: Workload, shown: Sequence[JobOutputs], config: Config
) -> tuple[list[JobResult], list[JobResult] | None]:
    """(results with what the engine does not show as golden has it, golden's results; None: it shows all)."""
    results = [result for result in shown if isinstance(result, JobResult)]
    if len(results) == len(shown):
        return results, None
    golden = run_jobs(workload.jobs, config)
    return [dataclasses.replace(want, out=mine.out) for mine, want in zip(shown, golden, strict=True)], golden


def _limits(workload: Workload, results: Sequence[JobResult], run: RunResult, engine: Engine) -> dict[str, Any]:
    """Cycles that no schedule can beat, and those in which the memory alone gives the same words."""
    limit = (
        chain_limits(workload.jobs, engine.config)
        if _chained(workload)
        else limits(workload.jobs, results, engine.config)
    )
    return {
        "limit_cycles": limit.cycles,
        "qk_limit_cycles": limit.qk_cycles,
        "memory_limit_cycles": limit.memory_cycles,
        **_of_the_memory_alone(run, engine),
    }


def _of_the_memory_alone(run: RunResult, engine: Engine) -> dict[str, int | None]:
    """Cycles of its words by what is granted to the memory; None: addresses were not recorded."""
    if run.addresses is None:
        return dict.fromkeys(("deliverable_cycles", "wide_window_cycles", "peak_cycles"))
    machine = (run.addresses, engine.timing, engine.config)
    return {
        "deliverable_cycles": deliverable_cycles(*machine),
        "wide_window_cycles": deliverable_cycles(*machine, window=WIDE_WINDOW),
        "peak_cycles": peak_cycles(*machine),
    }


def _comparison(workload: Workload, results: Sequence[JobResult], config: Config, check: int) -> dict[str, Any]:
    """Chosen jobs against golden, and the flat flags of all."""
    jobs, wrong = workload.jobs, _wrong_flags(workload, results)
    if _chained(workload):  # a job's result is that of all the jobs before it
        chosen, golden = list(range(len(jobs))), run_jobs(jobs, config)
    else:
        chosen = _sample(results, wrong, check)
        golden = [run_job(jobs[index], config) for index in chosen]
    report = compare([jobs[index] for index in chosen], [results[index] for index in chosen], golden)
    return {
        "rows_checked": sum(jobs[index].rows for index in chosen),
        "values_compared": report.compared,
        "value_mismatches": report.mismatches,
        "flat_mismatches": len(wrong),
        "not_shown": [],
        "first_mismatch": str(report.first) if report.first else f"flat of {jobs[wrong[0]].name}" if wrong else None,
    }


def _all(
    workload: Workload, shown: Sequence[JobOutputs], golden: Sequence[JobResult], run: RunResult
) -> dict[str, Any]:
    """All that an engine shows which shows outputs only, and its count of flat rows, against golden."""
    report = compare(workload.jobs, shown, golden)
    flat, told = sum(int(result.flat.sum()) for result in golden), run.counters["flat_rows"]
    return {
        "rows_checked": sum(job.rows for job in workload.jobs),
        "values_compared": report.compared,
        "value_mismatches": report.mismatches,
        "flat_mismatches": abs(told - flat),
        "not_shown": sorted(report.hidden),
        "first_mismatch": str(report.first)
        if report.first
        else None
        if told == flat
        else f"{told} rows are flat, not {flat}",
    }


def _chained(workload: Workload) -> bool:
    return any(job.chained for job in workload.jobs)


def _wrong_flags(workload: Workload, results: Sequence[JobResult]) -> list[int]:
    """Jobs whose row is flat, or not, against the workload."""
    if workload.flat is None:
        return []
    pairs = zip(results, workload.flat, strict=True)
    return [index for index, (result, flat) in enumerate(pairs) if bool(result.flat.all()) != flat]


def _sample(results: Sequence[JobResult], wrong: Sequence[int], check: int) -> list[int]:
    every = max(1, min(check, len(results) // LEAST_CHECKED))
    flat = [index for index, result in enumerate(results) if result.flat.any()]
    return sorted({*range(0, len(results), every), *flat, *wrong})


def _products(workload: Workload, results: Sequence[JobResult]) -> dict[str, int]:
    """Products of the first passes, the second passes, and prob×V."""
    products: dict[str, int] = dict.fromkeys(("first", "second", "value"), 0)
    for job, result in zip(workload.jobs, results, strict=True):
        lengths = job.mask().sum(-1)
        products["first"] += job.dim * int(lengths.sum())
        products["second"] += job.dim * int(lengths[result.flat].sum())
        products["value"] += job.dim * int(lengths.clamp(max=job.value_keep).sum())
    return products


def _dense_products(workload: Workload) -> int:
    return sum(2 * job.dim * job.rows * tokens for job, tokens in zip(workload.jobs, workload.tokens, strict=True))


def _bytes(workload: Workload, results: Sequence[JobResult]) -> dict[str, int]:
    """Q, K and V in fp32, all tokens; only survivors; only kept V rows; in the planes' widths, flat rows' LSBs too."""
    counts = dict.fromkeys(("fp32_dense", "token_pruning", "value_pruning", "quantization"), 0)
    bits = 0
    for job, tokens, result in zip(workload.jobs, workload.tokens, results, strict=True):
        values = job.value_keep if job.generation else job.num_keys
        counts["fp32_dense"] += 4 * job.dim * (job.rows + 2 * tokens)
        counts["token_pruning"] += 4 * job.dim * (job.rows + 2 * job.num_keys)
        counts["value_pruning"] += 4 * job.dim * (job.rows + job.num_keys + values)
        bits += sum(plane_bits(job, flat=bool(result.flat.any())).values())
    return counts | {"quantization": bits // 8}


def _counts(workload: Workload, run: RunResult) -> dict[str, Any]:
    """What the hardware counted, and of which sizes it is."""
    stalls = {name: count for name, count in run.counters.items() if "_stall_" in name}
    return {"stalls": stalls, "counters": dict(run.counters), "sizes": _sizes(workload.jobs)}


def _sizes(jobs: Sequence[Job]) -> dict[str, float]:
    """Sizes of the jobs, each weighing as much as the elements of its K."""
    weights = [job.num_keys * job.dim for job in jobs]
    return {
        name: sum(weight * getattr(job, name) for weight, job in zip(weights, jobs, strict=True)) / sum(weights)
        for name in ("dim", "key_bits", "value_bits")
    }


def _utilization(products: dict[str, int], run: RunResult, config: Config) -> dict[str, float]:
    """Useful products over all that the array could make; engines and channels at work over all there are."""
    peak = run.cycles * config.num_multipliers
    return {
        "qk": (products["first"] + products["second"]) / peak,
        "pv": products["value"] / peak,
        "arrays": (products["first"] + products["value"]) / (2 * peak),
        "topk": run.counters["topk_busy"] / (run.cycles * config.num_topk_engines),
        "channels": sum(run.words_read) / (run.cycles * config.num_channels),
    }
