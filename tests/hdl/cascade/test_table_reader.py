import dataclasses
import random

import pytest
import torch
from amaranth.hdl import Value

from golden.datapath import cascade
from hdl.cascade.table_reader import TableReader
from hdl.spec.config import PRESETS
from sim.common.packing import unpack
from tests.bench.harness import check_reset, made, simulate
from tests.bench.tables import random_table, words_of

TINY = PRESETS["tiny"]
ONE = dataclasses.replace(TINY, name="one", lanes=1, topk_parallelism=1, max_heads=5, max_group=1)
MANY = dataclasses.replace(TINY, name="many", lanes=8, topk_parallelism=8, num_multipliers=128, max_heads=100)
CONFIGS = [TINY, ONE, MANY]


def random_cases(config, number, seed):
    """(table, whether of tokens, job)"""
    rng = random.Random(seed)
    cases = []
    for _ in range(number):
        tokens = rng.random() < 0.6
        job = {"decay": rng.choice((0, 0, 1, 5, 15, 16, 17, 31)), "pin_first": rng.randrange(5)}
        job["pin_last"] = rng.choice((0, 2, config.max_tokens))
        cases.append((random_table(config, rng, tokens=tokens), tokens, job))
    return cases


def tables(dut, case):
    """Both memories: data of a read come one enabled cycle later, and hold."""

    async def run(ctx):
        while True:
            _, _, head_en, rank, token_en, word = await ctx.tick().sample(
                dut.head_read_en, dut.head_rank, dut.token_read_en, dut.token_word
            )
            table, lanes = case["table"], len(dut.token_ids)
            if head_en:
                ctx.set(dut.head_id, table[rank][0])
                ctx.set(dut.head_importance, table[rank][1])
            if token_en:
                for lane in range(lanes):
                    place = word * lanes + lane
                    token, importance = table[place] if place < len(table) else (0, 0)
                    ctx.set(dut.token_ids[lane], token)
                    ctx.set(dut.token_importance[lane], importance)

    return run


def use(cases, stall, seed=1):
    """Words that are read of each table."""

    def prepare(dut):
        rng, now, seen = random.Random(seed), {"table": []}, []

        async def bench(ctx):
            for table, tokens, job in cases:
                now["table"] = table
                ctx.set(dut.job, job)
                ctx.set(dut.tokens, tokens)
                ctx.set(dut.count, len(table))
                ctx.set(dut.en, 0)
                for _ in range(2):
                    await ctx.tick()
                ctx.set(dut.start, 1)
                await ctx.tick()
                ctx.set(dut.start, 0)
                words: list = []
                while not words or not words[-1]["last"]:
                    en = rng.random() >= stall
                    ctx.set(dut.en, en)
                    _, _, valid, bits = await ctx.tick().sample(dut.valid, Value.cast(dut.word))
                    if en and valid:
                        words.append(unpack(dut.word.shape(), bits))
                seen.append(words)

        return bench, [tables(dut, now)], seen

    return prepare


def masked(word):
    """A word without what is in lanes that have no entry."""
    lanes = [i for i in range(len(word["entries"])) if word["mask"] >> i & 1]
    pinned = word["pinned"] & word["mask"]
    return {**word, "pinned": pinned, "entries": [word["entries"][lane] for lane in lanes]}


def expected(config, table, tokens, job):
    importance = torch.tensor([value for _, value in table])
    if tokens:
        importance = cascade.decayed(importance, job["decay"])
    left = [(id, value) for (id, _), value in zip(table, importance.tolist(), strict=True)]
    return words_of(left, config, tokens=tokens, pins=(job["pin_first"], job["pin_last"]))


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_random_tables(config, stall):
    cases = random_cases(config, 20, 1)
    dut = made(TableReader, config)
    bench, background, seen = use(cases, stall)(dut)
    simulate(dut, bench, *background, cycles=20 * 300)
    for case, words in zip(cases, seen, strict=True):
        assert [masked(word) for word in words] == [masked(word) for word in expected(config, *case)]


def test_a_word_every_cycle():
    table = [(i, i) for i in range(TINY.max_tokens)]
    dut = made(TableReader, TINY)
    bench, background, _ = use([(table, True, {})], 0)(dut)
    cycles = simulate(dut, bench, *background, cycles=200)
    assert cycles <= TINY.max_tokens // TINY.lanes + TableReader.LATENCY + 4


def test_reset_in_mid_stream():
    cases = random_cases(TINY, 4, 2)
    check_reset(lambda: TableReader(TINY), use(cases, 0.3), cycles=2000)
