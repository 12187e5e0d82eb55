import random

import pytest
from amaranth.hdl import Value

from hdl.axi.axi_lite import AXI4Lite
from hdl.axi.axi_lite_port import AxiLitePort
from hdl.axi.register_bank import RegisterBank
from hdl.axi.register_layouts import at
from hdl.spec.register_map import MAP, Kind, RegisterMap
from tests.bench.axi_lite_bench import Access, AxiLiteManager
from tests.bench.harness import check_reset, made, simulate
from tests.bench.register_model import OKAY, SLVERR, RegisterModel

SIZES = [(1, 1, 32), (2, 2, 40), (4, 3, 63), (1, 8, 64)]
"""Channels, queues, bits of an address."""
MIDDLE = SIZES[1]
stalls = pytest.mark.parametrize("stall", [0, 0.3, 0.7])


def registers_of(size) -> RegisterMap:
    channels, queues, address_bits = size
    return MAP.of_sizes(channels=channels, queues=queues, address_bits=address_bits)


def bank_of(size) -> RegisterBank:
    return RegisterBank(registers_of(size))


def part(view, place, field):
    return Value.cast(at(view, place)[field])


def offset_of(layout, place, field) -> int:
    """Of a field in the bits of a port."""
    offset = 0
    if place.group is not None:
        group = layout[place.group.name]
        layout = group.shape.elem_shape
        offset = group.offset + place.index * layout.size
    register = layout[place.register.name]
    return offset + register.offset + register.shape[field].offset


class Watched:
    """A bank beside its model: accesses are compared, and so is all that hardware sees of them."""

    def __init__(self, bank, *, stall, seed):
        self.bank, self.model = bank, RegisterModel(bank.registers)
        self.manager = AxiLiteManager(bank.bus, stall=stall, seed=seed)
        self.rng = random.Random(f"{seed}")
        self.pulses: list[int] = []
        self.written: list[int] = []
        fields = [item for item in self.model.fields() if item[1].width]
        kinds = {kind: [item for item in fields if item[1].kind == kind] for kind in Kind}
        self.values, self.events = kinds[Kind.VALUE], kinds[Kind.STICKY]
        self.strobes = [place for place in self.model.places.values() if place.register.strobe]
        self.places = {
            (place.name, field.name): offset_of(getattr(bank, port).shape(), place, field.name)
            for port, kind in (("stored", Kind.STORED), ("sticky", Kind.STICKY), ("pulse", Kind.PULSE))
            for place, field in kinds[kind]
        }
        self.kept = {"stored": kinds[Kind.STORED], "sticky": kinds[Kind.STICKY]}

    def processes(self):
        return [self.manager.clock, self.manager.monitor, self.watch, *map(self.window, self.bank.windows)]

    async def watch(self, ctx):
        """Notes the cycles that have pulses."""
        while True:
            _, _, pulses, written = await ctx.tick().sample(Value.cast(self.bank.pulse), Value.cast(self.bank.written))
            self.pulses += [pulses] if pulses else []
            self.written += [written] if written else []

    def window(self, group):
        """The memory of an external group: a word comes in the cycle after its index."""
        word, data = (getattr(self.bank, f"{name}_{group.name}") for name in ("word", "data"))

        async def run(ctx):
            while True:
                _, _, index = await ctx.tick().sample(word)
                ctx.set(data, self.model.windows.get(group.offset + 4 * index, 0))

        return run

    def set_values(self, ctx):
        """Anything that hardware may give."""
        for place, field in self.values:
            value = self.rng.getrandbits(field.width)
            self.model.values[place.name, field.name] = value
            ctx.set(part(self.bank.value, place, field.name), value)
        for address in self.model.windows:
            self.model.windows[address] = self.rng.getrandbits(32)

    async def raise_events(self, ctx):
        """One cycle of events, some of them."""
        for place, field in self.events:
            bits = self.rng.getrandbits(field.width)
            self.model.state[place.name, field.name] |= bits
            ctx.set(part(self.bank.event, place, field.name), bits)
        await ctx.tick()
        ctx.set(Value.cast(self.bank.event), 0)

    async def access(self, ctx, access: Access):
        """One access, its answer and all that hardware sees of it."""
        self.pulses.clear()
        self.written.clear()
        response, data = await self.manager.do(ctx, access)
        if access.write:
            effects = self.model.write(access.address, access.data, access.strobes)
            assert response == effects.response, access
            pulses = sum(bits << self.places[key] for key, bits in effects.pulses.items())
            assert self.pulses == ([pulses] if pulses else []), access
            written = [1 << index for index, place in enumerate(self.strobes) if place.name in effects.written]
            assert self.written == written, access
        else:
            expected, word = self.model.read(access.address)
            assert response == expected and (response != OKAY or data == word), f"{access}: {data:x}, not {word:x}"
            assert not self.pulses and not self.written, access
        self.compare(ctx, access)

    def compare(self, ctx, access=None):
        for port, fields in self.kept.items():
            found = ctx.get(Value.cast(getattr(self.bank, port)))
            for place, field in fields:
                key = (place.name, field.name)
                bits = found >> self.places[key] & ((1 << field.width) - 1)
                assert bits == self.model.state[key], f"{place.name}.{field.name} is {bits:x} after {access}"


def interesting(rng, model) -> int:
    """An address: of a register, next to one, or any."""
    kind = rng.random()
    if kind < 0.75:
        return rng.choice([*model.places]) + rng.choice([0, 0, 0, 1, 2, 3])
    if kind < 0.85:
        return rng.choice([*model.windows])
    if kind < 0.95:
        return (rng.choice([*model.places, *model.windows]) + rng.choice([-4, 4, 0x1000, 0x8000])) % 0x10000
    return rng.getrandbits(16)


@pytest.mark.parametrize(("size", "stall"), [*zip(SIZES, (0.3, 0.7, 0, 0.5), strict=True), (MIDDLE, 0)])
def test_any_access(size, stall):
    """Random reads and writes, strobes, values and events, over the whole map and beside it."""
    bank = made(bank_of, size)
    watched = Watched(bank, stall=stall, seed=size)
    rng = random.Random(f"{size} {stall}")

    async def bench(ctx):
        watched.compare(ctx)
        for _ in range(150):
            if rng.random() < 0.1:
                watched.set_values(ctx)
            if rng.random() < 0.2:
                await watched.raise_events(ctx)
            data = rng.choice([rng.getrandbits(32), rng.getrandbits(32) & rng.getrandbits(32), 0xFFFFFFFF, 1])
            strobes = rng.choice([15, 15, 15, rng.getrandbits(4)])
            write = rng.random() < 0.5
            await watched.access(ctx, Access(interesting(rng, watched.model), write, data, strobes))

    simulate(bank, bench, *watched.processes(), cycles=20_000)


def test_every_field():
    """Every register read after reset, written with all bits and with those of each field, and read again."""
    bank = made(bank_of, MIDDLE)
    watched = Watched(bank, stall=0, seed=0)

    async def bench(ctx):
        watched.set_values(ctx)
        for address, place in watched.model.places.items():
            await watched.access(ctx, Access(address))
            await watched.access(ctx, Access(address, True, 0xFFFFFFFF, strobes=0))
            for word in (0xFFFFFFFF, 0xA5A5A5A5, *(field.mask for field in place.register.fields)):
                await watched.raise_events(ctx)
                await watched.access(ctx, Access(address, True, word))
                await watched.access(ctx, Access(address))

    simulate(bank, bench, *watched.processes(), cycles=20_000)


def test_every_place_and_its_neighbours():
    """SLVERR exactly where nothing is, for reads and writes."""
    bank = made(bank_of, MIDDLE)
    watched = Watched(bank, stall=0, seed=0)
    windows = sorted(watched.model.windows)
    near = {place + step for place in [*watched.model.places, windows[0], windows[-1]] for step in (-4, 0, 4)}

    async def bench(ctx):
        watched.set_values(ctx)
        for address in [*sorted(near & {*range(0x10000)}), 0x810, 0x4000, 0x8000, 0xFFFC]:
            await watched.access(ctx, Access(address))
            await watched.access(ctx, Access(address, True, 0))
        assert {response for _, _, response, _ in watched.manager.answers} == {OKAY, SLVERR}

    simulate(bank, bench, *watched.processes(), cycles=20_000)


def test_latency():
    """A response comes LATENCY cycles after the address."""
    bank = made(bank_of, MIDDLE)
    watched = Watched(bank, stall=0, seed=0)

    async def bench(ctx):
        for count, access in enumerate([Access(0x40), Access(0x40, True), Access(0x44)], 1):
            await watched.access(ctx, access)
            assert watched.manager.cycle == count * (AxiLitePort.LATENCY + 1)

    simulate(bank, bench, *watched.processes(), cycles=100)


def test_an_event_is_not_lost():
    """In the very cycle in which software clears the bit, it is set: under a steady event it never falls."""
    bank = made(bank_of, MIDDLE)
    manager = AxiLiteManager(bank.bus, stall=0, seed=0)
    pending = MAP.by_name["irq_pending"].address
    seen = []

    async def watch(ctx):
        while True:
            _, _, bit = await ctx.tick().sample(bank.sticky.irq_pending.fault)
            seen.append(bit)

    async def bench(ctx):
        ctx.set(bank.event.irq_pending.fault, 1)
        await ctx.tick()
        await ctx.tick()
        seen.clear()
        assert await manager.write(ctx, Access(pending, True, 1)) == (OKAY, 0)
        assert len(seen) > AxiLitePort.LATENCY and all(seen)
        ctx.set(bank.event.irq_pending.fault, 0)
        await manager.write(ctx, Access(pending, True, 0))
        assert all(seen)
        await manager.write(ctx, Access(pending, True, 1))
        assert not seen[-1]

    simulate(bank, bench, watch, cycles=1000)


def test_hardware_holds_a_field_at_its_reset_value():
    """``clear`` wins over a write."""
    bank = made(bank_of, MIDDLE)
    manager = AxiLiteManager(bank.bus, stall=0, seed=0)
    tail = MAP.by_name["doorbell[1].tail"].address

    async def bench(ctx):
        await manager.write(ctx, Access(tail, True, 5))
        assert ctx.get(bank.stored.doorbell[1].tail.count) == 5
        ctx.set(bank.clear.doorbell[1].tail.count, 1)
        await ctx.tick()
        assert ctx.get(bank.stored.doorbell[1].tail.count) == 0
        assert await manager.write(ctx, Access(tail, True, 6)) == (OKAY, 0)
        assert await manager.read(ctx, Access(tail)) == (OKAY, 0)

    simulate(bank, bench, cycles=100)


@stalls
def test_reads_beside_writes(stall):
    """Each direction goes on, whatever the other does, and in order."""
    bank = made(bank_of, (2, 2, 40))
    manager = AxiLiteManager(bank.bus, stall=stall, seed=1)
    reader = AxiLiteManager(bank.bus, stall=stall, seed=2)
    timeout, burst = (MAP.by_name[name].address for name in ("timeout", "max_burst"))
    over = []

    async def read(ctx):
        for _ in range(100):
            assert await reader.read(ctx, Access(burst)) == (OKAY, 16 << 16 | 16)
        over.append(True)

    async def bench(ctx):
        for word in range(100):
            assert await manager.write(ctx, Access(timeout, True, word)) == (OKAY, 0)
            assert ctx.get(bank.stored.timeout.cycles) == word
        while not over:
            await ctx.tick()

    simulate(bank, bench, read, manager.monitor, cycles=10_000)


@stalls
def test_channels_on_their_own(stall):
    """Every channel offers its next item at once: none is lost, doubled or answered out of order."""
    bank = made(bank_of, MIDDLE)
    manager = AxiLiteManager(bank.bus, stall=stall, seed=5, patience=200)
    rng = random.Random(5)
    timeout, identity, nothing = MAP.by_name["timeout"].address, MAP.by_name["id"].address, 0x30
    writes = [rng.choice([timeout, timeout, identity, nothing]) for _ in range(60)]
    reads = [rng.choice([identity, MAP.by_name["max_burst"].address, nothing]) for _ in range(60)]
    over = []

    def process(channel, items):
        async def run(ctx):
            await manager.requests(ctx, channel, items)

        return run

    async def answers(ctx):
        found = await manager.responses(ctx, "r", len(reads))
        model = RegisterModel(bank.registers)
        expected = [model.read(address) for address in reads]
        assert [response for response, _ in found] == [response for response, _ in expected]
        assert [word for response, word in found if response == OKAY] == [w for r, w in expected if r == OKAY]
        over.append(True)

    async def bench(ctx):
        word = 1 << 20
        for number, address in enumerate(writes):
            assert await manager.responses(ctx, "b", 1) == [[OKAY if address == timeout else SLVERR]]
            word = number if address == timeout else word
            assert ctx.get(bank.stored.timeout.cycles) == word
        while not over:
            await ctx.tick()

    requests = {
        "aw": [{"addr": address, "prot": 0} for address in writes],
        "w": [{"data": number, "strb": 15} for number in range(len(writes))],
        "ar": [{"addr": address, "prot": 0} for address in reads],
    }
    simulate(bank, bench, *(process(*item) for item in requests.items()), answers, manager.monitor, cycles=10_000)


def test_reset():
    """In the middle of accesses; afterwards all is as after power-up."""

    def prepare(bank):
        watched = Watched(bank, stall=0.4, seed=3)
        rng, results = random.Random(3), []

        async def bench(ctx):
            for _ in range(12):
                await watched.raise_events(ctx)
                address = rng.choice([0x40, 0x48, 0x4C, 0x70, 0x78, 0x420, 0x2000])
                await watched.access(ctx, Access(address, rng.random() < 0.6, rng.getrandbits(32)))
            first = watched.manager.answers[0][0]
            results.extend((cycle - first, *rest) for cycle, *rest in watched.manager.answers)

        return bench, watched.processes(), results

    check_reset(lambda: bank_of(MIDDLE), prepare, cycles=1000, resets=8)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 9, 32), "queues must be from 1 to 8, not 9"),
        ((129, 1, 32), "channels must be from 1 to 128, not 129"),
        ((1, 1, 31), "address_bits must be from 32 to 64, not 31"),
    ],
)
def test_sizes_that_the_map_has_no_place_for(sizes, message):
    with pytest.raises(ValueError, match=message):
        registers_of(sizes)


@pytest.mark.parametrize("width", [2, 65, "16"])
def test_address_width(width):
    with pytest.raises(ValueError, match=f"address_width must be an integer from 3 to 64, not {width!r}"):
        AXI4Lite(address_width=width)
