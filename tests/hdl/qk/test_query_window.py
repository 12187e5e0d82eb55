import dataclasses
import random

import pytest

from hdl.qk.query_window import QueryWindow
from hdl.spec.config import PRESETS
from tests.bench.cycles import run_cycles
from tests.hdl.qk.test_qk_multiply import EIGHT

APART = dataclasses.replace(PRESETS["tiny"], packing=False)


def make_rows(config, rng, count):
    """Headers of few lengths and contexts, so that neighbours often agree."""
    return [
        {
            "length": rng.choice([9, 9, 10]),
            "log_slices": 0,
            "pack": int(rng.random() < 0.8),
            "slot": rng.randrange(4) * config.lanes,
            "seq": rng.randrange(1 << config.seq_width),
            "low": rng.randrange(2),
            "context": number // 6 % 4,
        }
        for number in range(count)
    ]


def packs(config, row, follower):
    same = all(row[name] == follower[name] for name in ("context", "length"))
    return bool(config.packing and row["pack"] and follower["pack"] and same)


async def use(block, config, rng, rows, stall):
    """All rows in and out; returns the cycles."""
    came, left, shown, cycle, offer = [], 0, 0, 0, False
    while left < len(rows):
        offer = offer or (len(came) < len(rows) and rng.random() >= stall)
        block.set(query_valid=offer, **({"query_payload": rows[len(came)]} if offer else {}))
        there = block.get("current_valid")
        assert there == (left < len(came) and cycle >= came[left] + 2)
        leave = there and rng.random() >= stall
        block.set(leave=leave)
        if there:
            assert block.get("current") == rows[left]
            follows = block.get("follows")
            if follows:
                assert block.get("following") == rows[left + 1]
            wanted = left + 1 < len(came) and packs(config, rows[left], rows[left + 1])
            assert follows <= wanted
            # The next row is looked at as it comes, or in the cycle after it was shown.
            if wanted and cycle >= came[left + 1] + 2 and cycle > shown:
                assert follows
        if offer and block.get("query_ready"):
            came.append(cycle)
            offer = False
        if leave:
            left, shown = left + 1, cycle + 1
        cycle += 1
        await block.tick()
    return cycle


@pytest.mark.parametrize("config", [EIGHT, APART], ids=["packing", "apart"])
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_rows_in_order(config, stall):
    """The current row and the next one; a row a cycle; the same after a reset with rows inside."""

    async def bench(block):
        rng = random.Random(f"{stall}")
        for _ in range(2):
            rows = make_rows(config, rng, 60)
            cycles = await use(block, config, rng, rows, stall)
            assert stall or cycles == len(rows) + 2
            block.set(query_valid=1, query_payload=rows[0], leave=0)
            await block.tick(4)
            assert not block.get("query_ready"), "three rows are inside"
            block.set(query_valid=0)
            await block.reset()
            assert not block.get("current_valid") and block.get("query_ready")

    run_cycles(QueryWindow(config), bench)
