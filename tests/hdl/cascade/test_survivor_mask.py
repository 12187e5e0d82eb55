import dataclasses
import random

import pytest
import torch
from amaranth.hdl import Value

from golden.datapath import cascade
from hdl.cascade.survivor_mask import SurvivorMask
from hdl.spec.config import PRESETS
from sim.common.packing import pack, unpack
from tests.bench.harness import check_reset, made, simulate
from tests.bench.tables import random_table, words_of

TINY = PRESETS["tiny"]
ONE = dataclasses.replace(TINY, name="one", lanes=1, topk_parallelism=1)
EIGHT = dataclasses.replace(TINY, name="eight", lanes=8, topk_parallelism=8, num_multipliers=128)


def random_cases(config, number, seed):
    """(words, threshold, ties, keep mask) of tables."""
    rng = random.Random(seed)
    cases = []
    for _ in range(number):
        tokens = rng.random() < 0.6
        table = random_table(config, rng, tokens=tokens)
        keep, pins = rng.randint(1, len(table)), (rng.randrange(4), rng.randrange(4)) if tokens else (0, 0)
        words = words_of(table, config, tokens=tokens, pins=pins)
        importance = torch.tensor([value for _, value in table])
        mask = cascade.select_tokens(importance, keep, pin_first=pins[0], pin_last=pins[1]).tolist()
        pinned = [p < pins[0] or p + pins[1] >= len(table) for p in range(len(table))]
        keys = [0 if pin else value - 2**32 for pin, (_, value) in zip(pinned, table, strict=True)]
        threshold = sorted(keys, reverse=True)[keep - 1]
        ties = keep - sum(key > threshold for key in keys)
        cases.append((words, threshold, ties, mask))
    return cases


def use(cases, stall, seed=1):
    """(word, keep) of everything that is taken."""

    def prepare(dut):
        rng, seen = random.Random(seed), []

        async def bench(ctx):
            for words, threshold, ties, _ in cases:
                ctx.set(dut.threshold, threshold)
                ctx.set(dut.ties, ties)
                ctx.set(dut.set, 1)
                await ctx.tick()
                ctx.set(dut.set, 0)
                left, taken = list(words), 0
                while taken < len(words):
                    ctx.set(dut.ready, rng.random() >= stall)
                    ctx.set(dut.valid, bool(left))
                    if left:
                        ctx.set(Value.cast(dut.word), pack(dut.word.shape(), left[0]))
                    await ctx.delay(1e-9)
                    en = not ctx.get(dut.waits)
                    ctx.set(dut.en, en)
                    if ctx.get(dut.taken):
                        taken += 1
                        word = unpack(dut.compared.shape(), ctx.get(Value.cast(dut.compared)))
                        seen.append((word, ctx.get(dut.keep)))
                    await ctx.tick()
                    if en and left:
                        left.pop(0)

        return bench, [], seen

    return prepare


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("config", [TINY, ONE, EIGHT], ids=lambda config: config.name)
def test_random_tables(config, stall):
    cases = random_cases(config, 20, 1)
    dut = made(SurvivorMask, config)
    bench, _, seen = use(cases, stall)(dut)
    simulate(dut, bench, cycles=20 * 200)
    assert [word for word, _ in seen] == [word for words, *_ in cases for word in words]
    kept = iter(seen)
    for words, _, _, mask in cases:
        got = []
        for word, keep in [next(kept) for _ in words]:
            got += [bool(keep >> lane & 1) for lane in range(config.lanes) if word["mask"] >> lane & 1]
            assert not keep & ~word["mask"], "lanes without an entry do not survive"
        assert got == mask


def test_a_word_every_cycle():
    case = ([word for word in words_of([(i, i) for i in range(64)], TINY, tokens=True)], 10 - 2**32, 1, None)
    dut = made(SurvivorMask, TINY)
    bench, _, _ = use([case], 0)(dut)
    assert simulate(dut, bench, cycles=200) <= 64 // TINY.lanes + 4


def test_reset_in_mid_stream():
    check_reset(lambda: SurvivorMask(TINY), use(random_cases(TINY, 4, 2), 0.3), cycles=2000)
