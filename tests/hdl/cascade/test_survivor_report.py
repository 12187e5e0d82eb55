import dataclasses
import random

import pytest

from hdl.cascade.survivor_report import SurvivorReport
from hdl.spec.config import PRESETS
from tests.bench.harness import check_stream_reset, made, run_streams, simulate
from tests.bench.tables import random_table, words_of

TINY = PRESETS["tiny"]
ONE = dataclasses.replace(TINY, name="one", lanes=1, topk_parallelism=1)
EIGHT = dataclasses.replace(TINY, name="eight", lanes=8, topk_parallelism=8, num_multipliers=128)


def random_reports(config, number, seed):
    """(words, survivors) of selections: a table of heads, or none, and one of tokens."""
    rng = random.Random(seed)
    words, survivors = [], []
    for job_id in range(number):
        for tokens in (False, True)[rng.randrange(2) :]:
            table = random_table(config, rng, tokens=tokens)
            keep = [rng.randrange(2) for _ in table]
            place = 0
            for word in words_of(table, config, tokens=tokens):
                mine = {name: word[name] for name in ("lane", "count", "last", "entries")}
                bits = sum(keep[place + i] << (word["lane"] + i) for i in range(word["count"]))
                words.append({**mine, "job_id": job_id, "token": int(tokens), "keep": bits})
                place += word["count"]
            for place, (id, importance) in enumerate(table):
                last = int(tokens and place == len(table) - 1)
                item = {"job_id": job_id, "token": int(tokens), "id": id, "importance": importance}
                survivors.append({**item, "keep": keep[place], "last": last})
    return words, survivors


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("config", [TINY, ONE, EIGHT], ids=lambda config: config.name)
def test_random_reports(config, stall):
    words, survivors = random_reports(config, 8, 1)
    shy = 0.3 if stall else None
    result, _ = run_streams(made(SurvivorReport, config), {"i": words}, {"o": len(survivors)}, stall=stall, shy=shy)
    assert result["o"] == survivors


def test_holds_a_table_of_tokens_while_the_host_waits():
    words = words_of([(i, i) for i in range(TINY.max_tokens)], TINY, tokens=True)
    words = [{name: word[name] for name in ("lane", "count", "last", "entries")} for word in words]
    dut = made(SurvivorReport, TINY)
    taken = 0

    async def bench(ctx):
        nonlocal taken
        for word in words:
            ctx.set(dut.i.p, word)
            ctx.set(dut.i.valid, 1)
            _, _, ready = await ctx.tick().sample(dut.i.ready)
            taken += ready

    simulate(dut, bench, cycles=len(words) + 1)
    assert taken == len(words)


def test_reset_in_mid_stream():
    words, survivors = random_reports(TINY, 2, 2)
    check_stream_reset(lambda: SurvivorReport(TINY), {"i": words}, {"o": len(survivors)})
