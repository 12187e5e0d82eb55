import random

import pytest

from hdl.pruning.row_window import RowWindow
from tests.bench.cycles import run_cycles


@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_shows_two_rows_in_order(stall):
    """Against a list, with random rows in and out; and again after a reset with rows inside."""

    async def run(block, rng, count):
        inside, number, cycles = [], 0, 0
        while number < count:
            for place, name in enumerate("ab"):
                assert block.get(f"{name}_valid") == (len(inside) > place)
                if len(inside) > place:
                    assert block.get(name) == inside[place]
            ready = block.get("i_ready")
            assert ready == (len(inside) < RowWindow.DEPTH)
            valid, advance = rng.random() >= stall, bool(inside) and rng.random() >= stall
            block.set(i_valid=valid, i_payload=number % 256, advance=advance)
            if advance:
                inside.pop(0)
            if valid and ready:
                inside.append(number % 256)
                number += 1
            cycles += 1
            await block.tick()
        return cycles

    async def bench(block):
        rng = random.Random(f"{stall}")
        for _ in range(3):
            cycles = await run(block, rng, 80)
            assert stall or cycles == 80, "a row a cycle"
            block.set(i_valid=0, advance=0)
            await block.reset()

    run_cycles(RowWindow(8), bench)
