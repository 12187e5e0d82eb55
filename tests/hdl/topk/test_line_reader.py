import random

from hdl.topk.line_reader import QUEUE_SOURCE, LineReader
from tests.bench.cycles import run_cycles
from tests.hdl.topk.test_quick_select import TINY, lines_of

LANES = TINY.topk_parallelism


def check_row(block, line):
    assert block.get("valid") and block.get("last") == line["last"] and block.get("count") == line["count"]
    assert block.get("line")[: line["count"]] == line["scores"][: line["count"]]


async def take_row(block, rng):
    """A row of the input, a line a cycle; the line after it is not taken before the next row."""
    lines = lines_of(TINY, [rng.randint(-99, 99) for _ in range(rng.randint(1, 40))], 3)
    block.set(source=QUEUE_SOURCE, take=1, first=1)
    for line in lines:
        block.set(i_valid=1, i_payload=line)
        assert block.get("i_ready")
        await block.tick()
        check_row(block, line)
        block.set(first=0)
    assert not block.get("i_ready"), "the next row has to wait"
    block.set(drop=1)
    await block.tick()
    assert not block.get("valid")
    block.set(take=0, drop=0, i_valid=0)


async def read_part(block, rng):
    """A stored part, from a base on, a line a cycle with read data a cycle after the address."""
    memory = [[[rng.randint(-99, 99) for _ in range(LANES)] for _ in range(16)] for _ in range(3)]
    part, size, base = rng.randrange(3), rng.randint(1, 30), rng.randrange(16)
    block.set(source=1 << part, jump=1, target=base, restart=1, size=size)
    await block.tick()
    block.set(jump=0, restart=0, read=1)
    data = base
    await block.tick()
    for number in range(-(-size // LANES)):
        block.set(shift=1, parts=[memory[index][data] for index in range(3)])
        data = block.get("address")
        assert data == (base + number + 1) % 16
        await block.tick()
        left = size - number * LANES
        line = memory[part][(base + number) % 16]
        check_row(block, {"scores": line, "count": min(left, LANES), "last": left <= LANES})
    block.set(shift=0, read=0, drop=1)
    await block.tick()
    block.set(drop=0)


async def gather(block, rng):
    """A sample, some lanes of it from each of several lines."""
    parts = [[[rng.randint(-99, 99) for _ in range(LANES)] for _ in range(3)] for _ in range(2)]
    block.set(source=4)
    for mask, data in zip((3, (1 << LANES) - 4), parts, strict=True):
        block.set(gather=mask, parts=data)
        await block.tick()
    block.set(gather=0)
    assert block.get("line") == parts[0][2][:2] + parts[1][2][2:]
    assert block.get("valid") and block.get("count") == LANES


def test_lines_of_rows_parts_and_samples():
    """In any order; a reset forgets the line."""

    async def bench(block):
        rng = random.Random(1)
        for _ in range(40):
            await rng.choice([take_row, read_part, gather])(block, rng)
            if rng.random() < 0.2:
                await block.reset()
                assert not block.get("valid")

    run_cycles(LineReader(TINY, score_width=TINY.score_width, depth=16), bench)
