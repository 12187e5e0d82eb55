"""Bench ``fpga``: presets on a board, what they compute at the clock reached, and the clocks of single blocks."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fpga.board.boards import find_board
from fpga.build.baseline import measure
from fpga.build.bitstream import BuildError, BuildReport, build_bitstream, build_name
from fpga.build.blocks import BASELINE_BLOCKS
from fpga.build.synth import LIMITS
from golden.layers.job import Job, run_job, scale_of
from golden.layers.synthetic import make_tensor
from hdl.spec.config import PRESETS, Config
from sim.bench.record import Record, json_of
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming

__all__ = ["bench_fpga", "dense_heads", "operations"]

BOARD = "ulx3s-85f"
BOARD_PRESETS = ("ulx3s", "ulx3s-d32")
SMALL, SMALL_MHZ = "tests/bench/small.json", 60
"""The smallest core that tests use, and the clock asked of it."""
SEEDS = (1, 2, 3)
GOAL_MHZ = 90
PATIENCE = 3600
"""Seconds of processor time of a place and route; what takes longer does not route."""
SDRAM_BITS = 16
"""A cycle, of the board's SDRAM (docs/sdram.md); stood for by random stalls of a faster memory."""
GENERATED, SMOLLM2_DIM = 16, 64


def dense_heads(config: Config, *, heads: int = 12, tokens: int = 128, dim: int = 64) -> list[Job]:
    """A layer of an encoder without pruning, of operands as wide as the multipliers."""
    generator = torch.Generator().manual_seed(0)
    bits = config.operand_width
    scale, shift = scale_of(2.0**-14)

    def tensor():
        return make_tensor(generator, tokens, dim, bits=bits)

    return [
        Job(
            query=tensor(),
            key=tensor(),
            value=tensor(),
            query_bits=bits,
            key_bits=bits,
            value_bits=bits,
            scale=scale,
            shift=shift,
            value_keep=tokens,
            skew=head % config.num_channels,
            name=f"head {head}",
        )
        for head in range(heads)
    ]


def operations(jobs: list[Job]) -> int:
    """Two for each product of Q×K and of prob×V."""
    return sum(2 * 2 * job.rows * job.num_keys * job.dim for job in jobs)


def bench_fpga() -> Iterator[Record]:
    """Issue 'On an FPGA': clock, size and rate of presets on the board ulx3s-85f; the clock of each block."""
    for preset in BOARD_PRESETS:
        yield from _of_board(PRESETS[preset])
    yield _of_small()
    config = PRESETS["ulx3s"]
    for name in BASELINE_BLOCKS:
        yield Record(
            name=f"block.{name}.fmax_mhz",
            value=measure(name, config)["fmax_mhz"],
            unit="MHz",
            better="higher",
            goal=None,
            preset=config.name,
            memory="none",
            command="spatten baselines",
        )


def _of_board(config: Config) -> Iterator[Record]:
    """Clock (median of the seeds; 0 if it does not route), resources, and rates at that clock."""
    board = find_board(BOARD)
    settings = board.settings(config, clock_hz=GOAL_MHZ * 1_000_000)
    folder = Path("build/fpga") / build_name(board, settings)
    try:
        report = build_bitstream(board, settings, seeds=SEEDS, folder=folder, patience=PATIENCE)
        mhz, usage = min(_medians(report).values()), report.usage
        seeds = {seed: min(clocks.values()) for seed, clocks in report.timing["achieved_mhz_by_seed"].items()}
    except BuildError as error:
        if error.usage is None:
            raise
        mhz, usage, seeds = 0.0, error.usage, {}
    command = f"spatten bitstream --board {BOARD} --preset {config.name} --freq {GOAL_MHZ} --seeds {len(SEEDS)}"
    common: dict[str, Any] = {"preset": config.name, "memory": settings.memory, "command": command}
    goal = GOAL_MHZ if config.name == "ulx3s" else None
    yield Record(name=f"{config.name}.fmax_mhz", value=mhz, unit="MHz", better="higher", goal=goal, **common)
    for seed, clock in seeds.items():
        name = f"{config.name}.seed{seed}.fmax_mhz"
        yield Record(name=name, value=clock, unit="MHz", better="higher", goal=None, **common)
    for resource, used in usage.items():
        name = f"{config.name}.{resource.lower()}"
        yield Record(name=name, value=used, unit="", better="lower", goal=LIMITS[resource], **common)
    if mhz:
        yield from _rates(config, mhz, usage["DSP"])


def _of_small() -> Record:
    """Clock of the smallest core (0 if it does not route); its cycles are nobody's workload."""
    board = find_board(BOARD)
    settings = board.settings(Config.load(SMALL), clock_hz=SMALL_MHZ * 1_000_000)
    folder = Path("build/fpga") / build_name(board, settings)
    try:
        clock = min(_medians(build_bitstream(board, settings, seeds=SEEDS[:1], folder=folder)).values())
    except BuildError as error:
        if error.usage is None:
            raise
        clock = 0.0
    return Record(
        name="small.fmax_mhz",
        value=clock,
        unit="MHz",
        better="higher",
        goal=None,
        preset=SMALL,
        memory=settings.memory,
        command=f"spatten bitstream --board {BOARD} --preset {SMALL} --freq {SMALL_MHZ}",
    )


def _medians(report: BuildReport) -> dict[str, float]:
    """Median over the seeds of each clock, MHz."""
    by_seed = report.timing["achieved_mhz_by_seed"].values()
    return {clock: statistics.median(clocks[clock] for clocks in by_seed) for clock in report.timing["clocks"]}


def _rates(config: Config, mhz: float, multipliers: int) -> Iterator[Record]:
    """Measured cycles, at the clock."""
    dim = min(64, config.max_dim)
    jobs = dense_heads(config, dim=dim)
    with make_engine("verilator", config, timing=MemoryTiming()) as engine:
        run = engine.run(jobs)
    for job, got in zip(jobs, run.results, strict=True):
        if got is None or not torch.equal(got.out, run_job(job, config).out):
            raise RuntimeError(f"outputs of {job.name} differ from golden")
    a_cycle = operations(jobs) / run.counters["cycles"]
    gops = a_cycle * mhz / 1e3
    common: dict[str, Any] = {"better": "higher", "goal": None, "preset": config.name}
    core: dict[str, Any] = common | {"memory": "ideal", "command": "spatten bench fpga"}
    yield Record(name=f"{config.name}.gops", value=gops, unit="GOP/s", **core)
    yield Record(name=f"{config.name}.gops_per_dsp", value=gops / multipliers, unit="GOP/s", **core)
    yield Record(name=f"{config.name}.operations_per_cycle", value=a_cycle, unit="", **core)
    stall = 1 - SDRAM_BITS / config.channel_width
    for memory, options in (("ideal", []), (f"stall {stall}", ["--memory-stall", str(stall)])):
        yield from _of_models(config, mhz, memory, options)


def _of_models(config: Config, mhz: float, memory: str, options: list[str]) -> Iterator[Record]:
    """Cycles of whole models, equal to golden, and their tokens a second at the clock."""
    rest = ["--preset", config.name, "--engine", "verilator", *options]
    figures, command = json_of(["run", "minilm", *rest])
    runs = [("minilm.cycles", "minilm.tokens_per_s", figures["tokens"], figures["cycles"], command)]
    if config.max_dim >= SMOLLM2_DIM:
        figures, command = json_of(["run", "smollm2", "--generate", str(GENERATED), *rest])
        prompt = sum(layer["cycles"] for layer in figures["layers"])
        steps = sum(layer["cycles"] for layer in figures["generation_layers"])
        runs += [
            ("smollm2.prompt_cycles", "smollm2.prompt_tokens_per_s", figures["tokens"], prompt, command),
            ("smollm2.generation_cycles", "smollm2.tokens_per_s", GENERATED - 1, steps, command),
        ]
    end = "" if memory == "ideal" else ".sdram"
    for count, rate, tokens, cycles, command in runs:
        told: dict[str, Any] = {"goal": None, "preset": config.name, "memory": memory, "command": command}
        yield Record(name=f"{config.name}.{count}{end}", value=cycles, unit="cycles", better="lower", **told)
        value = tokens / cycles * mhz * 1e6
        yield Record(name=f"{config.name}.{rate}{end}", value=value, unit="tokens/s", better="higher", **told)
