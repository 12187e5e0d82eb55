import random

import pytest

from hdl.topk.pivot_select import PivotSelect
from tests.bench.cycles import run_cycles


@pytest.mark.parametrize("parallelism", [1, 2, 4, 8, 16])
def test_picks_the_scores_of_two_ranks(parallelism):
    """Full lines and short ones, with equal scores; the pivots are held until the next ``en``."""

    async def bench(block):
        rng = random.Random(parallelism)
        for _ in range(60):
            spread = rng.choice([1, 3, 127])
            scores = [rng.randint(-spread, spread) for _ in range(parallelism)]
            count = rng.choice([parallelism, rng.randint(1, parallelism)])
            block.set(scores=scores, count=count, en=0)
            await block.tick(2)
            ranks = [rng.randrange(count) for _ in range(2)]
            block.set(en=1, high_rank=ranks[0], low_rank=ranks[1])
            await block.tick()
            ordered = sorted(scores[:count], reverse=True)
            block.set(en=0, scores=[rng.randint(-127, 127) for _ in scores])
            for _ in range(rng.randrange(4)):
                assert [block.get("high"), block.get("low")] == [ordered[rank] for rank in ranks]
                await block.tick()

    run_cycles(PivotSelect(score_width=8, parallelism=parallelism), bench)
