import random

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hdl.config import PRESETS, Config
from hdl.kv_buffer import KVBuffer
from sim.packing import pack, unpack

ODD = Config(
    num_multipliers=32, lanes=4, max_dim=16, dims=(16,), operand_width=8, max_tokens=12, buffer_dim=8, norm_lanes=4
)


@pytest.mark.parametrize("config", [PRESETS["tiny"], ODD], ids=["tiny", "odd"])
@pytest.mark.parametrize("idle", [0, 0.5])
def test_writes_and_windows(config, idle):
    """Random partial writes on all banks, random windows at the same time; data hold while en is low."""
    rng = random.Random(1)
    dut = KVBuffer(config)
    lanes, size = config.lanes, config.operand_width
    model = [[[0] * config.lane_width for _ in range(config.buffer_slots)] for _ in range(2)]
    low, high = -(1 << size >> 1), (1 << size >> 1) - 1

    def write(ctx, bank, port, rng, later):
        on = rng.random() >= idle
        words = [rng.randint(low, high) for _ in range(config.lane_width)]
        half, addr = rng.randrange(2), rng.randrange(config.buffer_depth)
        upper, lower = rng.randrange(2), rng.randrange(2)
        fields = {"en": on, "half": half, "addr": addr, "high": upper, "low": lower}
        for name, value in fields.items():
            ctx.set(getattr(port, name), value)
        ctx.set(Value.cast(port.data), pack(port.data.shape(), words))
        if on:
            mask = (-16 if upper else 0) | (15 if lower else 0)
            later.append((half, addr * lanes + bank, words, mask))

    def apply(later):
        for half, slot, words, mask in later:
            old = model[half][slot]
            model[half][slot] = [(a & ~mask) | (b & mask) for a, b in zip(old, words, strict=True)]

    async def run(ctx):
        expected = None
        for cycle in range(300):
            later = []
            for bank, port in enumerate(dut.write):
                write(ctx, bank, port, rng, later)
            enabled = rng.random() >= idle
            half, first = rng.randrange(2), rng.randrange(config.buffer_slots - lanes + 1)
            if enabled:
                expected = [model[half][slot] for slot in by_bank(first, lanes)]
            ctx.set(dut.read.en, enabled)
            ctx.set(dut.read.half, half)
            ctx.set(dut.read.first, first)
            await ctx.tick()
            apply(later)
            if expected is not None:
                data = unpack(dut.read.data.shape(), ctx.get(Value.cast(dut.read.data)))
                assert data == expected, cycle

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(run)
    sim.run()


def by_bank(first, lanes):
    """Slots of a window, by bank."""
    return sorted(range(first, first + lanes), key=lambda slot: slot % lanes)
