import random

import pytest
import torch

from golden.datapath import integer
from hdl.pruning.tie_mask import TieMask
from tests.bench.cycles import run_cycles
from tests.bench.lines import make_lines
from tests.hdl.pruning.test_value_pruner import EIGHT, ODD, ONE

CONFIGS = {"eight": EIGHT, "odd": ODD, "one": ONE}


def make_rows(config, rng, lengths):
    """Scores of a few values, their selections, and what is kept."""
    rows = []
    for length in lengths:
        scores, k = torch.tensor([rng.randint(-1, 1) for _ in range(length)]), rng.randint(1, length)
        mask = torch.ones_like(scores, dtype=torch.bool)
        threshold, ties = integer.kth_largest(scores, mask, k)
        keep = integer.keep_mask(scores, mask, k).int().tolist()
        rows.append(([int(x) for x in scores - threshold], int(ties), keep))
    return rows


async def run(block, config, rng, rows, packing, stop=None):
    """Give all lines, or ``stop`` of them; returns what was kept of each row."""
    lanes = range(config.lanes)
    kept, row = [[]], 0
    for number, line in enumerate(make_lines([row[0] for row in rows], config.lanes, packing, width=config.lanes)):
        if number == stop:
            break
        used = line["a_count"] + line["b_count"]
        block.set(
            a_last=line["a_last"],
            has_b=line["b_count"] > 0,
            of_a=(1 << line["a_count"]) - 1,
            greater=sum((lane < used and line["lanes"][lane] > 0) << lane for lane in lanes),
            equal=sum((lane < used and line["lanes"][lane] == 0) << lane for lane in lanes),
            a_ties=rows[row][1],
            b_ties=rows[min(row + 1, len(rows) - 1)][1],
        )
        while rng.random() < 0.4:  # not yet: the ties must stay
            block.set(step=0)
            await block.tick()
        block.set(step=1)
        keep = [block.get("keep") >> lane & 1 for lane in lanes]
        kept[-1] += keep[: line["a_count"]]
        if line["a_last"]:
            kept.append(keep[line["a_count"] : used])
            row += 1
        await block.tick()
    return kept[:-1]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("packing", [False, True])
def test_equals_golden(name, packing):
    """Rows of several lines, whose ties end anywhere; the same after a reset in the middle of a row."""
    config = CONFIGS[name]

    async def bench(block):
        rng = random.Random(f"{name} {packing}")
        for stop in (3, 1, 5, 4):
            lengths = [rng.randint(1, config.max_tokens) for _ in range(8)]
            rows = make_rows(config, rng, [config.lanes + 3] * 8 if packing else lengths)
            assert await run(block, config, rng, rows, packing) == [keep for _, _, keep in rows]
            await run(block, config, rng, make_rows(config, rng, [config.max_tokens] * 2), False, stop)
            await block.reset()

    run_cycles(TieMask(config), bench)
