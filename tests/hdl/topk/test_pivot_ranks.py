import random

import pytest

from hdl.spec.select_policy import pivot_ranks
from hdl.topk.pivot_ranks import PivotRanks
from tests.bench.cycles import run_cycles


@pytest.mark.parametrize("parallelism", [1, 2, 4, 8, 16])
def test_equals_the_policy(parallelism):
    """All corners, and random ranks; 4 cycles after the inputs are new."""

    async def bench(block):
        rng = random.Random(parallelism)
        sizes = [1, parallelism, parallelism + 1, 2 * parallelism - 1, 2 * parallelism, 1023]
        cases = [(rank, size) for size in sizes for rank in {0, size // 2, size - 1}]
        cases += [(rng.randrange(size), size) for size in (rng.randint(1, 1023) for _ in range(80))]
        for rank, size in cases:
            block.set(rank=rank, size=size)
            await block.tick(4)
            assert (block.get("high"), block.get("low")) == pivot_ranks(rank + 1, size, parallelism), (rank, size)

    run_cycles(PivotRanks(parallelism=parallelism, count_width=10), bench)
