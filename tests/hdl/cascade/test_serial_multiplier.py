import random

from hdl.cascade.serial_multiplier import SerialMultiplier
from tests.bench.harness import check_reset, simulate

FACTOR, WEIGHT = 20, 6


def make():
    return SerialMultiplier(factor_width=FACTOR, weight_width=WEIGHT)


def use(operands):
    def prepare(dut):
        seen = []

        async def bench(ctx):
            for factor, weight in operands:
                ctx.set(dut.factor, factor)
                ctx.set(dut.weight, weight)
                ctx.set(dut.load, 1)
                await ctx.tick()
                ctx.set(dut.load, 0)
                ctx.set(dut.factor, 0)
                ctx.set(dut.weight, 0)
                ctx.set(dut.step, 1)
                cycles, last = 0, 0
                while not last:
                    _, _, last = await ctx.tick().sample(dut.last)
                    cycles += 1
                ctx.set(dut.step, 0)
                await ctx.tick()
                seen.append((cycles, ctx.get(dut.product)))

        return bench, [], seen

    return prepare


def test_products():
    rng = random.Random(1)
    corners = [(a, b) for a in (0, 1, 2**FACTOR - 1) for b in (0, 1, 2**WEIGHT - 1)]
    operands = corners + [(rng.getrandbits(FACTOR), rng.getrandbits(WEIGHT)) for _ in range(100)]
    dut = make()
    bench, _, seen = use(operands)(dut)
    simulate(dut, bench, cycles=len(operands) * (WEIGHT + 3))
    assert seen == [(WEIGHT, factor * weight >> WEIGHT) for factor, weight in operands]


def test_reset_in_mid_stream():
    check_reset(make, use([(2**FACTOR - 1, 2**WEIGHT - 1), (12345, 17)]), cycles=50)
