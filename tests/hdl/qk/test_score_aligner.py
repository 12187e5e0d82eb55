import random

import pytest

from hdl.qk.score_aligner import ScoreAligner
from tests.bench.cycles import run_cycles
from tests.hdl.qk.test_qk_multiply import CONFIGS, EIGHT, FLAT


def make_line(config, rng):
    """Beats of a line with the sums of each, and its scores from ``start`` on."""
    dim, limit = rng.choice(config.dims), 1 << config.score_width - 4
    per_line, beats = config.scores_per_line(dim), config.beats(dim)
    start = rng.randrange(config.max_tokens)
    sums = [[rng.randrange(-limit, limit) for _ in range(per_line)] for _ in range(beats)]
    totals = [sum(column) for column in zip(*sums, strict=True)]
    scores = [totals[(start + lane) % per_line] for lane in range(per_line)]
    geometry = {"start": start, "a_count": 1, "b_count": 0, "a_last": 0, "log_slices": config.log_slices(dim)}
    fields = [{**geometry, "first": int(k == 0), "last": int(k == beats - 1)} for k in range(beats)]
    return list(zip(fields, (part * (config.lanes // per_line) for part in sums), strict=True)), scores


@pytest.mark.parametrize("config", [*CONFIGS.values(), EIGHT, FLAT], ids=[*CONFIGS, "eight", "flat"])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_scores_of_lines(config, stall):
    """Lane 0 is the key at ``start``, for every number of keys in a line; beats come ``latency`` cycles later."""
    dut = ScoreAligner(config)

    async def bench(block):
        rng = random.Random(f"{stall}")
        for _ in range(2):
            sent = [None] * dut.latency
            for _ in range(30):
                beats, scores = make_line(config, rng)
                for number, (beat, sums) in enumerate(beats):
                    while rng.random() < stall:
                        await step(block, sent, None)
                    block.set(beat=beat, sums=sums)
                    await step(block, sent, (beat, scores if number == len(beats) - 1 else None))
            block.set(valid=1)  # in the middle of a line
            await block.tick()
            block.set(valid=0)
            await block.reset()

    async def step(block, sent, item):
        block.set(valid=item is not None)
        sent.append(item)
        now = sent[-1 - dut.latency]
        assert block.get("o_valid") == (now is not None)
        if now is not None:
            assert block.get("o_beat") == now[0]
            assert now[1] is None or block.get("scores")[: len(now[1])] == now[1]
        await block.tick()

    run_cycles(dut, bench)
