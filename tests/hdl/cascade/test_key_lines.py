import dataclasses
import random

import pytest
from amaranth.hdl import Value

from hdl.cascade.key_lines import KeyLines
from hdl.spec.config import PRESETS
from sim.common.packing import pack
from tests.bench.harness import check_reset, made, run_streams
from tests.bench.tables import random_table, words_of

TINY = PRESETS["tiny"]  # 2 lanes, lines of 4
SAME = dataclasses.replace(TINY, name="same", topk_parallelism=2)
WIDE = dataclasses.replace(TINY, name="wide", topk_parallelism=16)
ONE = dataclasses.replace(TINY, name="one", lanes=1, topk_parallelism=1)


def random_tables(config, number, seed):
    """(words, keys) of tables."""
    rng = random.Random(seed)
    tables = []
    for _ in range(number):
        tokens = rng.random() < 0.6
        table = random_table(config, rng, tokens=tokens)
        pins = (rng.randrange(4), rng.randrange(4))
        words = words_of(table, config, tokens=tokens, pins=pins)
        keys = []
        for word in words:
            for lane in range(config.lanes):
                if word["mask"] >> lane & 1:
                    pinned = word["pinned"] >> lane & 1
                    keys.append(0 if pinned else word["entries"][lane]["importance"] - 2**32)
        tables.append((words, keys))
    return tables


def drive(dut, tables, stall, seed=1):
    """Words while no line waits, with gaps."""

    async def run(ctx):
        rng = random.Random(seed)
        for words, keys in tables:
            ctx.set(dut.keep, len(keys))
            for word in words:
                ctx.set(Value.cast(dut.word), pack(dut.word.shape(), word))
                taken = False
                while not taken:
                    ctx.set(dut.valid, rng.random() >= stall)
                    await ctx.delay(1e-9)
                    taken = bool(ctx.get(dut.valid) and not ctx.get(dut.waits))
                    ctx.set(dut.en, not ctx.get(dut.waits))
                    await ctx.tick()
            ctx.set(dut.valid, 0)
            waits = 1
            while waits:  # ``keep`` is that of the line, too
                waits = ctx.get(dut.line.valid)
                await ctx.tick()

    return run


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("config", [TINY, SAME, WIDE, ONE], ids=lambda config: config.name)
def test_random_tables(config, stall):
    tables = random_tables(config, 12, 1)
    width = config.topk_parallelism
    want = [
        (keys[start : start + width], int(start + width >= len(keys)), len(keys))
        for _, keys in tables
        for start in range(0, len(keys), width)
    ]
    dut = made(KeyLines, config)
    result, _ = run_streams(
        dut, {}, {"line": len(want)}, stall=stall, processes=[drive(dut, tables, stall)], settle=100
    )
    assert [(line["scores"][: line["count"]], line["last"], line["k"]) for line in result["line"]] == want


def test_reset_in_mid_stream():
    tables = random_tables(TINY, 3, 2)

    def prepare(dut):
        lines: list = []

        async def collect(ctx):
            ctx.set(dut.line.ready, 1)
            while True:
                _, _, valid, line = await ctx.tick().sample(dut.line.valid, dut.line.p)
                if valid:  # lanes from ``count`` on are undefined
                    lines.append((list(line.scores)[: line.count], line.count, line.last, line.k))

        return drive(dut, tables, 0.3), [collect], lines

    check_reset(lambda: KeyLines(TINY), prepare, cycles=2000)
