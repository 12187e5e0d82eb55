import random

import pytest

from hdl.qk.line_tracker import LineTracker
from tests.bench.cycles import run_cycles
from tests.bench.lines import make_lines
from tests.hdl.qk.test_line_control import headers
from tests.hdl.qk.test_qk_multiply import CONFIGS, EIGHT, FLAT, Case, Job


async def track(block, config, rows, packing, rng, seq):
    """Walk through the rows as QueryWindow shifts them, at random speed; check each line and beat."""
    per_line = max(1, config.lanes >> rows[0]["log_slices"])
    beats = max(1, (1 << rows[0]["log_slices"]) // config.lanes)
    lines = make_lines([[0] * row["length"] for row in rows], per_line, packing, width=config.lanes)
    block.set(arrived=rows[0], shift_next=1, ready=seq, issue=0)
    await block.tick()
    more = rows[min(1, len(rows) - 1)]
    block.set(arrived=more, following=rows[0], shift_current=1, shift_next=1, follows=0)
    await block.tick()
    row = 0
    for line in lines:
        follower = rows[min(row + 1, len(rows) - 1)]
        block.set(following=follower, shift_current=0, shift_next=0, issue=0)
        block.set(follows=packing and row + 1 < len(rows))
        wanted = {name: line[name] for name in ("start", "a_count", "b_count", "a_last")}
        for beat in range(beats):
            while rng.random() < 0.3:
                block.set(issue=0)
                await block.tick()
            assert block.get("line") == wanted
            assert block.get("pack") == (packing and row + 1 < len(rows) and line["a_last"])
            assert block.get("beat") == beat
            first = rows[row]["slot"] + (line["start"] << rows[row]["log_slices"]) + beat * config.lanes
            assert block.get("first") == first
            last = beat == beats - 1
            ends = last and line["a_last"]
            block.set(issue=1, last_beat=last, shift_current=ends, shift_next=ends)
            block.set(arrived=rows[min(row + 2, len(rows) - 1)])
            await block.tick()
            block.set(issue=0, shift_current=0, shift_next=0)
        row += line["a_last"]


@pytest.mark.parametrize("config", [*CONFIGS.values(), EIGHT, FLAT], ids=[*CONFIGS, "eight", "flat"])
def test_lines_beats_and_windows(config):
    async def bench(block):
        rng = random.Random(1)
        for dim in config.dims:
            for packing in {False, config.packs(dim, 9)}:
                lengths = [9] * 5 if packing else [1, 4, 9, 2]
                case = Case(config, [Job(dim, lengths, packing)])
                await track(block, config, headers(case), packing, rng, case.seqs[0])

    run_cycles(LineTracker(config), bench)


@pytest.mark.parametrize("length", [3, 8, 20])
def test_keys_are_seen_a_cycle_after_they_are_loaded(length):
    """Of the first line, of a full one, and of the whole row; sequence numbers wrap."""

    async def bench(block):
        (row,) = headers(Case(EIGHT, [Job(16, [length])]))
        block.set(arrived=row, shift_next=1, ready=row["seq"])
        await block.tick()
        block.set(following=row, shift_next=0, shift_current=1)
        await block.tick()
        block.set(shift_current=0)
        for loaded in range(length + EIGHT.lanes):
            block.set(ready=(row["seq"] + loaded) % (1 << EIGHT.seq_width))
            await block.tick()
            assert block.get("end_ready") == (loaded >= EIGHT.lanes)
            assert block.get("length_ready") == (loaded >= length)

    run_cycles(LineTracker(EIGHT), bench)
