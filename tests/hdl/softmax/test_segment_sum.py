import random

import pytest

from hdl.softmax.segment_sum import SegmentSum
from tests.bench.cycles import run_cycles
from tests.bench.lines import make_lines
from tests.hdl.softmax.test_softmax import CONFIGS


def make_case(config, rng, lengths, packing):
    rows = [[rng.choice([0, 65536, rng.randint(0, 65536)]) for _ in range(length)] for length in lengths]
    lines = make_lines(rows, config.lanes, packing, width=config.lanes)
    return [sum(row) for row in rows], [
        {**{name: value for name, value in line.items() if name != "lanes"}, "exps": line["lanes"]} for line in lines
    ]


async def feed(block, lines, rng, stall, latency):
    """Sums, and the cycle of each line and sum."""
    sums, ends, cycle, todo = [], [], 0, list(lines)
    quiet = 0
    while quiet <= latency + 1:
        valid = bool(todo) and rng.random() >= stall
        block.set(valid=valid)
        if valid:
            line = todo.pop(0)
            block.set(line={**line, "scores": [rng.randrange(9) for _ in line["exps"]]})
            if line["a_last"]:
                ends.append(cycle)
        if block.get("sum_valid"):
            sums.append((cycle, block.get("exp_sum")))
        quiet = 0 if todo else quiet + 1
        cycle += 1
        await block.tick()
    assert [at - latency for at, _ in sums] == ends
    return [value for _, value in sums]


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_sums_and_latency(name, packing, stall):
    """Every row's sum comes ``latency`` cycles after its last line; a reset in mid-row forgets what was added."""
    config = CONFIGS[name]
    dut = SegmentSum(config)

    async def bench(block):
        rng = random.Random(f"{name} {packing} {stall}")
        lengths = [1, config.lanes, config.max_tokens, *(rng.randint(1, 9) for _ in range(12))]
        expected, lines = make_case(config, rng, [9] * 12 if packing else lengths, packing)
        assert await feed(block, lines, rng, stall, dut.latency) == expected
        block.set(valid=1, line={**lines[0], "a_last": 0, "scores": [0] * config.lanes})
        await block.tick(3)
        block.set(valid=0)
        await block.reset()
        assert await feed(block, lines, rng, stall, dut.latency) == expected

    run_cycles(dut, bench)
