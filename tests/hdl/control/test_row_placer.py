"""RowPlacer: rows with the region of their job, not before that is known."""

import random

import pytest

from hdl.control.row_placer import RowPlacer
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from tests.bench.clocked import Clocked
from tests.bench.harness import run_streams, wait

TINY = PRESETS["tiny"]


def rows(count, rng):
    layout = payloads.value_row(TINY)
    for _ in range(count):
        tag = {"context": rng.randrange(4), "query": rng.randrange(64), "group": rng.randrange(8), "second": 0}
        yield {"tag": tag} | {name: rng.randrange(2) for name in layout.members if name != "tag"}


@pytest.mark.parametrize("stall", [0, 0.5])
def test_rows_get_the_region_of_their_context(stall):
    rng = random.Random(1)
    given = list(rows(60, rng))
    slots = [rng.randrange(TINY.value_slots) for _ in range(4)]
    seqs = [rng.randrange(1 << TINY.seq_width) for _ in range(4)]
    dut = Clocked(RowPlacer(TINY))
    taken = []  # context and what was commanded when the row left

    async def command(ctx):
        for context in range(4):
            ctx.set(dut.slot[context], slots[context])
            ctx.set(dut.seq[context], seqs[context])
        while True:
            ctx.set(dut.commanded, rng.randrange(16))
            _, _, valid, ready, context, commanded = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload.tag.context, dut.commanded
            )
            if valid and ready:
                taken.append((context, commanded))
            while valid and not ready:  # once known, a region stays: the row stays on offer
                _, _, valid, ready = await ctx.tick().sample(dut.o.valid, dut.o.ready)

    got, _ = run_streams(dut, {"i": given}, {"o": 60}, stall=stall, processes=[command], seed=2)
    wanted = [row | {"slot": slots[c], "seq": seqs[c]} for row in given for c in [row["tag"]["context"]]]
    assert got["o"] == wanted
    assert taken and all(commanded >> context & 1 for context, commanded in taken)


def test_a_row_waits_for_its_region():
    dut = Clocked(RowPlacer(TINY))
    (row,) = rows(1, random.Random(3))
    context = row["tag"]["context"]
    early = []

    async def command(ctx):
        ctx.set(dut.commanded, 15 & ~(1 << context))
        for _ in range(20):
            _, _, valid, ready = await ctx.tick().sample(dut.o.valid, dut.i.ready)
            early.append(valid or ready)
        ctx.set(dut.commanded, 1 << context)
        await wait(ctx, 1)

    got, _ = run_streams(dut, {"i": [row]}, {"o": 1}, stall=0, processes=[command])
    assert len(got["o"]) == 1 and not any(early)
