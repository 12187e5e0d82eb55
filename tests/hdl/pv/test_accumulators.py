import random

import pytest

from hdl.pv.accumulators import Accumulators
from hdl.pv.beat import rows_share_lines, slice_elements
from tests.bench.cycles import run_cycles
from tests.hdl.pv.test_prob_times_v import CONFIGS


def products(config, rng):
    limit = 1 << config.operand_width + 14
    return [[rng.randrange(-limit, limit) for _ in range(slice_elements(config))] for _ in range(config.lanes)]


class Rows:
    """Sums by lane, group and element; row B's begin with the boundary beat."""

    def __init__(self, config):
        self.config = config
        self.clear()

    def clear(self):
        size = slice_elements(self.config)
        self.sums = [[0] * (self.config.max_beats * size) for _ in range(self.config.lanes)]

    def add(self, group, lanes, values):
        for lane in lanes:
            for element, value in enumerate(values[lane]):
                self.sums[lane][group * slice_elements(self.config) + element] += value


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.4])
def test_sums_of_rows(name, stall):
    """Rows of several beats, and where lines are shared the first part of the next row; resets in mid-row."""
    config = CONFIGS[name]

    async def bench(block):
        rng, rows = random.Random(f"{name} {stall}"), Rows(config)
        beats = 1 if rows_share_lines(config) else config.max_beats
        for number in range(14):
            for beat in range(lines := rng.randint(1, 3) * beats):
                last, values = beat == lines - 1, products(config, rng)
                for _ in range(rng.randrange(3) if rng.random() < stall else 0):
                    block.set(valid=0, ends_next=0, products=products(config, rng))
                    await block.tick()
                block.set(valid=0, ends_next=last, products=values)
                await block.tick()
                shared = rows_share_lines(config) and last
                mask = rng.getrandbits(config.lanes) if shared else 0
                group = beat % beats
                block.set(valid=1, ends_next=0, group=group, mask_b=mask)
                rows.add(group, [lane for lane in range(config.lanes) if not mask >> lane & 1], values)
                if last:
                    assert block.get("acc") == rows.sums
                    rows.clear()
                    rows.add(group, [lane for lane in range(config.lanes) if mask >> lane & 1], values)
                await block.tick()
            block.set(valid=0, mask_b=0)
            if number % 5 == 4:
                await block.reset()
                rows.clear()

    run_cycles(Accumulators(config), bench)
