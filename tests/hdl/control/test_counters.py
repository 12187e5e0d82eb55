from amaranth.sim import Simulator

from hdl.control.counters import Counters
from hdl.spec.config import PRESETS


def test_counts_and_clears():
    dut = Counters(PRESETS["paper"])
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    async def bench(ctx):
        ctx.set(dut.events.qk_useful, 8)
        ctx.set(dut.events.flat_rows, 1)
        await ctx.tick().repeat(5 - 1 + dut.LATENCY)
        assert ctx.get(dut.values.qk_useful) == 40
        assert ctx.get(dut.values.flat_rows) == 5
        assert ctx.get(dut.values.rows) == 0
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await ctx.tick().repeat(dut.LATENCY - 1)
        assert ctx.get(dut.values.qk_useful) == 0
        await ctx.tick()
        assert ctx.get(dut.values.qk_useful) == 8, "the event of the cycle behind clear counts"

    sim.add_testbench(bench)
    sim.run()
