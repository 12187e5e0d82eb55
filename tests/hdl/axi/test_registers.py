import random

import pytest

from hdl.axi.capabilities import capabilities
from hdl.axi.counter_window import CounterWindow
from hdl.axi.register_layouts import address_of
from hdl.axi.registers import Registers
from hdl.control.counters import events_layout
from hdl.spec.config import PRESETS
from hdl.spec.digest import config_digest
from hdl.spec.register_map import MAP
from hdl.spec.version import VERSION
from tests.bench.axi_lite_bench import Access, AxiLiteManager
from tests.bench.harness import made, simulate, wait

TINY = PRESETS["tiny"]
OKAY, SLVERR = 0, 2
NAMES = list(events_layout(TINY).members)


def run(bench, *, stall=0.3, cycles=5000):
    """A bench (ctx, block, client) beside the registers of ``tiny``."""
    block = made(Registers, TINY, queues=2, address_bits=32)
    client = Client(block, stall)

    async def process(ctx):
        await bench(ctx, block, client)

    simulate(block, process, client.manager.monitor, cycles=cycles)


class Client:
    """Software: registers by name."""

    def __init__(self, block, stall):
        self.manager = AxiLiteManager(block.s_axil, stall=stall, seed=1)

    async def read(self, ctx, name):
        response, word = await self.manager.read(ctx, Access(MAP.by_name[name].address))
        assert response == OKAY
        return word

    async def fields(self, ctx, name):
        return MAP.by_name[name].register.unpack(await self.read(ctx, name))

    async def write(self, ctx, name, **fields):
        place = MAP.by_name[name]
        response, _ = await self.manager.write(ctx, Access(place.address, True, place.register.pack(**fields)))
        assert response == OKAY

    async def counter(self, ctx, index):
        low, high = [await self.read(ctx, f"counter[{index}].{half}") for half in ("lo", "hi")]
        return high << 32 | low


def test_configuration_is_told():
    async def bench(ctx, block, client):
        assert await client.read(ctx, "id") == int.from_bytes(b"SPTN", "big")
        version = await client.fields(ctx, "version")
        assert ".".join(str(version[name]) for name in ("major", "minor", "patch")) == VERSION and version["map"] == 1
        digest = [await client.read(ctx, f"config_digest_{half}") for half in ("lo", "hi")]
        assert digest[1] << 32 | digest[0] == config_digest(TINY)
        assert await client.fields(ctx, "cap0") == {
            "channels": 2, "queues": 2, "log_word_bytes": 3, "address_bits": 32,
        }  # fmt: skip
        assert await client.fields(ctx, "cap1") == {"max_tokens": 64, "contexts": TINY.contexts}
        assert await client.fields(ctx, "cap2") == {"max_heads": 32, "max_group": 8, "max_dim": 64}
        assert await client.read(ctx, "cap3") == 0b1111
        assert await client.fields(ctx, "cap4") == {
            "operand_width": 12, "append": 0, "quantize_query": 0, "float_results": 0, "probabilities": 0,
            "write_back": 0,
        }  # fmt: skip

    run(bench)


@pytest.mark.parametrize("preset", PRESETS)
def test_capabilities_fit(preset):
    """Every value of every preset, with all features, has room in its field."""
    found = capabilities(PRESETS[preset], queues=8, address_bits=64, features=["append", "write_back"])
    for register, fields in found.items():
        word = MAP.by_name[register].register.pack(**fields)
        assert MAP.by_name[register].register.unpack(word).items() >= fields.items()
    assert found["cap4"]["append"] == found["cap4"]["write_back"] == 1 and "probabilities" not in found["cap4"]


@pytest.mark.parametrize("cause", ["fault", "drained", "queue", "snapshot", "test"])
def test_interrupt(cause):
    """It comes when it is enabled, and stays until it is cleared."""

    async def bench(ctx, block, client):
        async def happen():
            port = {
                "fault": block.fault.valid,
                "drained": block.event.drained,
                "queue": block.event.queue,
            }
            if cause == "snapshot":
                await client.write(ctx, "ctrl", snapshot=1)
                await wait(ctx, CounterWindow.CYCLES * (len(NAMES) + 2 * TINY.num_channels) + 4)
            elif cause == "test":
                await client.write(ctx, "irq_test", queue=2)
                await wait(ctx, 3)
            else:
                ctx.set(port[cause], 1 if cause != "queue" else 2)
                await ctx.tick()
                ctx.set(port[cause], 0)
                await wait(ctx, 3)

        field, bits = ("queue", 2) if cause in ("queue", "test") else (cause, 1)
        await happen()
        assert not ctx.get(block.irq), "it is not enabled"
        assert (await client.fields(ctx, "irq_pending"))[field] == bits
        await client.write(ctx, "irq_enable", **{field: bits})
        await wait(ctx, 2)
        assert ctx.get(block.irq)
        await client.write(ctx, "irq_pending", **{field: bits ^ 3 if field == "queue" else 0})
        await wait(ctx, 2)
        assert ctx.get(block.irq), "another bit was cleared"
        await client.write(ctx, "irq_pending", **{field: bits})
        await wait(ctx, 2)
        assert not ctx.get(block.irq)
        await happen()
        assert ctx.get(block.irq)

    run(bench)


FAULTS = [
    {"valid": 1, "code": 12, "queue": 1, "channel": 1, "write": 0, "address": 0x1234567890ABCDEF},
    {"valid": 1, "code": 13, "queue": 0, "channel": 0, "write": 1, "address": 0xFFF},
    {"valid": 1, "code": 17, "queue": 1, "channel": 0, "write": 1, "address": 1 << 63},
]


def test_the_first_fault_stands_until_it_is_cleared():
    async def told(ctx, client):
        found = await client.fields(ctx, "fault")
        low, high = [await client.read(ctx, f"fault_address_{half}") for half in ("lo", "hi")]
        return found | {"address": high << 32 | low}

    async def bench(ctx, block, client):
        async def fail(fault):
            for name, value in fault.items():
                ctx.set(getattr(block.fault, name), value)
            await ctx.tick()
            ctx.set(block.fault.valid, 0)
            await ctx.tick()

        assert (await client.fields(ctx, "fault"))["valid"] == 0
        await fail(FAULTS[0])
        await fail(FAULTS[1])
        assert await told(ctx, client) == FAULTS[0]
        await client.write(ctx, "irq_pending", fault=1)
        assert await told(ctx, client) == FAULTS[0], "the interrupt is cleared, not the fault"
        await fail(FAULTS[1])
        assert (await client.fields(ctx, "irq_pending"))["fault"] == 1, "every fault is an interrupt"
        await client.write(ctx, "fault", valid=1)
        assert (await client.fields(ctx, "fault"))["valid"] == 0
        await fail(FAULTS[2])
        assert await told(ctx, client) == FAULTS[2]

    run(bench)


def test_a_fault_beside_the_clearing_is_told_whole():
    """Whatever the cycle, FAULT has one fault or none, not parts of two."""

    async def bench(ctx, block, client):
        for delay in range(8):
            start.append(delay)
            await client.write(ctx, "fault", valid=1)
            await wait(ctx, 10)
            found = await client.fields(ctx, "fault")
            assert not found["valid"] or (found["code"], found["queue"]) == (20 + delay, delay)
            results.append(found["valid"])
            await client.write(ctx, "fault", valid=1)

    start, results = [], []

    def second(block):
        async def process(ctx):
            while True:
                while not start:
                    await ctx.tick()
                delay = start.pop()
                for code, queue, after in ((1, 15, 0), (20 + delay, delay, delay)):
                    await wait(ctx, after)
                    ctx.set(block.fault.code, code)
                    ctx.set(block.fault.queue, queue)
                    ctx.set(block.fault.valid, 1)
                    await ctx.tick()
                    ctx.set(block.fault.valid, 0)

        return process

    block = made(Registers, TINY, queues=2, address_bits=32)
    client = Client(block, 0)

    async def process(ctx):
        await bench(ctx, block, client)

    simulate(block, process, second(block), client.manager.monitor, cycles=2000)
    assert {0, 1} == set(results)


def test_counters():
    """A snapshot has every counter at its place, and stays when the counters go on; a clear sets the channels' to 0."""
    rng = random.Random(2)
    values = {name: rng.getrandbits(48) for name in NAMES}

    async def bench(ctx, block, client):
        for name, value in values.items():
            ctx.set(getattr(block.counters, name), value)
        ctx.set(block.words, 0b11)
        ctx.set(block.surplus, 0b10)
        await wait(ctx, 5)
        ctx.set(block.words, 0b01)
        await wait(ctx, 2)
        ctx.set(block.words, 0)
        ctx.set(block.surplus, 0)
        await client.write(ctx, "ctrl", snapshot=1)
        assert (await client.fields(ctx, "status"))["snapshot_busy"] == 1
        while (await client.fields(ctx, "status"))["snapshot_busy"]:
            pass
        for name in NAMES:
            ctx.set(getattr(block.counters, name), 0)
        expected = {NAMES.index(name): value for name, value in values.items()} | {64: 7, 65: 0, 66: 5, 67: 7}
        for index, value in expected.items():
            assert await client.counter(ctx, index) == value, index
        assert await client.counter(ctx, len(NAMES)) == 0, "a place without a counter"
        assert (await client.manager.read(ctx, Access(0x1000 + 8 * 68)))[0] == SLVERR
        await client.write(ctx, "ctrl", clear=1)
        assert await client.counter(ctx, 64) == 7, "of the last snapshot"
        await client.write(ctx, "ctrl", snapshot=1)
        while (await client.fields(ctx, "status"))["snapshot_busy"]:
            pass
        assert [await client.counter(ctx, index) for index in (0, 64, 66, 67)] == [0, 0, 0, 0]

    run(bench, stall=0, cycles=20_000)


def test_status_and_doorbells():
    async def bench(ctx, block, client):
        for name in block.status.shape().members:
            ctx.set(getattr(block.status, name), 1)
            found = await client.fields(ctx, "status")
            assert [field for field, bit in found.items() if bit] == [name]
            ctx.set(getattr(block.status, name), 0)
        ctx.set(block.doorbell[1].head.count, 0xABCD)
        ctx.set(block.doorbell[1].status.code, 16)
        assert await client.read(ctx, "doorbell[1].head") == 0xABCD
        assert (await client.fields(ctx, "doorbell[1].status"))["code"] == 16
        assert await client.read(ctx, "doorbell[0].head") == 0
        await client.write(ctx, "doorbell[1].tail", count=3)
        assert ctx.get(block.stored.doorbell[1].tail.count) == 3
        ctx.set(block.clear.doorbell[1].tail.count, 1)
        await ctx.tick()
        assert ctx.get(block.stored.doorbell[1].tail.count) == 0
        assert ctx.get(block.stored.timeout.cycles) == 1 << 20

    run(bench)


@pytest.mark.parametrize("bits", [32, 33, 64])
def test_addresses(bits):
    """The halves of an address make one of as many bits as the configuration has; a bit more is refused."""
    block = Registers(TINY, address_bits=bits)
    manager = AxiLiteManager(block.s_axil, stall=0, seed=0)
    limit_bits = min(bits + 1, 64)
    values = {"base": (1 << bits) - 64, "read_limit": 1 << limit_bits - 1, "write_base": 1 << bits - 1}

    async def bench(ctx):
        for name, value in values.items():
            for half, word in (("lo", value & 0xFFFFFFFF), ("hi", value >> 32)):
                address = MAP.by_name[f"queue[1].{name}_{half}"].address
                assert await manager.write(ctx, Access(address, True, word)) == (OKAY, 0)
            found = address_of(block.stored.queue[1], name)
            assert len(found) == (limit_bits if name == "read_limit" else bits)
            assert ctx.get(found) == value
        if bits < 64:
            above = Access(MAP.by_name["queue[1].write_base_hi"].address, True, 1 << bits - 32)
            assert await manager.write(ctx, above) == (SLVERR, 0)
        assert ctx.get(address_of(block.stored.queue[1], "write_base")) == values["write_base"]

    simulate(block, bench, cycles=500)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queues": 0}, "queues must be from 1 to 8, not 0"),
        ({"address_bits": 65}, "address_bits must be from 32 to 64, not 65"),
        ({"features": ["fly"]}, "features must be of append, quantize_query, float_results, .*, not 'fly'"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Registers(TINY, **arguments)
