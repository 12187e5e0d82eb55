import random

import pytest

from hdl.stream.credit_counter import CreditCounter
from tests.bench.cycles import run_cycles


@pytest.mark.parametrize("places", [1, 2, 5, 8])
@pytest.mark.parametrize("chance", [0.2, 0.5, 0.9])
def test_counts_free_places(places, chance):
    """``some`` is exact in every cycle, also after a reset that comes when places are taken."""

    async def bench(block):
        rng = random.Random(f"{places} {chance}")
        for _ in range(3):
            free = places
            for _ in range(150):
                assert block.get("some") == (free > 0)
                take = free > 0 and rng.random() < chance
                give = free < places and rng.random() < 0.5
                block.set(take=take, give=give)
                free += give - take
                await block.tick()
            block.set(take=0, give=0)
            await block.reset()

    run_cycles(CreditCounter(places), bench)


@pytest.mark.parametrize("places", [0, -1, "4"])
def test_places_must_be_positive(places):
    with pytest.raises(ValueError, match=f"places must be a positive integer, not {places!r}"):
        CreditCounter(places)
