import random

from hdl.control.walker.job_tally import JobTally
from tests.bench.harness import check_reset, made, simulate
from tests.bench.requests import CONFIG


def random_pulses(layers, seed):
    """Pulses of every cycle, as a layer gives them: (clear, sent, done, refused)."""
    rng = random.Random(seed)
    cycles = []
    for _ in range(layers):
        cycles.append((1, 0, 0, 0))
        left, flight = rng.randint(1, CONFIG.max_heads), 0
        while left or flight:
            sent = int(left and rng.random() < 0.6)
            done = int(flight > 0 and rng.random() < 0.4)
            refused = int(flight > done and rng.random() < 0.2)
            cycles.append((0, sent, done, refused))
            left, flight = left - sent, flight + sent - done - refused
    return cycles


def use(cycles):
    """(no job in flight, first refusal) of every cycle."""

    def prepare(dut):
        seen = []

        async def bench(ctx):
            for pulses in cycles:
                for name, value in zip(("clear", "sent", "done", "refused"), pulses, strict=True):
                    ctx.set(getattr(dut, name), value)
                _, _, none, first = await ctx.tick().sample(dut.none, dut.first)
                seen.append((none, first))

        return bench, [], seen

    return prepare


def test_random_layers():
    cycles = random_pulses(20, 1)
    dut = made(JobTally, CONFIG)
    bench, _, seen = use(cycles)(dut)
    simulate(dut, bench, cycles=len(cycles) + 1)
    want, flight, before = [], 0, False
    for clear, sent, done, refused in cycles:
        want.append((int(flight == 0), int(refused and not before)))
        flight += sent - done - refused
        before = (before and not clear) or bool(refused)
    assert seen == want
    assert sum(first for _, first in want) > 5


def test_all_heads_may_be_in_flight():
    cycles = [(1, 0, 0, 0)] + [(0, 1, 0, 0)] * CONFIG.max_heads + [(0, 0, 1, 0)] * CONFIG.max_heads + [(0, 0, 0, 0)]
    dut = made(JobTally, CONFIG)
    bench, _, seen = use(cycles)(dut)
    simulate(dut, bench, cycles=len(cycles) + 1)
    assert [none for none, _ in seen] == [1, 1, *[0] * (2 * CONFIG.max_heads - 1), 1]


def test_reset_in_mid_stream():
    check_reset(lambda: JobTally(CONFIG), use(random_pulses(2, 2)), cycles=400)
