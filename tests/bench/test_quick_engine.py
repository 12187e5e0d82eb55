"""The quick engine against Amaranth's own: every signal, in every cycle."""

import random
from functools import reduce
from operator import or_

import pytest
from amaranth.hdl import (
    Array,
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
    signed,
    unsigned,
)
from amaranth.hdl._ir import DriverConflict
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.sim import DomainReset, Simulator
from amaranth.sim.pysim import PySimEngine

from hdl.fetch.channel_fetcher import ChannelFetcher
from hdl.topk.quick_select import QuickSelect
from tests.bench.fetch_configs import SINGLE
from tests.bench.quick_engine import QuickEngine


def shapes(rng):
    return rng.choice([unsigned, signed])(rng.choice([1, 1, 2, 3, 5, 8, 13]))


def random_value(rng, leaves, depth):
    """An expression of all operators, over signals and constants of any sign."""
    if depth == 0 or rng.random() < 0.1:
        return rng.choice(leaves) if rng.random() < 0.8 else Const(rng.randint(-20, 20))

    def part():
        return random_value(rng, leaves, depth - 1)

    a, b = part(), part()
    narrow = (b.as_unsigned())[:3]
    unary = [lambda: ~a, lambda: -a, a.bool, a.any, a.all, a.xor, a.as_signed, a.as_unsigned, lambda: +a]
    binary = [
        *(lambda: a + b, lambda: a - b, lambda: a * b, lambda: a // b, lambda: a % b, lambda: a & b, lambda: a | b),
        *(lambda: a ^ b, lambda: a == b, lambda: a != b, lambda: a < b, lambda: a <= b, lambda: a > b, lambda: a >= b),
        *(lambda: a << narrow, lambda: a >> narrow, lambda: Mux(part(), a, b), lambda: Cat(a, b, part())),
        *(lambda: a.bit_select(narrow, 3), lambda: a.word_select(narrow, 2), lambda: Array([a, b, part()])[narrow]),
        *(lambda: a[len(a) // 2 :], lambda: a.matches("1" + "-" * (len(a) - 1)), lambda: a.shift_right(2)),
    ]
    value = Value.cast(rng.choice(unary if rng.random() < 0.25 else binary)())
    return value if 0 < len(value) < 60 else a


def random_design(seed):
    """Registers and combinational signals, assigned whole, in parts and in cases; two memories."""
    rng, m = random.Random(seed), Module()
    m.domains.sync = ClockDomain()
    m.domains.late = late = ClockDomain(clk_edge="neg", async_reset=True)
    ins = [Signal(shapes(rng), name=f"in_{i}") for i in range(4)]
    held = [Signal(shapes(rng), name=f"held_{i}", init=-1, reset_less=i == 0) for i in range(4)]
    m.d.comb += [late.clk.eq(ClockSignal("sync")), late.rst.eq(ins[0][0])]
    m.d.comb += ResetSignal("sync").eq(ins[1][0] & ins[2][0])
    leaves = [*ins, *held]
    for i in range(4):
        comb = Signal(shapes(rng), name=f"comb_{i}")
        test = random_value(rng, leaves, 1).bool()
        with m.If(test):
            m.d.comb += comb.eq(random_value(rng, leaves, 3))
        with m.Elif(random_value(rng, leaves, 1).bool()):
            m.d.comb += comb[: len(comb) // 2 + 1].eq(random_value(rng, leaves, 2))
        with m.Switch(ins[0].as_unsigned()):
            with m.Case(0, 1):
                m.d.comb += comb[0].eq(random_value(rng, leaves, 1))
            with m.Default():
                m.d.comb += comb.as_unsigned().bit_select(ins[3].as_unsigned()[:3], 2).eq(3)
        leaves.append(comb)
    for domain, target, other in (("sync", held[0], held[1]), ("late", held[2], held[3])):
        d = getattr(m.d, domain)
        with m.If(random_value(rng, leaves, 1).bool()):
            d += Cat(target, other).eq(random_value(rng, leaves, 3))
        with m.Else():
            d += Array([target, other])[ins[1][0]].eq(random_value(rng, leaves, 2))
    leaves += memories(m, leaves)
    seen = Signal(8)
    m.d.comb += seen.eq(reduce(or_, (leaf.as_unsigned()[:3] for leaf in leaves)))
    return m, ins


def memories(m, leaves):
    """Read in a cycle, after a clock, and transparently; written in parts, and beyond the end."""
    reads = []
    for name, depth, shape in (("even", 6, unsigned(8)), ("signs", 4, signed(4))):
        m.submodules[name] = memory = Memory(shape=shape, depth=depth, init=[3, 1])
        write = memory.write_port(granularity=4 if shape == unsigned(8) else None)
        ports = [memory.read_port(domain="comb"), memory.read_port(), memory.read_port(transparent_for=[write])]
        m.d.comb += [write.addr.eq(leaves[0]), write.data.eq(Cat(leaves[1], leaves[4])), write.en.eq(leaves[2])]
        m.d.comb += [port.addr.eq(leaves[k]) for k, port in enumerate(ports)]
        m.d.comb += ports[1].en.eq(leaves[3][0])
        reads += [Value.cast(port.data) for port in ports]
    return reads


def values_of(make, engine, cycles=60, resets=0):
    """Every signal's value after each cycle of random inputs, by its name; ``resets`` of the simulator come first."""
    toplevel, inputs = make()
    simulator = Simulator(toplevel, engine=engine)
    simulator.add_clock(1e-6)
    state, names = simulator._engine.state, {}
    for info in simulator._design.fragments.values():
        for signal, name in info.signal_names.items():
            names.setdefault((*info.name, name), state.get_signal(signal))
    seen = []

    async def bench(ctx):
        rng = random.Random(5)
        for _ in range(cycles):
            for port in inputs:
                if rng.random() < 0.6:
                    ctx.set(port, rng.getrandbits(len(port)) - (1 << len(port) - 1 if port.shape().signed else 0))
            await ctx.tick()
            seen.append({name: state.slots[index].curr for name, index in names.items()})

    simulator.add_testbench(bench)
    simulator.run()
    for _ in range(resets):
        seen.clear()
        simulator.reset()
        simulator.run()
    return seen


def assert_same(make, **options):
    quick, own = (values_of(make, engine, **options) for engine in (QuickEngine, PySimEngine))
    assert len({tuple(values.items()) for values in own}) > len(own) // 2, "it moves"
    for cycle, (a, b) in enumerate(zip(quick, own, strict=True)):
        assert a == b, f"cycle {cycle}"


@pytest.mark.parametrize("seed", range(40))
def test_random_designs(seed):
    assert_same(lambda: random_design(seed), resets=seed % 2)


@pytest.mark.parametrize("block", [ChannelFetcher, QuickSelect])
def test_blocks(block):
    def make():
        dut = block(SINGLE)
        ports = [Value.cast(port) for _, member, port in dut.signature.flatten(dut) if member.flow == In]
        return dut, [port for port in ports if type(port) is Signal]

    assert_same(make, cycles=300)


def story_of(seed, engine):
    """What benches see that await ticks in all ways, while another sets the inputs, and with them the reset."""
    toplevel, inputs = random_design(seed)
    simulator, seen, over = Simulator(toplevel, engine=engine), [], []
    simulator.add_clock(1e-6)
    whole = Cat(inputs)
    fields = data.View(data.StructLayout({"low": 2, "high": signed(len(whole) - 2)}), whole)
    watched = [inputs[0], inputs[2], whole, inputs[1] + 1, inputs[3][:1], fields, fields.high]

    def awaits(name):
        async def bench(ctx):
            rng = random.Random(f"{seed} {name}")
            kept = ctx.tick().sample(inputs[1])
            while not over:
                trigger = ctx.tick(rng.choice(["sync", "sync", "late"])).sample(*rng.sample(watched, rng.randrange(4)))
                kind, count, condition = rng.randrange(4), rng.randint(1, 4), rng.choice(inputs)
                try:
                    if kind < 2:
                        found = await (trigger, kept)[kind]
                    else:
                        found = await (trigger.repeat(count) if kind == 2 else trigger.until(condition))
                except DomainReset:
                    found = ["reset"]
                seen.append((name, kind, *found, ctx.get(inputs[0]), ctx.get(whole), ctx.get(fields)))

        return bench

    async def sets(ctx):
        rng = random.Random(seed)
        for _ in range(150):
            port = rng.choice(inputs)
            ctx.set(rng.choice([port, port, port[: len(port) // 2 + 1], whole]), rng.randint(-300, 300))
            if rng.random() < 0.2:
                ctx.set(fields, {"low": rng.getrandbits(2), "high": rng.randint(-1, 0)})
            seen.append([ctx.get(each) for each in inputs])
            await ctx.tick()
        over.append(True)
        for port in inputs:  # ends until()
            ctx.set(port, 1)
        for _ in range(6):
            await ctx.tick()

    for name in "abc":
        simulator.add_testbench(awaits(name), background=True)
    simulator.add_testbench(sets)
    simulator.run()
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_benches(seed):
    quick, own = (story_of(seed, engine) for engine in (QuickEngine, PySimEngine))
    assert quick == own and len(own) > 300


def test_a_bench_sets_no_signal_of_the_design():
    m = Module()
    driven = Signal()
    m.d.comb += driven.eq(1)
    simulator = Simulator(m, engine=QuickEngine)

    async def bench(ctx):
        ctx.set(driven, 0)

    simulator.add_testbench(bench)
    with pytest.raises(DriverConflict):
        simulator.run()


@pytest.mark.parametrize("engine", [QuickEngine, PySimEngine])
def test_a_bench_changes_registers_and_rows(engine):
    """At any time, also when nothing else has changed for some cycles."""
    m = Module()
    m.submodules.memory = memory = Memory(shape=8, depth=4, init=[1, 2, 3, 4])
    read, write = memory.read_port(), memory.write_port()
    held, other, copy = Signal(8, init=5), Signal(8), Signal(8)
    m.d.sync += other.eq(7)
    m.d.sync += copy.eq(held)
    simulator, seen = Simulator(m, engine=engine), []
    simulator.add_clock(1e-6)

    async def bench(ctx):
        async def shows(*values):
            await ctx.tick().repeat(3)
            found = (ctx.get(held), ctx.get(other), ctx.get(copy), ctx.get(read.data))
            seen.append(found == values or found)

        await shows(5, 7, 5, 1)
        ctx.set(held, 9)
        ctx.set(other, 9)
        await shows(9, 7, 9, 1)
        ctx.set(memory.data[0], 8)
        await shows(9, 7, 9, 8)
        ctx.set(write.data, 6)
        ctx.set(write.en, 1)
        await shows(9, 7, 9, 6)
        ctx.set(memory.data[0], 8)
        await shows(9, 7, 9, 6)

    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [True] * 5
