import dataclasses
import random

import pytest

from hdl.cascade.id_writer import IdWriter
from hdl.spec.config import PRESETS
from tests.bench.harness import check_reset, made, run_streams

TINY = PRESETS["tiny"]
ONE = dataclasses.replace(TINY, name="one", lanes=1, topk_parallelism=1)
EIGHT = dataclasses.replace(TINY, name="eight", lanes=8, topk_parallelism=8, num_multipliers=128)


def random_tables(config, number, seed):
    """(words with their keep mask, survivors) of tables, at least one of whose tokens survives."""
    rng = random.Random(seed)
    tables = []
    for _ in range(number):
        count, share = rng.randint(1, config.max_tokens), rng.choice((0.1, 0.5, 1))
        ids = sorted(rng.sample(range(config.max_tokens), count))
        keep = [rng.random() < share for _ in ids]
        keep[rng.randrange(count)] = True
        words = []
        for start in range(0, count, config.lanes):
            part = ids[start : start + config.lanes]
            items = [{"id": id, "importance": 5 * id} for id in part] + [{}] * (config.lanes - len(part))
            mask = sum(1 << lane for lane in range(len(part)) if keep[start + lane])
            words.append({"items": items, "keep": mask, "last": int(start + config.lanes >= count)})
        tables.append((words, [id for id, kept in zip(ids, keep, strict=True) if kept]))
    return tables


def drive(dut, tables, ends, seed=1):
    """The words of each table while there was room in the cycle before."""

    async def run(ctx):
        rng = random.Random(seed)
        for number, (words, _) in enumerate(tables):
            ctx.set(dut.clear, 1)
            ctx.set(dut.list, number % 2)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for word in words:
                while not ctx.get(dut.room) or rng.random() < 0.2:
                    await ctx.tick()
                ctx.set(dut.i.p, word)
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
            while not ctx.get(dut.done):
                await ctx.tick()
            ends.append((ctx.get(dut.num_survivors), ctx.get(dut.last_id)))

    return run


@pytest.mark.parametrize("stall", [0, 0.7])
@pytest.mark.parametrize("config", [TINY, ONE, EIGHT], ids=lambda config: config.name)
def test_random_tables(config, stall):
    tables = random_tables(config, 12, 1)
    ends: list = []
    dut = made(IdWriter, config)
    result, _ = run_streams(
        dut,
        {},
        {"id_write": sum(-(-len(left) // config.lanes) for _, left in tables)},
        stall=stall,
        shy=0.3 if stall else None,
        processes=[drive(dut, tables, ends)],
        settle=100,
    )
    assert ends == [(len(left), left[-1]) for _, left in tables]
    writes = iter(result["id_write"])
    for number, (_, left) in enumerate(tables):
        for word in range(-(-len(left) // config.lanes)):
            write = next(writes)
            part = left[word * config.lanes : (word + 1) * config.lanes]
            assert (write["list"], write["first"], write["word"]) == (number % 2, int(word == 0), word)
            assert write["mask"] == (1 << len(part)) - 1
            assert write["ids"][: len(part)] == part
            assert write["importance"][: len(part)] == [5 * id for id in part]


def test_reset_in_mid_stream():
    tables = random_tables(TINY, 3, 2)

    def prepare(dut):
        writes: list = []

        async def collect(ctx):
            ctx.set(dut.id_write.ready, 1)
            while True:
                _, _, valid, write = await ctx.tick().sample(dut.id_write.valid, dut.id_write.p)
                if valid:  # lanes that are not written are undefined
                    ids = [id for lane, id in enumerate(write.ids) if write.mask >> lane & 1]
                    writes.append((write.list, write.first, write.word, write.mask, ids))

        return drive(dut, tables, []), [collect], writes

    check_reset(lambda: IdWriter(TINY), prepare, cycles=2000)
