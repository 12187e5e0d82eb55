import random

import pytest

from hdl.pv.row_admission import RowAdmission
from tests.bench.cycles import run_cycles
from tests.hdl.pv.test_normalizer import CONFIGS


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("leave", [0.2, 0.9, 1])
def test_rows_fit(name, leave):
    """Rows are as far apart as their beats, never more beats than places; the ring moves while a row is in it."""
    config, delay = CONFIGS[name], 3
    chunks = config.max_dim // config.norm_lanes
    places = 4 * chunks + 8

    async def use(block, rng):
        inside, admitted, cycle, free_at = 0, [], 0, 0
        coming, held_until = [], -1
        while len(admitted) < 20:
            beats = rng.choice(config.dims)
            valid = rng.random() < 0.8
            held = cycle <= held_until
            leaves = inside > 0 and rng.random() < leave
            block.set(announce_valid=valid, announce_payload=beats, held=held, leave=leaves)
            # In the cycle in which the row comes, and as long as it is held.
            if cycle in coming or held:
                assert block.get("moves")
            if cycle in coming:
                held_until = cycle + lengths[cycle]
            if valid and block.get("announce_ready"):
                count = -(-beats // config.norm_lanes)
                assert cycle >= free_at
                inside += count
                assert inside <= places
                free_at = cycle + count
                admitted.append(cycle)
                coming.append(cycle + delay)
                lengths[cycle + delay] = count
            inside -= leaves
            cycle += 1
            await block.tick()
        return cycle, sum(lengths.values())

    async def bench(block):
        rng = random.Random(f"{name} {leave}")
        for _ in range(2):
            lengths.clear()
            cycles, beats = await use(block, rng)
            assert leave < 1 or cycles <= 1.4 * beats + 20
            block.set(announce_valid=0, held=0, leave=0)
            await block.reset()
            assert block.get("announce_ready") and not block.get("moves")

    lengths = {}
    run_cycles(RowAdmission(config, delay=delay, places=places), bench)
