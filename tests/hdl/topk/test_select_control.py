"""SelectControl alone, with a line and decisions that the test makes up; whole rows are in test_quick_select."""

from hdl.spec import select_policy
from hdl.topk.line_reader import QUEUE_SOURCE
from hdl.topk.quick_select import QuickSelect
from hdl.topk.select_control import SelectControl
from tests.bench.cycles import run_cycles
from tests.hdl.topk.test_quick_select import TINY

LANES = TINY.topk_parallelism


async def wait_for(block, name, most=30):
    """Cycles until the output is high."""
    for cycle in range(most):
        if block.get(name):
            return cycle
        await block.tick()
    raise AssertionError(f"{name} did not rise")


async def load(block, k, size):
    """Begin a row and give its lines; returns the cycles from its first line held to the pivots' loading."""
    assert block.get("idle") and block.get("load") and block.get("source") == QUEUE_SOURCE
    block.set(row_valid=1, row_k=k, row_count=min(size, LANES))
    await block.tick()
    block.set(row_valid=0)
    assert block.get("first_rank") == min(k, size, LANES) - 1
    cycles = await wait_for(block, "start")
    await block.tick()
    for left in range(size, 0, -LANES):
        block.set(line_valid=1, line_last=left <= LANES, line_count=min(left, LANES))
        assert block.get("en") and block.get("take")
        assert block.get("drop") == (left <= LANES)
        await block.tick()
    block.set(line_valid=0, line_last=0)
    return cycles


async def decide(block, found, **decision):
    """Cycles until the control acts on a decision; a result is on offer, or a part is restarted."""
    block.set(found=found, **decision)
    for cycle in range(20):
        if block.get("o_valid") if found else block.get("restart"):
            return cycle
        await block.tick()
    raise AssertionError("no decision")


def test_a_row_that_the_load_decides():
    """Its result is there in the cycles of the policy, and waits; k over the row's length means its length."""

    async def bench(block):
        for k, size in ((1, 3), (LANES, LANES), (7, 11), (60, 13)):
            sort = await load(block, k, size)
            # A line passes the input queue in 2 cycles, and is held in the next one.
            assert sort + 3 == QuickSelect.SORT_CYCLES
            cycles = await decide(block, 1, threshold=-5, ties=2)
            assert sort + 3 + 1 + cycles == select_policy.LOAD_CYCLES
            assert block.get("rank") == min(k, size) - 1
            await block.tick(5)
            assert block.get("o_valid") and block.get("o_payload") == {"threshold": -5, "ties": 2}
            block.set(o_ready=1)
            await block.tick()
            block.set(o_ready=0)
            assert not block.get("o_valid")

    run_cycles(SelectControl(TINY, score_width=TINY.score_width, depth=16), bench)


async def turn(block, size, base):
    """From a decision for a part to its first pass; returns the cycles, and whether a sample was gathered."""
    assert await decide(block, 0, part=4, part_rank=3, part_size=size, part_base=base) >= 0
    assert block.get("jump") and block.get("target") == base
    await block.tick()
    assert block.get("source") == 4 and not block.get("load")
    gathered, cycles = 0, 0
    while not block.get("start"):
        gathered |= block.get("gather")
        cycles += 1
        await block.tick()
    await block.tick()
    assert block.get("read") and block.get("shift") and (block.get("rank"), block.get("size")) == (3, size)
    block.set(line_valid=1, line_last=1)
    await block.tick()
    block.set(line_valid=0, line_last=0)
    return cycles, gathered


def test_parts_that_are_small_long_or_poor():
    async def bench(block):
        wait = select_policy.store_latency(LANES)
        await load(block, 20, 60)
        early = await turn(block, select_policy.EARLY_LINES * LANES, 5)
        assert early == (4, 0), "a long part is read at once"
        short = await turn(block, LANES, 2)
        assert short == (4 + wait, 0), "a short one when its last line is written"
        await decide(block, 1, threshold=0, ties=1)
        block.set(o_ready=1)
        await block.tick()
        block.set(o_ready=0)
        await load(block, 20, 60)
        cycles, gathered = await turn(block, 59, 9)
        assert gathered == (1 << LANES) - 1, "more than 3/4 are left: a sample of all lanes"
        assert cycles > 4 + wait
        await block.reset()
        await load(block, 2, 5)

    run_cycles(SelectControl(TINY, score_width=TINY.score_width, depth=16), bench)
