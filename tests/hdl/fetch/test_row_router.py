"""RowRouter: class k of a load goes to channel (k + skew) mod C, load after load."""

import random

import pytest

from hdl.fetch.row_router import RowRouter
from hdl.spec.config import PRESETS
from tests.bench.fetch_configs import ODD, WIDE
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.row_model import local_row

CONFIGS = {"tiny": PRESETS["tiny"], "one_channel": PRESETS["ulx3s"], "odd": ODD, "wide": WIDE}
LOADS = 4


class Scene:
    """Loads with rows in each class; a load starts when fewer than LOADS are under way."""

    def __init__(self, config, rng, number, rows=5):
        channels = range(config.num_channels)
        self.starts = [{"load": i % LOADS, "skew": rng.randrange(config.num_channels)} for i in range(number)]
        self.inputs = {f"i.{k}": [] for k in channels}
        expected = {f"o.{c}": [] for c in channels}
        for start in self.starts:
            for k in channels:
                load = start["load"]
                items = [local_row(load, i, (i + k) % 8) for i in range(rng.randrange(rows))]
                items.append(local_row(load, end=True))
                self.inputs[f"i.{k}"] += items
                expected[f"o.{(k + start['skew']) % config.num_channels}"] += items
        self.expected = expected
        self.outputs = {name: len(items) for name, items in expected.items()}

    def processes(self, dut):
        async def run(ctx):
            ended = [0] * len(dut.o)
            ends = [port.valid & port.ready & port.payload.end for port in dut.o]
            number = 0
            while True:
                go = number < len(self.starts) and number - min(ended) < LOADS
                ctx.set(dut.start.valid, go)
                if go:
                    ctx.set(dut.start.payload, self.starts[number])
                    number += 1
                _, _, *now = await ctx.tick().sample(*ends)
                ended = [a + b for a, b in zip(ended, now, strict=True)]

        return [run]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_channels_get_their_classes(name, stall):
    config = CONFIGS[name]
    scene = Scene(config, random.Random(f"{name} {stall}"), 12)
    dut = made(RowRouter, config, depth=4, loads=LOADS)
    results, _ = run_streams(dut, scene.inputs, scene.outputs, stall=stall, processes=scene.processes(dut))
    assert results == scene.expected


def test_rate():
    """A row a cycle into each channel, without a gap between loads of different skews."""
    config = ODD
    rng = random.Random(3)
    scene = Scene(config, rng, 0)
    scene.starts = [{"load": i, "skew": i} for i in range(LOADS)]
    for k in range(config.num_channels):
        for load in range(LOADS):
            rows = [local_row(load, i % 3) for i in range(9)]
            scene.inputs[f"i.{k}"] += [*rows, local_row(load, end=True)]
    outputs = {f"o.{c}": 10 * LOADS for c in range(config.num_channels)}
    dut = made(RowRouter, config, depth=4, loads=LOADS)
    _, cycles = run_streams(dut, scene.inputs, outputs, stall=0, processes=scene.processes(dut))
    # A start passes through a queue of its own, while the first row waits.
    assert cycles <= 10 * LOADS + RowRouter.LATENCY + 3


def test_latency():
    """Of a row whose load has started before."""
    config = ODD
    scene = Scene(config, random.Random(0), 0)
    scene.starts = [{"load": 1, "skew": 0}]
    dut = made(RowRouter, config, depth=4, loads=LOADS)
    seen = []

    async def late(ctx):
        await ctx.tick().repeat(6)
        ctx.set(dut.i[0].payload, local_row(1, end=True))
        ctx.set(dut.i[0].valid, 1)
        cycle = 0
        while True:
            _, _, valid = await ctx.tick().sample(dut.o[0].valid)
            ctx.set(dut.i[0].valid, 0)
            if valid:
                seen.append(cycle)
            cycle += 1

    run_streams(dut, {}, {"o.0": 1}, stall=0, processes=[*scene.processes(dut), late])
    assert seen == [RowRouter.LATENCY]


@pytest.mark.parametrize("stall", [0, 0.4])
def test_reset(stall):
    """No load that had started before is waited for, and none of its rows comes."""
    scene = Scene(ODD, random.Random(5), 6)
    check_stream_reset(
        lambda: RowRouter(ODD, depth=4, loads=LOADS),
        scene.inputs,
        scene.outputs,
        processes=scene.processes,
        stall=stall,
        resets=6,
    )
