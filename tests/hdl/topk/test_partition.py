import random

import pytest

from hdl.topk.partition import Partition
from tests.bench.cycles import run_cycles
from tests.hdl.topk.test_quick_select import CONFIGS

NAMES = ("greater", "middle", "less")


async def one_pass(block, rng, lanes, stall):
    """A pass over some lines; masks and items are checked as they come, and the counts at its end."""
    low, high = sorted(rng.randint(-4, 4) for _ in range(2))
    rank, total, lines = rng.randrange(20), [], rng.randint(1, 6)
    block.set(start=1, rank=rank, high=high, low=low, en=0, excess=0)
    await block.tick()
    block.set(start=0)
    before, kept, items = None, [0, 0, 0], None
    for number in range(lines + 4):
        en = number < lines and rng.random() >= stall
        line = [rng.randint(-5, 5) for _ in range(lanes)]
        count = rng.randint(1, lanes)
        block.set(en=en, line=line, count=count, last=number == lines - 1, kept=kept)
        if items is not None:
            assert block.get("items") == items
        assert block.get("part_en") == (before is not None)
        kept, items = [0, 0, 0], before and before[0]
        if before is not None:
            masks = [block.get(name) for name in NAMES]
            valid = before[0][: before[1]]
            tests = (lambda x: x > high, lambda x: low < x < high, lambda x: x < low)
            assert masks == [sum(test(x) << lane for lane, x in enumerate(valid)) for test in tests]
            kept = [mask.bit_count() for mask in masks]
        before = (line, count) if en else None
        total += line[:count] if en else []
        await block.tick()
    wanted = [sum(x > high for x in total), sum(x >= high for x in total)]
    wanted += [sum(x > low for x in total), sum(x >= low for x in total)]
    assert block.get("rests") == [rank - count for count in wanted]
    parts = [sum(x > high for x in total), sum(low < x < high for x in total), sum(x < low for x in total)]
    assert block.get("stored") == parts


@pytest.mark.parametrize("config", CONFIGS[:4], ids=lambda config: config.name)
@pytest.mark.parametrize("stall", [0, 0.5])
def test_masks_and_counts(config, stall):
    async def bench(block):
        rng = random.Random(f"{stall}")
        for number in range(30):
            await one_pass(block, rng, config.topk_parallelism, stall)
            if number % 10 == 5:  # in the middle of a line's way
                block.set(en=1, last=1)
                await block.tick(2)
                block.set(en=0)
                await block.reset()

    run_cycles(Partition(config, score_width=8), bench)
