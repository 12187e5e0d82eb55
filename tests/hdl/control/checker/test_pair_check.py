import random

from hdl.control.checker.pair_check import PairCheck
from hdl.spec import payloads
from tests.bench.harness import check_reset, made, simulate
from tests.bench.requests import CONFIG, request

PAIR = {"dim": 32, "generation": 1, "num_queries": 1}
CHANGES = (
    {"dim": 64},
    {"num_keys": 8},
    {"num_rows": 10},
    {"key_bits": 8},
    {"key_lsb_bits": 0},
    {"skew": 0},
    {"key_base": 201},
    {"pair": 0},
    {"pair": 1},
    {"pair": 3},
    {"generation": 0},
    {"list": 0},
)
"""What breaks a pair in one of its jobs; a few of them may happen to change nothing."""


def use(items):
    """A use of the block with (request, taken): ``bad`` of each."""

    def prepare(dut):
        seen = []

        async def bench(ctx):
            for item, taken in items:
                ctx.set(dut.request, item)
                ctx.set(dut.compare, 1)
                await ctx.tick()
                ctx.set(dut.compare, 0)
                await ctx.tick()
                seen.append(ctx.get(dut.bad))
                ctx.set(dut.taken, taken)
                await ctx.tick()
                ctx.set(dut.taken, 0)

        return bench, [], seen

    return prepare


def run(items):
    dut = made(PairCheck, CONFIG)
    bench, _, seen = use(items)(dut)
    simulate(dut, bench, cycles=4 * len(items) + 4)
    return seen


def expected(items):
    """``bad`` in plain Python."""
    first, seen = None, []
    for item, taken in items:
        job = item["job"]
        able = not item["layer"] and job["generation"] and job["dim"] in (16, 32)
        mine = tuple(
            job[name] for name in ("dim", "num_keys", "num_rows", "key_bits", "key_lsb_bits", "skew", "key_base")
        )
        if first is None:
            bad = job["pair"] != 0 and not (able and job["pair"] == 1)
        else:
            bad = not (able and job["pair"] == 2 and (*mine, job["list"]) == first)
        seen.append(int(bad))
        if taken:
            listed = payloads.LIST_DENSE if job["list"] == payloads.LIST_DENSE else payloads.LIST_PREVIOUS
            first = (*mine, listed) if job["pair"] == 1 else None
    return seen


def sequence(number, seed):
    """Pairs, right and broken; wrong requests are never taken."""
    rng = random.Random(seed)
    items = []
    for _ in range(number):
        lists = rng.choice(((0, 0), (1, 2), (2, 2), (1, 1)))
        pair = [request(**PAIR, pair=place + 1, list=lists[place]) for place in range(2)]
        if rng.random() < 0.7:
            pair[rng.randrange(2)]["job"].update(rng.choice(CHANGES))
        if rng.random() < 0.2:
            pair.insert(1, request(layer=rng.randrange(2)))
        items += [(item, True) for item in pair]
    taken = []
    for item, _ in items:
        taken.append((item, True))
        taken[-1] = (item, not expected(taken)[-1])
    return taken


def test_random_pairs():
    items = sequence(60, 1)
    seen = run(items)
    assert seen == expected(items)
    assert 0 < sum(seen) < len(seen)


def test_a_refused_first_job_opens_nothing():
    items = [(request(**PAIR, pair=1), False), (request(**PAIR, pair=2), False), (request(), True)]
    assert run(items) == [0, 1, 0]


def test_reset_in_mid_stream():
    """A reset between the jobs of a pair closes it."""
    check_reset(lambda: PairCheck(CONFIG), use(sequence(6, 2)), cycles=100, resets=8)
