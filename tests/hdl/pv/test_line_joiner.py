import functools
import random

import pytest
from amaranth.hdl import Value

from hdl.pv.line_joiner import LineJoiner
from sim.common.packing import pack, unpack
from tests.bench.harness import check_reset, run_streams, wait
from tests.hdl.pv.test_prob_times_v import LANES8, make_job, value_lines, value_rows


def make_items():
    """Lines of rows that share them and of rows that do not, some of them dropped; what must be offered."""
    rng = random.Random(1)
    jobs = [make_job(LANES8, rng, 16, [11] * 4, drop=0.4), make_job(LANES8, rng, 32, [9, 1, 3, 5], drop=0.4)]
    lines, rows, expected, row = value_lines(LANES8, jobs), value_rows(LANES8, jobs), [], 0
    for line in lines:
        facts, used = rows[row], line["start"] + line["a_count"] + line["b_count"]
        end = (facts["seq"] + used) % (1 << LANES8.seq_width)
        first = facts["slot"] + (line["start"] << facts["log_slices"])
        finish = int(line["a_last"] and not facts["drop"])
        expected.append({"line": line, "row": facts, "end": end, "first": first, "finish": finish})
        row += line["a_last"]
    return {"line": lines, "row": rows}, expected


def taker(dut, expected, stall, seen):
    """Loads V row by row, and takes lines that are present."""
    rng, width = random.Random(2), LANES8.seq_width

    async def run(ctx):
        ready = ready_before = expected[0]["row"]["seq"]
        at = cycle = 0
        while True:
            offered = ctx.get(dut.offered)
            if offered:
                assert unpack(dut.joined.shape(), ctx.get(Value.cast(dut.joined))) == expected[at]
                gone = (ready_before - expected[at]["end"]) % (1 << width) < 1 << width - 1
                assert ctx.get(dut.present) <= gone
                assert ctx.get(dut.waiting)
            taken = offered and ctx.get(dut.present) and rng.random() >= stall
            ctx.set(dut.taken, taken)
            if taken:
                seen.append(cycle)
                at += 1
            ready_before = ready
            ctx.set(dut.ready, ready)
            ready = (ready + (rng.random() < (1 - stall) or not stall) * 3) % (1 << width)
            cycle += 1
            await ctx.tick()

    return run


@pytest.mark.parametrize("stall", [0, 0.4])
def test_lines_with_their_rows(stall):
    inputs, expected = make_items()
    dut, seen = LineJoiner(LANES8), []
    run_streams(dut, inputs, {}, stall=stall, settle=400, processes=[taker(dut, [*expected, expected[0]], stall, seen)])
    assert len(seen) == len(expected)


def test_latency_and_waiting():
    """A line whose V rows are there is offered 5 cycles after it came; then nothing waits."""
    inputs, expected = make_items()
    dut, seen = LineJoiner(LANES8), []

    async def run(ctx):
        ctx.set(dut.ready, expected[0]["end"])
        await wait(ctx, 5)
        assert ctx.get(dut.offered) and ctx.get(dut.present) and ctx.get(dut.waiting)
        ctx.set(dut.taken, 1)
        await wait(ctx, 1)
        assert not ctx.get(dut.offered)
        assert ctx.get(dut.waiting) == (not expected[0]["line"]["a_last"])
        seen.append(1)

    run_streams(dut, {"line": inputs["line"][:1], "row": inputs["row"][:1]}, {}, stall=0, processes=[run])
    assert seen


def test_reset_in_mid_stream():
    inputs, expected = make_items()

    def prepare(dut):
        seen = []

        async def drive(ctx, name):
            port = getattr(dut, name)
            for item in inputs[name]:
                ctx.set(Value.cast(port.payload), pack(port.payload.shape(), item))
                ctx.set(port.valid, 1)
                ready = 0
                while not ready:
                    _, _, ready = await ctx.tick().sample(port.ready)
            ctx.set(port.valid, 0)

        async def bench(ctx):
            while len(seen) < len(expected):
                await ctx.tick()

        processes = [functools.partial(drive, name=name) for name in inputs]
        return bench, [*processes, taker(dut, [*expected, expected[0]], 0.3, seen)], seen

    check_reset(lambda: LineJoiner(LANES8), prepare, cycles=2000)
