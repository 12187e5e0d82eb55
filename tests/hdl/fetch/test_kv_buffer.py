import random

import pytest
from amaranth.hdl import Value

from hdl.fetch.kv_buffer import KVBuffer
from hdl.spec.config import PRESETS, Config
from sim.common.packing import pack, unpack
from tests.bench.harness import check_reset, made, simulate

ODD = Config(
    num_multipliers=32,
    lanes=4,
    max_dim=16,
    dims=(16,),
    operand_width=8,
    max_tokens=12,
    buffer_dim=8,
    key_rows=48,
    value_rows=48,
    key_pages=3,
    value_pages=3,
    norm_lanes=4,
)
SIZES = [
    pytest.param(PRESETS["tiny"], PRESETS["tiny"].key_slots, 1, id="tiny"),
    pytest.param(PRESETS["tiny"], PRESETS["tiny"].key_slots, 2, id="tiny_2"),
    pytest.param(ODD, 48, 1, id="odd"),
    pytest.param(ODD, 40, 2, id="odd_2"),
    pytest.param(ODD, 48, 4, id="odd_4"),
    pytest.param(ODD, 4, 1, id="one_line"),
]


@pytest.mark.parametrize(("config", "slots", "banks_per_lane"), SIZES)
@pytest.mark.parametrize("idle", [0, 0.5])
def test_writes_and_windows(config, slots, banks_per_lane, idle):
    """Random partial writes on all banks, random windows at the same time."""
    dut = made(KVBuffer, config, slots=slots, banks_per_lane=banks_per_lane)
    simulate(dut, random_accesses(dut, [[0] * config.lane_width for _ in range(slots)], idle, 400), cycles=500)


def random_accesses(dut, model, idle, cycles, *, seed=1, windows=None):
    """Writes and windows, compared with ``model``, the slots' words. windows: those that were read."""
    rng = random.Random(seed)
    config, slots, banks_per_lane = dut.config, dut.slots, dut.banks_per_lane
    lanes, size = config.lanes, config.operand_width
    banks = lanes * banks_per_lane
    assert len(dut.write) == banks
    low, high = -(1 << size >> 1), (1 << size >> 1) - 1

    def write(ctx, bank, port, later):
        on = rng.random() >= idle
        words = [rng.randint(low, high) for _ in range(config.lane_width)]
        addr = rng.randrange(slots // banks)
        upper, lower = rng.randrange(2), rng.randrange(2)
        fields = {"en": on, "addr": addr, "high": upper, "low": lower}
        for name, value in fields.items():
            ctx.set(getattr(port, name), value)
        ctx.set(Value.cast(port.data), pack(port.data.shape(), words))
        if on:
            later.append((addr * banks + bank, words, (-16 if upper else 0) | (15 if lower else 0)))

    async def run(ctx):
        window = expected = None  # read in the cycle before, in the one before that
        for cycle in range(cycles):
            later = []
            for bank, port in enumerate(dut.write):
                write(ctx, bank, port, later)
            enabled = rng.random() >= idle
            first = rng.randrange(slots - lanes + 1)
            expected = None if window is None else [list(model[slot]) for slot in window]
            window = by_lane(first, lanes) if enabled else None
            ctx.set(dut.read.en, enabled)
            ctx.set(dut.read.first, first)
            await ctx.tick()
            for slot, words, mask in later:
                model[slot] = [(a & ~mask) | (b & mask) for a, b in zip(model[slot], words, strict=True)]
            if expected is not None:
                data = unpack(dut.read.data.shape(), ctx.get(Value.cast(dut.read.data)))
                assert data == expected, cycle
                if windows is not None:
                    windows.append((cycle, data))

    return run


@pytest.mark.parametrize("banks_per_lane", [1, 2])
@pytest.mark.parametrize("idle", [0, 0.5])
def test_reset(banks_per_lane, idle):
    """A reset leaves the words in place; a read of before is not answered, and the next one comes as ever."""
    config, slots = PRESETS["tiny"], 32

    def prepare(dut):
        windows = []
        access = random_accesses(dut, [[0] * config.lane_width for _ in range(slots)], idle, 60, windows=windows)

        async def run(ctx):
            for address in range(slots // len(dut.write)):
                for port in dut.write:
                    for name, value in {"en": 1, "addr": address, "high": 1, "low": 1}.items():
                        ctx.set(getattr(port, name), value)
                    ctx.set(Value.cast(port.data), 0)
                await ctx.tick()
            await access(ctx)

        return run, [], windows

    check_reset(lambda: KVBuffer(config, slots=slots, banks_per_lane=banks_per_lane), prepare, cycles=200, resets=5)


def test_a_window_may_hang_over_the_end():
    """Of a window that begins in the last slices, those that exist are right."""
    config, slots = PRESETS["tiny"], PRESETS["tiny"].key_slots
    dut = made(KVBuffer, config, slots=slots, banks_per_lane=2)
    words = list(range(config.lane_width))

    async def run(ctx):
        port = dut.write[-1]
        ctx.set(Value.cast(port.data), pack(port.data.shape(), words))
        for name, value in {"en": 1, "addr": slots // len(dut.write) - 1, "high": 1, "low": 1}.items():
            ctx.set(getattr(port, name), value)
        await ctx.tick()
        ctx.set(port.en, 0)
        ctx.set(dut.read.first, slots - 1)
        ctx.set(dut.read.en, 1)
        await ctx.tick().repeat(KVBuffer.READ_LATENCY)
        data = unpack(dut.read.data.shape(), ctx.get(Value.cast(dut.read.data)))
        assert data[(slots - 1) % config.lanes] == words

    simulate(dut, run, cycles=20)


def by_lane(first, lanes):
    """Slots of a window, by lane."""
    return sorted(range(first, first + lanes), key=lambda slot: slot % lanes)


@pytest.mark.parametrize("banks_per_lane", [0, 3])
def test_banks_are_a_power_of_two(banks_per_lane):
    with pytest.raises(ValueError, match=f"banks_per_lane must be a power of two, not {banks_per_lane}"):
        KVBuffer(ODD, slots=48, banks_per_lane=banks_per_lane)


@pytest.mark.parametrize("slots", [0, 44, 72])
def test_slots_fill_the_banks(slots):
    with pytest.raises(ValueError, match=f"slots must be a multiple of 8 from 8 to 64, not {slots}"):
        KVBuffer(ODD, slots=slots, banks_per_lane=2)
