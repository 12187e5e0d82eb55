import random

import pytest

from hdl.topk.decision import Decision
from tests.bench.cycles import run_cycles
from tests.hdl.topk.test_quick_select import TINY


@pytest.mark.parametrize("spread", [1, 3, 60])
def test_where_the_kth_largest_is(spread):
    """Of rows with equal scores or without, around pivots that are in the row or not."""
    seen = set()

    async def bench(block):
        rng = random.Random(spread)
        for _ in range(300):
            row = [rng.randint(-spread, spread) for _ in range(rng.randint(1, 40))]
            rank = rng.randrange(len(row))
            low, high = sorted(rng.choice([rng.choice(row), rng.randint(-spread, spread)]) for _ in range(2))
            parts = [[x for x in row if x > high], [x for x in row if low < x < high], [x for x in row if x < low]]
            counts = [sum(x > high for x in row), sum(x >= high for x in row)]
            counts += [sum(x > low for x in row), sum(x >= low for x in row)]
            bases = [rng.randrange(16) for _ in parts]
            stored = [len(part) for part in parts]
            block.set(rests=[rank - count for count in counts], rank=rank, high=high, low=low)
            block.set(stored=stored, bases=bases)
            answer = sorted(row, reverse=True)[rank]
            found = answer in (high, low)
            assert block.get("found") == found
            seen.add(found)
            if found:
                assert block.get("threshold") == answer
                assert block.get("ties") == rank + 1 - sum(x > answer for x in row)
            else:
                index = next(index for index, part in enumerate(parts) if answer in part)
                assert block.get("part") == 1 << index
                assert sorted(parts[index], reverse=True)[block.get("part_rank")] == answer
                assert (block.get("part_size"), block.get("part_base")) == (stored[index], bases[index])
                seen.add(index)
            await block.tick()

    run_cycles(Decision(TINY, score_width=8, depth=16), bench)
    assert seen >= ({True} if spread == 1 else {True, False, 2})
