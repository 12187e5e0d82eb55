import dataclasses
import random

from hdl.control.checker import chain_check
from hdl.control.checker.chain_check import ChainCheck
from tests.bench.harness import check_reset, made, simulate
from tests.bench.requests import CONFIG as TINY
from tests.bench.requests import request

CONFIG = dataclasses.replace(TINY, chain_rows=16)
PART = {"key_lsb_bits": 0, "joins": 0, "more": 0}
CHANGES = (
    {"dim": 64},
    {"num_queries": 2},
    {"group": 2},
    {"value_bits": 4},
    {"key_lsb_bits": 4},
    {"pair": 1},
    {"accumulate": 1},
    {"num_queries": 17},
    {"joins": 0},
    {"joins": 1},
)
"""What breaks a chain in one of its jobs; a few of them may happen to change nothing."""


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
                ctx.set(dut.rows, item["job"]["num_queries"] * item["job"]["group"])
                await ctx.tick()
                seen.append(ctx.get(dut.bad))
                ctx.set(dut.taken, taken)
                await ctx.tick()
                ctx.set(dut.taken, 0)

        return bench, [], seen

    return prepare


def run(items):
    dut = made(ChainCheck, CONFIG)
    bench, _, seen = use(items)(dut)
    simulate(dut, bench, cycles=4 * len(items) + 4)
    return seen


def expected(items, most=chain_check.CHAIN_KEYS):
    """``bad`` in plain Python."""
    first, keys, seen = None, 0, []
    for item, taken in items:
        job = item["job"]
        total = (0 if first is None else keys) + job["num_keys"]
        able = not (item["layer"] or item["list_only"] or job["pair"] or job["key_lsb_bits"] or job["accumulate"])
        able = able and job["num_queries"] * job["group"] <= CONFIG.chain_rows and total <= most
        mine = tuple(job[name] for name in ("dim", "num_queries", "group", "value_bits"))
        if first is None:
            bad = bool(job["joins"] or (job["more"] and not able))
        else:
            bad = not (able and job["joins"] and mine == first)
        seen.append(int(bad))
        if taken:
            first, keys = (mine if job["more"] else None), total
    return seen


def taken_if_right(items):
    taken = []
    for item in items:
        taken.append((item, True))
        taken[-1] = (item, not expected(taken)[-1])
    return taken


def sequence(number, seed):
    """Chains, right and broken, among other requests; wrong requests are never taken."""
    rng = random.Random(seed)
    items = []
    for _ in range(number):
        jobs = rng.randint(1, 4)
        parts = [
            request(**{**PART, "joins": int(job > 0), "more": int(job < jobs - 1), "num_keys": rng.randint(1, 32)})
            for job in range(jobs)
        ]
        if rng.random() < 0.6:
            parts[rng.randrange(jobs)]["job"].update(rng.choice(CHANGES))
        if rng.random() < 0.3:
            other = request(layer=rng.randrange(2), list_only=rng.randrange(2), **{**PART, "key_lsb_bits": 4})
            parts.insert(rng.randrange(jobs), other)
        items += parts
    return taken_if_right(items)


def test_random_chains():
    items = sequence(60, 1)
    seen = run(items)
    assert seen == expected(items)
    assert 0 < sum(seen) < len(seen)


def test_a_chain_has_a_most_of_keys():
    part = {**PART, "more": 1, "num_keys": 65535}
    jobs = [request(**part)] + [request(**{**part, "joins": 1}) for _ in range(17)]
    items = taken_if_right(jobs)
    seen = run(items)
    assert seen == expected(items)
    assert seen == [0] * 16 + [1, 1], "16 times 65,535 keys are fewer than 2**20, 17 times are more"


def test_reset_in_mid_stream():
    """A reset between the jobs of a chain closes it."""
    check_reset(lambda: ChainCheck(CONFIG), use(sequence(6, 2)), cycles=100, resets=8)
