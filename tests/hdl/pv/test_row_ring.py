import random

import pytest

from hdl.pv.lane_reducer import OutputGeometry
from hdl.pv.row_ring import RowRing
from tests.bench.cycles import run_cycles
from tests.hdl.pv.test_normalizer import CONFIGS, make_row, places


def elements(config, block):
    """Output elements of a beat: the terms of the lanes that count, added up."""
    geometry, gates, terms = OutputGeometry(config), block.get("gates"), block.get("terms")
    return [
        sum(lane[j % geometry.width] for b, lane in enumerate(terms) if gates[j // geometry.group] >> b & 1)
        for j in range(config.norm_lanes)
    ]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.5])
def test_elements_of_every_beat(name, stall):
    """Rows of every dimension, back to back or not; the same after a reset with a row inside."""
    config = CONFIGS[name]
    count = places(config)

    async def bench(block):
        rng, beats = random.Random(f"{name} {stall}"), 0
        for number in range(12):
            row = make_row(config, rng, rng.randint(1 << 16, config.max_tokens << 16), rng.choice(config.dims))
            accs = [row["acc"][b * count :][:count] for b in range(config.lanes)]
            block.set(i_valid=1, i_payload=row["row"], acc=accs, moves=1)
            # Beats of the row before: its last one may be in front now.
            await block.tick()
            block.set(i_valid=0)
            wanted = row["sums"] + [0] * (-len(row["sums"]) % config.norm_lanes)
            chunks = [wanted[i : i + config.norm_lanes] for i in range(0, len(wanted), config.norm_lanes)]
            for index, chunk in enumerate(chunks):
                assert block.get("held") and block.get("last") == (index == len(chunks) - 1)
                assert block.get("facts") == row["row"]
                await block.tick()
                assert elements(config, block) == chunk
                beats += 1
            assert not block.get("held")
            if rng.random() < stall:
                block.set(moves=0)
                await block.tick(rng.randrange(3))
            if number == 6:
                block.set(i_valid=1, moves=1)
                await block.tick()
                block.set(i_valid=0)
                await block.reset()
                assert not block.get("held")

    run_cycles(RowRing(config), bench)


def test_the_next_row_comes_in_the_last_beat():
    config = CONFIGS["tiny"]
    count, rng = places(config), random.Random(1)
    rows = [make_row(config, rng, 3 << 16, 16) for _ in range(6)]

    async def bench(block):
        length, found = 16 // config.norm_lanes, []
        for cycle in range(6 * length + 2):
            number, beat = divmod(cycle, length)
            first = beat == 0 and number < 6
            block.set(i_valid=first, moves=1)
            if first:
                accs = [rows[number]["acc"][b * count :][:count] for b in range(config.lanes)]
                block.set(i_payload=rows[number]["row"], acc=accs)
            if cycle >= 2:
                found += elements(config, block)
            await block.tick()
        assert found == [x for row in rows for x in row["sums"]]

    run_cycles(RowRing(config), bench)
