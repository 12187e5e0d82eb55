"""FirstPassGate: what may be asked for is safe, and what is safe may be asked for soon."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.queries.first_pass_gate import FirstPassGate
from hdl.control.queries.second_passes import SecondPasses
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.common.packing import pack
from tests.bench.harness import check_reset, made, simulate

TINY = PRESETS["tiny"]
DEPTH = SecondPasses.DEPTH


class Rows:
    """Contexts whose rows are asked for whenever it is allowed; each is decided, and a flat one asked for again."""

    def __init__(self, dut, seed, *, rows=60, decide=0.4):
        self.dut, self.rng, self.rows, self.decide = dut, random.Random(seed), rows, decide
        self.seen = []

    async def bench(self, ctx):
        dut, rng = self.dut, self.rng
        generation, progressive = 0b0100, 0b1101  # a generation job after two summarization jobs
        for name, value in (("valid", 15), ("generation", generation), ("progressive", progressive), ("keyed", 15)):
            ctx.set(getattr(dut, name), value)
        counts = [1 if generation >> c & 1 else self.rows for c in range(4)]
        undecided, flat, final = [], [], [0] * 4
        context = asked = risky = cycle = 0
        settled = ask = 0
        while final != counts:
            ctx.set(dut.values_commanded, ctx.get(dut.values_commanded) | (rng.random() < 0.1) << rng.randrange(4))
            may = ctx.get(dut.may_ask)
            self.seen.append(may)
            # the place in the job changes as in FirstPasses: no row in the cycle after the last one of a job
            ask = int(may and context < 4 and asked < counts[context] and rng.random() < 0.8)
            if ask:
                kind = generation >> context & 1
                assert kind or ctx.get(dut.values_commanded) >> context & 1, "V is not given"
                if kind:
                    older = [c for c in range(context) if not generation >> c & 1]
                    assert all(final[c] == counts[c] for c in older), "an older summarization job has rows left"
                if not kind and progressive >> context & 1:
                    risky += 1
                    assert risky <= DEPTH, "no place for a flat row"
                undecided.append((context, 0))
            ctx.set(dut.ask, ask)
            ctx.set(dut.opens, asked == 0)
            ctx.set(dut.settled, settled)
            settled = 0
            redone = bool(flat) and rng.random() < 0.5
            ctx.set(dut.redone, redone)
            if redone:
                undecided.append((flat.pop(0), 1))
                risky -= 1
            decided = len(undecided) > 1 - (rng.random() < self.decide) and rng.random() < self.decide
            ctx.set(dut.decided.valid, bool(decided))
            if decided:
                c, second = undecided.pop(0)
                again = not second and progressive >> c & 1 and not generation >> c & 1 and rng.random() < 0.5
                tag = {"context": c, "query": 0, "group": 0, "second": second}
                ctx.set(Value.cast(dut.decided.payload.tag), pack(payloads.row_tag(TINY), tag))
                ctx.set(dut.decided.payload.flat, again)
                if again:
                    flat.append(c)
                else:
                    final[c] += 1
                    settled = int(final[c] == counts[c] and not generation >> c & 1)
                    risky -= not second and progressive >> c & 1 and not generation >> c & 1
            await ctx.tick()
            cycle += 1
            if ask:
                asked += 1
                if asked == counts[context]:
                    ctx.set(dut.asked, ctx.get(dut.asked) | 1 << context)
                    context, asked = context + 1, 0
                    ctx.set(dut.context, context % 4)
                    ctx.set(dut.ask, 0)
                    ctx.set(dut.decided.valid, 0)
                    ctx.set(dut.redone, 0)
                    if settled:
                        ctx.set(dut.settled, 1)
                        settled = 0
                    else:
                        ctx.set(dut.settled, 0)
                    await ctx.tick()
                    cycle += 1


@pytest.mark.parametrize("decide", [0.2, 0.9], ids=["slow", "fast"])
@pytest.mark.parametrize("rows", [1, 200])
@pytest.mark.parametrize("seed", range(3))
def test_safe_and_alive(seed, rows, decide):
    """Rows that are decided slowly fill the queue of second passes; jobs of one row are opened just before the next."""
    dut = made(FirstPassGate, TINY)
    simulate(dut, Rows(dut, seed, rows=rows, decide=decide).bench, cycles=8000)


def test_full_queue_closes_the_gate():
    """Nothing is decided: as many rows are asked for as the queue holds, but for the three that it may not know of."""
    dut = made(FirstPassGate, TINY)
    asked = 0

    async def bench(ctx):
        nonlocal asked
        for name in ("valid", "progressive", "keyed", "values_commanded"):
            ctx.set(getattr(dut, name), 1)
        for _ in range(2 * DEPTH):
            may = ctx.get(dut.may_ask)
            ctx.set(dut.ask, may)
            asked += may
            await ctx.tick()

    simulate(dut, bench, cycles=3 * DEPTH)
    assert DEPTH - 3 <= asked <= DEPTH


def test_reset():
    def prepare(dut):
        rows = Rows(dut, 5, rows=20)
        return rows.bench, [], rows.seen

    check_reset(lambda: FirstPassGate(TINY), prepare, cycles=1000)
