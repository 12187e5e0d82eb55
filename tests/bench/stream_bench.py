"""Steps of test benches. They wait by plain ticks: those may also be cut off at the end of a simulation."""

from amaranth.hdl import Value
from amaranth.sim import Simulator


async def wait(ctx, cycles):
    for _ in range(cycles):
        await ctx.tick()


async def give(ctx, stream, payload):
    """One item into a stream."""
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    ready = 0
    while not ready:
        _, _, ready = await ctx.tick().sample(stream.ready)
    ctx.set(stream.valid, 0)


async def see(ctx, stream):
    """The bits of the item on offer, after the cycle in which it was first there; it is not taken."""
    valid = 0
    while not valid:
        _, _, valid, bits = await ctx.tick().sample(stream.valid, Value.cast(stream.payload))
    return bits


async def take(ctx, stream):
    """The bits of an item out of a stream."""
    ctx.set(stream.ready, 1)
    bits = await see(ctx, stream)
    ctx.set(stream.ready, 0)
    return bits


def simulate(dut, bench, *background, cycles):
    """Run ``bench`` beside the ``background``; fails if it is not over after ``cycles``."""

    async def watch(ctx):
        await wait(ctx, cycles)
        raise AssertionError(f"watchdog: not over after {cycles} cycles")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for process in (watch, *background):
        simulator.add_testbench(process, background=True)
    simulator.add_testbench(bench)
    simulator.run()
