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
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.sim import Simulator
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
